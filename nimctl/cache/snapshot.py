"""The folder an engine opens: files under their published names, sharing the cached bytes."""

import os
import secrets
import shutil
from collections.abc import Iterable
from pathlib import Path

from nimctl.cache.entry import CachedFile
from nimctl.cache.layout import Layout, is_whole
from nimctl.errors import FetchError


class BlobRemovedError(FetchError):
    """A file that was here is gone; it must be brought again."""


def make_snapshot(layout: Layout, folder: Path, files: Iterable[CachedFile]) -> None:
    """Put every file under its name into `folder`: a hard link, else a link, else a copy.

    Raises:
        BlobRemovedError: somebody removed a blob, or the folder, meanwhile.
    """
    for file in files:
        name, blob = folder / file.path, layout.blob(file.sha256)
        if not leads_to(name, blob):
            layout.make_folder(name.parent)
            _place(blob, name)


def leads_to(name: Path, blob: Path) -> bool:
    """Whether `name` is the same file as `blob`, through a hard link or a link."""
    try:
        return name.samefile(blob)
    except OSError:
        return False


def is_copy(name: Path, blob: Path) -> bool:
    """Whether `name` is the copy that was made of `blob`: of its size and its very time."""
    try:
        facts = blob.lstat()
        return is_whole(name, facts.st_size) and name.lstat().st_mtime_ns == facts.st_mtime_ns
    except OSError:
        return False


def _place(blob: Path, name: Path) -> None:
    temporary = name.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        try:
            temporary.hardlink_to(blob)
        except FileNotFoundError as error:
            raise BlobRemovedError(f"{name.name} was removed from the cache meanwhile") from error
        except OSError:
            try:
                temporary.symlink_to(os.path.relpath(blob, name.parent))
            except OSError:
                if is_copy(name, blob):
                    return
                shutil.copyfile(blob, temporary, follow_symlinks=False)
                shutil.copystat(blob, temporary)
        temporary.replace(name)
    finally:
        temporary.unlink(missing_ok=True)
