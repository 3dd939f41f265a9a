"""What the cache holds and what a fetch would do, as values."""

from dataclasses import dataclass
from pathlib import Path

from nimctl.core.source import SourceUri


@dataclass(frozen=True, kw_only=True, slots=True)
class CachedFile:
    """One file of an entry.

    Attributes:
        path: Relative to the entry's folder.
        sha256: 64 hex digits; the content's name in the cache.
    """

    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class CacheEntry:
    """A complete set of files that an engine can open.

    Attributes:
        uri: Where it came from, as it was asked for.
        revision: The fixed revision that `uri` meant.
        path: Folder with the files under their published names; it stays the same.
    """

    uri: SourceUri
    revision: str
    path: Path
    files: tuple[CachedFile, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes of all files."""
        return sum(file.size_bytes for file in self.files)


@dataclass(frozen=True, kw_only=True, slots=True)
class CacheUsage:
    """How much disk the cache takes.

    Attributes:
        blob_bytes: Whole files; those that several entries share count once.
        partial_bytes: Files not whole yet, and rejected ones.
        workspace_bytes: Folders of links, for files of several places.
        trash_bytes: What was being removed when something stopped it.
        free_bytes: What is left on that disk.
    """

    root: Path
    entries: tuple[CacheEntry, ...]
    blob_bytes: int
    partial_bytes: int
    workspace_bytes: int
    trash_bytes: int
    free_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedFile:
    """One file of a fetch that is not started.

    Attributes:
        size_bytes: None where the source does not say.
        kept_bytes: What is on this disk already; the whole size where the file is complete.
        room_bytes: Disk that is taken for it already, by what is kept and by what is reserved.
    """

    path: str
    size_bytes: int | None
    kept_bytes: int
    room_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class FetchPlan:
    """What a fetch would bring.

    Attributes:
        revision: The fixed revision; None where nobody had to be asked.
        free_bytes: What is left on the disk of the cache.
    """

    uri: SourceUri
    revision: str | None
    files: tuple[PlannedFile, ...]
    free_bytes: int

    @property
    def total_bytes(self) -> int:
        """Bytes of all files whose size is known."""
        return sum(file.size_bytes or 0 for file in self.files)

    @property
    def kept_bytes(self) -> int:
        """Bytes of them on this disk already."""
        return sum(file.kept_bytes for file in self.files)

    @property
    def download_bytes(self) -> int:
        """Bytes still to bring."""
        return self.total_bytes - self.kept_bytes

    @property
    def lacking_bytes(self) -> int:
        """Disk that must still be free for it."""
        return sum(max((file.size_bytes or 0) - file.room_bytes, 0) for file in self.files)
