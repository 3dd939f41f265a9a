"""One folder for an engine out of files of several places: links to what the cache holds."""

import os
import secrets
from hashlib import sha256
from pathlib import Path

from nimctl.cache import CachedFile, CacheEntry
from nimctl.core.manifest import Artifact, Part
from nimctl.errors import FetchError


def workspace_folder(cache_dir: Path, artifact: Artifact) -> Path:
    """Where the parts of an artifact lie together; the same for the same files."""
    identity = "\n".join(map(_identify, artifact.parts))
    return cache_dir / "workspaces" / sha256(identity.encode()).hexdigest()[:32]


def _identify(part: Part) -> str:
    files = (f"{file.digest} {file.path}" for file in part.files)
    return "\n".join((part.folder, str(part.source), *sorted(part.include), *sorted(files)))


def join_parts(cache_dir: Path, artifact: Artifact, entries: tuple[CacheEntry, ...]) -> CacheEntry:
    """The workspace of an artifact whose parts are in the cache, made or mended.

    Raises:
        FetchError: it cannot be written.
    """
    folder = workspace_folder(cache_dir, artifact)
    files: list[CachedFile] = []
    for part, entry in zip(artifact.parts, entries, strict=True):
        for file in entry.files:
            name = f"{part.folder}/{file.path}" if part.folder else file.path
            _link(folder / name, entry.path / file.path)
            files.append(CachedFile(path=name, size_bytes=file.size_bytes, sha256=file.sha256))
    weights = next(entry for entry in entries if entry.uri == artifact.source)
    return CacheEntry(
        uri=artifact.source, revision=weights.revision, path=folder, files=tuple(files)
    )


def _link(name: Path, target: Path) -> None:
    """Let `name` lead to `target` from wherever the cache is moved to."""
    temporary = name.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        if name.exists() and name.samefile(target):
            return
        name.parent.mkdir(parents=True, exist_ok=True)
        temporary.symlink_to(os.path.relpath(target, name.parent))
        temporary.replace(name)
    except OSError as error:
        raise FetchError(
            f"the folder of links {name.parent} cannot be written: {error.strerror}",
            hint="choose a cache folder that you may write",
        ) from error
