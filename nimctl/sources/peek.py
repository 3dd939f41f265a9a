"""Looks into a listing without bringing it: small files whole, of large ones only the header."""

from collections.abc import Callable
from typing import TypeVar

from nimctl.core.gguf_header import GgufHeader, TruncatedGgufError, parse_gguf_header
from nimctl.core.safetensors_header import (
    SafetensorsHeader,
    TruncatedSafetensorsError,
    parse_safetensors_header,
)
from nimctl.core.source import Listing, RemoteFile, Source
from nimctl.errors import FetchError

MOST_TEXT_BYTES = 32 * 1024**2
MOST_HEADER_BYTES = 64 * 1024**2
"""The longest headers published are tokenizers of 260,000 words inside GGUF files, some 15 MB."""

FIRST_BYTES = 64 * 1024
"""Holds the headers of most safetensors files, and costs about one round trip."""

SECOND_BYTES = 1024 * 1024

T = TypeVar("T")


def read_text(
    source: Source, listing: Listing, file: RemoteFile, *, most_bytes: int = MOST_TEXT_BYTES
) -> bytes:
    """A small file whole.

    Raises:
        FetchError: it cannot be had, or has more than `most_bytes`.
    """
    if (file.size_bytes or 0) > most_bytes:
        raise FetchError(f"{file.path} of {listing.uri} has {file.size_bytes} bytes; not read")
    taken = bytearray()
    with source.open(listing, file, 0) as stream:
        for chunk in stream.chunks:
            taken += chunk
            if len(taken) > most_bytes:
                raise FetchError(f"{file.path} of {listing.uri} does not end; not read")
    if file.size_bytes not in (None, len(taken)):
        raise FetchError(
            f"{file.path} of {listing.uri} came with {len(taken)} of {file.size_bytes} bytes"
        )
    return bytes(taken)


def read_safetensors_head(
    source: Source, listing: Listing, file: RemoteFile, *, most_bytes: int = MOST_HEADER_BYTES
) -> SafetensorsHeader:
    """The header of a safetensors file; hardly more than it is transferred.

    Raises:
        SafetensorsError: it has no such header.
        FetchError: the bytes cannot be had, or the header has more than `most_bytes`.
    """

    def parse(data: bytes) -> SafetensorsHeader:
        return parse_safetensors_header(data, file_bytes=file.size_bytes)

    return _read_head(source, listing, file, parse, most_bytes)


def read_gguf_head(
    source: Source, listing: Listing, file: RemoteFile, *, most_bytes: int = MOST_HEADER_BYTES
) -> GgufHeader:
    """The header of a GGUF file; hardly more than it is transferred.

    Raises:
        GgufError: it has no such header.
        FetchError: the bytes cannot be had, or the header has more than `most_bytes`.
    """
    return _read_head(source, listing, file, parse_gguf_header, most_bytes)


def _read_head(
    source: Source,
    listing: Listing,
    file: RemoteFile,
    parse: Callable[[bytes], T],
    most_bytes: int,
) -> T:
    """What `parse` makes of the first bytes, brought range by range until there are enough.

    A header of unknown length is tried again each time half as much more is there, so that all
    tries together take no more than three times the time of the last.
    """
    taken, wanted_bytes = b"", FIRST_BYTES
    while True:
        whole_bytes = most_bytes if file.size_bytes is None else file.size_bytes
        end_bytes = min(wanted_bytes, whole_bytes)
        more = _read_range(source, listing, file, len(taken), end_bytes)
        is_whole = not more or len(taken) + len(more) == file.size_bytes
        taken += more
        try:
            return parse(taken)
        except TruncatedSafetensorsError as error:
            needed_bytes = wanted_bytes = error.needed_bytes
        except TruncatedGgufError as error:
            needed_bytes = max(error.needed_bytes, len(taken) + 1)
            wanted_bytes = min(max(needed_bytes, len(taken) * 3 // 2, SECOND_BYTES), most_bytes)
        if is_whole:
            return parse(taken)
        if needed_bytes > most_bytes:
            raise FetchError(
                f"the header of {file.path} of {listing.uri} is over {most_bytes} bytes"
            )


def _read_range(
    source: Source, listing: Listing, file: RemoteFile, start_bytes: int, end_bytes: int
) -> bytes:
    """The bytes of that range, fewer where the file ends, from a place without ranges too."""
    taken = bytearray()
    with source.open(listing, file, start_bytes, end_bytes) as stream:
        skipped_bytes = start_bytes - stream.start_bytes
        for chunk in stream.chunks:
            taken += chunk
            if len(taken) >= skipped_bytes + end_bytes - start_bytes:
                break
    return bytes(taken[skipped_bytes : skipped_bytes + end_bytes - start_bytes])
