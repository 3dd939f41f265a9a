"""Reads headers of safetensors and GGUF files before their bodies, and holds them to the file."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from nimctl.core.gguf_header import GgufError
from nimctl.core.safetensors_header import SafetensorsError
from nimctl.core.source import Listing, RemoteFile, Source
from nimctl.errors import UnsafeFilesError
from nimctl.sources.peek import read_gguf_head, read_safetensors_head

MOST_TEMPLATE_CHARACTERS = 2**20
_WHOLE_TOKENIZERS = ("tokenizer.huggingface.json", "tokenizer.rwkv.world")
"""Texts that may be as long as any in a GGUF header. Source: ggml's `docs/gguf.md`."""
_FILES_AT_ONCE = 8


def check_heads(source: Source, listing: Listing, files: Iterable[RemoteFile]) -> None:
    """Read the headers of those files that have one, several at once.

    Raises:
        UnsafeFilesError: a header does not describe its file, or something in it is too large.
        FetchError: a header cannot be had.
    """
    with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
        for _ in pool.map(lambda file: _check_head(source, listing, file), files):
            pass


def _check_head(source: Source, listing: Listing, file: RemoteFile) -> None:
    try:
        if file.path.lower().endswith(".safetensors"):
            read_safetensors_head(source, listing, file)
        elif file.path.lower().endswith(".gguf"):
            _check_gguf(source, listing, file)
    except (SafetensorsError, GgufError) as error:
        raise UnsafeFilesError(
            f"{file.path} of {listing.uri} is not brought, for its header is wrong: {error}"
        ) from error


def _check_gguf(source: Source, listing: Listing, file: RemoteFile) -> None:
    header = read_gguf_head(source, listing, file)
    if file.size_bytes is not None and header.file_bytes > file.size_bytes:
        raise GgufError(
            f"the tensors end at {header.file_bytes}, the file at {file.size_bytes} bytes"
        )
    for key, value in header.metadata.items():
        if not isinstance(value, str) or key in _WHOLE_TOKENIZERS:
            continue
        if len(value) > MOST_TEMPLATE_CHARACTERS:
            raise GgufError(f"{key[:80]!r} has {len(value)} characters")
