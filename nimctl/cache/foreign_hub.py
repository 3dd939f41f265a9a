"""Reads the caches of huggingface_hub and of NIM: `models--*` folders of blobs and snapshots."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from nimctl.cache.foreign import ForeignFile, ForeignModel, list_folders, list_names, locate
from nimctl.cache.safety import SafetyPolicy, describe_left_out, sort_out
from nimctl.core.source import Digest, SourceSyntaxError, SourceUri, check_relative_path

DIGESTS_OF_NAMES = {64: "sha256", 40: "git-sha1", 32: "md5"}
"""What a blob is named by, told from the length of the name: Hugging Face takes the sha256 of
large files and git's sha1 of small ones, NIM the ETag of S3, an md5 unless it came in parts."""

_MOST_TREE_BYTES = 64 * 1024**2
_BLAKE3_LINE = re.compile(r"([0-9a-f]{64})[ \t]+\*?(.+)")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Snapshot:
    """One revision of one repository; `digests` are those that are listed beside the files."""

    top: Path
    folder: Path
    digests: Mapping[str, Digest]


def find_hub_models(hub: Path) -> Iterator[ForeignModel]:
    """Every model in a Hugging Face cache, whose folder is `hub`; data sets are passed over."""
    for repository in _list_repositories(hub):
        location = "/".join(repository.name.split("--")[1:])
        for folder in list_folders(repository / "snapshots"):
            listed = _read_tree(repository / "trees" / f"{folder.name}.json")
            snapshot = _Snapshot(top=hub, folder=folder, digests=listed)
            yield _read_model(
                "Hugging Face cache",
                SourceUri(scheme="hf", location=location, revision=folder.name),
                snapshot,
                _find_moving(repository, folder.name),
            )


def find_nim_models(cache: Path) -> Iterator[ForeignModel]:
    """Every model in a NIM cache: those of NGC, and those of Hugging Face."""
    hub = cache / "ngc" / "hub"
    for repository in _list_repositories(hub):
        location = "/".join(repository.name.split("--")[1:])
        for folder in list_folders(repository / "snapshots"):
            listed = _read_blake3(folder / "checksums.blake3")
            snapshot = _Snapshot(top=hub, folder=folder, digests=listed)
            uri = SourceUri(scheme="ngc", location=location, revision=folder.name)
            yield _read_model("NIM cache", uri, snapshot, ())
    yield from find_hub_models(cache / "huggingface" / "hub")


def _list_repositories(hub: Path) -> Iterator[Path]:
    return (path for path in list_folders(hub) if path.name.startswith("models--"))


def _read_model(
    tool: str, uri: SourceUri, snapshot: _Snapshot, moving: tuple[str | None, ...]
) -> ForeignModel:
    names = list_names(snapshot.folder)
    files = {file.path: file for name in names if (file := _read_file(snapshot, name))}
    found = sort_out(files, SafetyPolicy())
    missing = set(sort_out(snapshot.digests, SafetyPolicy()).kept) - files.keys()
    note = describe_left_out(found)
    return ForeignModel(
        tool=tool,
        uri=uri,
        revision=snapshot.folder.name,
        files=tuple(files[path] for path in found.kept),
        moving=moving,
        is_whole=uri.scheme == "hf" and bool(snapshot.digests) and not missing,
        notes=(note,) if note else (),
    )


def _read_file(snapshot: _Snapshot, name: str) -> ForeignFile | None:
    """The file; None where it is not there, leads out of the cache, or has no usable name."""
    path = snapshot.folder / name
    found = locate(path, snapshot.top)
    try:
        check_relative_path(name)
    except SourceSyntaxError:
        return None
    if found is None:
        return None
    digest = snapshot.digests.get(name) or _digest_of_name(path)
    return ForeignFile(path=name, location=found[0], size_bytes=found[1], digest=digest)


def _digest_of_name(path: Path) -> Digest | None:
    """By the name of the blob that a link of a snapshot leads to first."""
    if not path.is_symlink():
        return None
    name = path.readlink().name
    if not re.fullmatch(r"[0-9a-f]+", name) or len(name) not in DIGESTS_OF_NAMES:
        return None
    return Digest(algorithm=DIGESTS_OF_NAMES[len(name)], hex=name)


def _find_moving(repository: Path, revision: str) -> tuple[str | None, ...]:
    refs = repository / "refs"
    names = list_names(refs) if refs.is_dir() else []
    meant = [name for name in names if _read_small(refs / name).strip() == revision]
    return (*meant, None) if "main" in meant else tuple(meant)


def _read_tree(path: Path) -> dict[str, Digest]:
    """The digests in a tree of huggingface_hub, by path; none where it is of another version."""
    try:
        document = json.loads(_read_small(path))
        if document["format_version"] != 1:
            return {}
        return {name: _tree_digest(entry) for name, entry in document["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _tree_digest(entry: Mapping[str, str]) -> Digest:
    sha256 = entry.get("lfs_sha256")
    if sha256:
        return Digest(algorithm="sha256", hex=sha256)
    return Digest(algorithm="git-sha1", hex=entry["blob_id"])


def _read_blake3(path: Path) -> dict[str, Digest]:
    """The digests of NGC's `checksums.blake3`, by path."""
    lines = map(_BLAKE3_LINE.fullmatch, _read_small(path).splitlines())
    return {
        found[2].strip().removeprefix("./"): Digest(algorithm="blake3", hex=found[1])
        for found in lines
        if found
    }


def _read_small(path: Path) -> str:
    """The text of a small file; empty where there is none."""
    try:
        if path.stat().st_size > _MOST_TREE_BYTES:
            return ""
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
