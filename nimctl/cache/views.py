"""The same weights as other tools want them: folders that share the bytes of the cache.

A view may be deleted at any time, by its tool or by hand; the cache keeps its own names.
"""

import json
import os
import secrets
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from urllib.parse import quote

from nimctl.cache.bundle_outputs import output_failures_in_words, share_file
from nimctl.cache.entry import CachedFile, CacheEntry
from nimctl.cache.hub_names import find_published_digest, pointer_sha1
from nimctl.cache.layout import Layout
from nimctl.cache.moving import read_moving, selection_of
from nimctl.core.source import Digest
from nimctl.errors import InputError

WriteView = Callable[[Path, CacheEntry, Path], Path]


def write_hub_view(root: Path, entry: CacheEntry, folder: Path) -> Path:
    """Put an entry of `hf://` into the Hugging Face cache `folder`/hub, for `HF_HUB_CACHE`.

    Source of the layout: huggingface_hub 2.4, `_tree_cache.py` and "Understand caching".

    Returns:
        The folder that `snapshot_download` answers.

    Raises:
        InputError: the entry came from somewhere else, or the folder cannot be written.
        DiskFullError: its disk is full.
    """
    _require(entry, "hf", "a Hugging Face cache")
    layout, hub = Layout(root=root), folder / "hub"
    repository = hub / f"models--{entry.uri.location.replace('/', '--')}"
    with output_failures_in_words(str(folder)):
        digests = {file.path: find_published_digest(layout, file) for file in entry.files}
        snapshot = _write_snapshot(layout, entry, repository, digests)
        for revision in read_moving(root, entry):
            _write_text(repository / "refs" / (revision or "main"), entry.revision)
        if not selection_of(entry):
            tree = repository / "trees" / f"{entry.revision}.json"
            _write_text(tree, _render_tree(entry.files, digests))
        _write_text(hub / "CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55\n")
    return snapshot


def write_nim_view(root: Path, entry: CacheEntry, folder: Path) -> Path:
    """Put an entry of `ngc://` or `hf://` into the NIM cache `folder`, for `NIM_CACHE_PATH`.

    NIM names blobs by the ETags of its storage, which nobody else knows: here they are named by
    sha256. What matters to it are the names in snapshots.

    Raises:
        InputError: the entry came from somewhere else, or the folder cannot be written.
        DiskFullError: its disk is full.
    """
    if entry.uri.scheme == "hf":
        return write_hub_view(root, entry, folder / "huggingface")
    _require(entry, "ngc", "a NIM cache")
    repository = folder / "ngc" / "hub" / f"models--{entry.uri.location.replace('/', '--')}"
    digests = {file.path: Digest(algorithm="sha256", hex=file.sha256) for file in entry.files}
    with output_failures_in_words(str(folder)):
        (repository / "refs").mkdir(parents=True, exist_ok=True)
        return _write_snapshot(Layout(root=root), entry, repository, digests)


def write_model_store(root: Path, entry: CacheEntry, folder: Path) -> Path:
    """Put the files of an entry under their plain names into `folder`, as NIM's
    `create-model-store` does.

    Raises:
        DiskFullError, InputError: the folder cannot be written.
    """
    layout = Layout(root=root)
    with output_failures_in_words(str(folder)):
        for file in entry.files:
            _share(layout.blob(file.sha256), folder / file.path)
    return folder


def write_s3_view(root: Path, entry: CacheEntry, folder: Path) -> Path:
    """Put the files of an entry into `folder` under the keys that `NIM_REPOSITORY_OVERRIDE`
    wants in a bucket: the whole address of each file, in one name.

    Raises:
        InputError: the entry came from neither NGC nor Hugging Face, or the folder cannot be
            written.
        DiskFullError: its disk is full.
    """
    if entry.uri.scheme != "hf":
        _require(entry, "ngc", "a mirror for NIM")
    layout = Layout(root=root)
    with output_failures_in_words(str(folder)):
        for file in entry.files:
            key = f"{entry.uri.location}:{entry.revision}?file={file.path}"
            _share(layout.blob(file.sha256), folder / quote(key, safe=""))
    return folder


VIEWS: Mapping[str, WriteView] = MappingProxyType(
    {
        "hf": write_hub_view,
        "nim-cache": write_nim_view,
        "model-store": write_model_store,
        "nim-s3": write_s3_view,
    }
)
"""By name of a format, what writes one entry in it and says where."""


def check_apart(entries: Iterable[CacheEntry]) -> None:
    """Refuse entries whose plain files would lie over one another.

    Raises:
        InputError: two have files of one name.
    """
    owners: dict[str, CacheEntry] = {}
    for entry in entries:
        for file in entry.files:
            other = owners.setdefault(file.path, entry)
            if other is not entry:
                raise InputError(
                    f"{other.uri} and {entry.uri} both have a file {file.path!r}",
                    hint="write each model to a folder of its own",
                )


def _require(entry: CacheEntry, scheme: str, what: str) -> None:
    if entry.uri.scheme != scheme:
        raise InputError(f"{entry.uri} cannot be in {what}: it is not of {scheme}://")


def _write_snapshot(
    layout: Layout, entry: CacheEntry, repository: Path, digests: Mapping[str, Digest]
) -> Path:
    """Blobs by their digests, and links to them by their names."""
    snapshot = repository / "snapshots" / entry.revision
    for file in entry.files:
        blob = repository / "blobs" / digests[file.path].hex
        _share(layout.blob(file.sha256), blob)
        _link(snapshot / file.path, blob)
    return snapshot


def _link(name: Path, blob: Path) -> None:
    target = os.path.relpath(blob, name.parent)
    _replace(name, lambda temporary: temporary.symlink_to(target))


def _share(source: Path, target: Path) -> None:
    if target.is_symlink() or not target.exists() or not target.samefile(source):
        _replace(target, lambda temporary: share_file(source, temporary))


def _write_text(path: Path, text: str) -> None:
    _replace(path, lambda temporary: temporary.write_text(text))


def _replace(path: Path, fill: Callable[[Path], object]) -> None:
    """Put at `path`, in one step, what `fill` makes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        fill(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _render_tree(files: Iterable[CachedFile], digests: Mapping[str, Digest]) -> str:
    """The listing of a commit, as huggingface_hub keeps it."""
    return json.dumps(
        {
            "format_version": 1,
            "files": {file.path: _tree_entry(file, digests[file.path]) for file in files},
        },
        indent=1,
    )


def _tree_entry(file: CachedFile, digest: Digest) -> dict[str, object]:
    if digest.algorithm == "git-sha1":
        return {"size": file.size_bytes, "blob_id": digest.hex}
    return {
        "size": file.size_bytes,
        "blob_id": pointer_sha1(file),
        "lfs_sha256": file.sha256,
        "lfs_size": file.size_bytes,
    }
