"""What other tools keep on this machine, as values: models, and where their files lie."""

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from nimctl.core.source import Digest, SourceUri


@dataclass(frozen=True, kw_only=True, slots=True)
class ForeignFile:
    """One file of another tool.

    Attributes:
        path: Its published name.
        location: The regular file with its bytes.
        digest: What the other tool says it hashes to, which is checked;
            None where it says nothing that can be checked.
    """

    path: str
    location: Path
    size_bytes: int
    digest: Digest | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ForeignModel:
    """One model of another tool at one revision.

    Attributes:
        tool: Whose it is, in words.
        uri: Where it was published; the folder it lies in, where that is not known.
        moving: Revisions that meant this one, e.g. `main`; None is the default.
        is_whole: It is known that nothing is missing of what was published.
        notes: What is left out, and why, one sentence each.
    """

    tool: str
    uri: SourceUri
    revision: str
    files: tuple[ForeignFile, ...]
    moving: tuple[str | None, ...] = ()
    is_whole: bool = False
    notes: tuple[str, ...] = ()

    @property
    def size_bytes(self) -> int:
        """Bytes of all files."""
        return sum(file.size_bytes for file in self.files)


FindModels = Callable[[Path], Iterator[ForeignModel]]


def locate(path: Path, top: Path) -> tuple[Path, int] | None:
    """The regular file that `path` is or leads to, and its size; None outside of `top`."""
    try:
        location = path.resolve(strict=True)
        facts = location.lstat()
    except (OSError, RuntimeError):
        return None
    if not stat.S_ISREG(facts.st_mode) or not location.is_relative_to(top.resolve()):
        return None
    return location, facts.st_size


def list_names(folder: Path) -> list[str]:
    """Relative paths of everything below `folder` that is no folder; links are not entered."""
    return sorted(
        Path(place, name).relative_to(folder).as_posix()
        for place, _, names in os.walk(folder)
        for name in names
        if not name.startswith(".")
    )


def list_folders(folder: Path) -> list[Path]:
    """Folders in `folder`; none where there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())
