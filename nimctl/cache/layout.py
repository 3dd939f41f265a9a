"""Where everything lies in the cache, and writing there without ever following a planted link."""

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from errno import EACCES, EDQUOT, EFBIG, EIO, ELOOP, ENAMETOOLONG, ENOSPC, EPERM, EROFS
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

from nimctl.core.source import SourceUri
from nimctl.errors import DiskFullError, FetchError

LAYOUT_VERSION = "1"
CACHEDIR_TAG = (
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# This folder holds the model cache of nimctl; see https://bford.info/cachedir/\n"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """Paths below the root of a cache.

    ```
    VERSION                                        of this layout
    CACHEDIR.TAG                                   tells backup programs to pass by
    blobs/sha256/ab/<hex>                          whole files, read-only, named by their content
    stamps/ab/<hex>.json                           what a blob looked like when it was last hashed
    partial/<key>.<owner>.part  <key>.lock         files on their way
    partial/<key>.known                            sha256 of files listed without one
    partial/scratch/                               temporary files of sources
    quarantine/<key>                               bytes that were not the published ones
    models/<scheme>/<place>/<revision>[+sel].json  what is complete; written last
    refs/<scheme>/<place>/<revision>[+sel]         which fixed revision a moving one meant
    listings/<scheme>/<place>.json                 what a repository held when it was last listed
    snapshots/<scheme>/<place>/<revision>[+sel]/   files under their published names
    workspaces/<hash>/                             links into snapshots, for files of several places
    views/<tool>/                                  the cache as other tools want it
    pins/<scheme>/<place>/<revision>[+sel].json    what may not be removed, and who said so
    papers/<hash>/                                 of an entry: signature, manifests it came with
    leases/<random>.json                           what a running process uses; locked by it
    compiled/user-<uid>/<engine>-<version>-<gpu>/  what engines compiled, for their next start
    trash/<random>.<what>                          on its way out; put back if somebody needs it
    ```

    Nothing but content lies in `blobs`, so that any tool can check or copy it. When an entry was
    last used is the time of change of its record.
    """

    root: Path

    @property
    def partial(self) -> Path:
        """Files on their way."""
        return self.root / "partial"

    @property
    def scratch(self) -> Path:
        """Temporary files of sources."""
        return self.partial / "scratch"

    @property
    def blobs(self) -> Path:
        """Whole files."""
        return self.root / "blobs" / "sha256"

    @property
    def models(self) -> Path:
        """Records of what is complete."""
        return self.root / "models"

    @property
    def quarantine(self) -> Path:
        """Rejected bytes."""
        return self.root / "quarantine"

    @property
    def stamps(self) -> Path:
        """What blobs looked like when they were last hashed."""
        return self.root / "stamps"

    @property
    def snapshots(self) -> Path:
        """Files under their published names."""
        return self.root / "snapshots"

    @property
    def workspaces(self) -> Path:
        """Folders of links into snapshots."""
        return self.root / "workspaces"

    @property
    def refs(self) -> Path:
        """Which fixed revision a moving one meant."""
        return self.root / "refs"

    @property
    def pins(self) -> Path:
        """What may not be removed."""
        return self.root / "pins"

    @property
    def views(self) -> Path:
        """The same files as other tools want them."""
        return self.root / "views"

    @property
    def papers(self) -> Path:
        """What is kept of entries beside their files."""
        return self.root / "papers"

    @property
    def leases(self) -> Path:
        """What running processes use."""
        return self.root / "leases"

    @property
    def compiled(self) -> Path:
        """What engines have compiled."""
        return self.root / "compiled"

    @property
    def trash(self) -> Path:
        """What is on its way out."""
        return self.root / "trash"

    def blob(self, sha256_hex: str) -> Path:
        """A whole file."""
        return self.blobs / sha256_hex[:2] / sha256_hex

    def stamp(self, sha256_hex: str) -> Path:
        """What a blob looked like when it was last hashed."""
        return self.stamps / sha256_hex[:2] / f"{sha256_hex}.json"

    def records(self, uri: SourceUri) -> Path:
        """Where the records of all entries of a place are."""
        return _place(self.models, uri)

    def record(self, uri: SourceUri, revision: str, selection: str) -> Path:
        """The record of an entry."""
        return _place(self.models, uri) / f"{_entry_name(revision, selection)}.json"

    def snapshot(self, uri: SourceUri, revision: str, selection: str) -> Path:
        """The folder of an entry."""
        return _place(self.snapshots, uri) / _entry_name(revision, selection)

    def listing(self, uri: SourceUri) -> Path:
        """What is known of the place's last listing."""
        place = _place(self.root / "listings", uri)
        return place.with_name(f"{place.name}.json")

    def ref(self, uri: SourceUri, selection: str) -> Path:
        """Where it is noted which fixed revision the entry for `uri` has."""
        revision = uri.revision or "default"
        return _place(self.refs, uri) / _entry_name(revision, selection)

    def create(self) -> None:
        """Make the cache ready to be written.

        Raises:
            FetchError: it was written by a nimctl with another layout.
            OSError: it cannot be written.
        """
        if not self.root.exists():
            self._make_root()
            self.write_text(self.root / "CACHEDIR.TAG", CACHEDIR_TAG)
        version = self.root / "VERSION"
        if not version.exists():
            self.write_text(version, f"{LAYOUT_VERSION}\n")
        found = version.read_text().strip()
        if found != LAYOUT_VERSION:
            raise FetchError(
                f"the cache {self.root} has layout {found}, this nimctl knows {LAYOUT_VERSION}",
                hint="use the nimctl that wrote it, or choose another cache folder",
            )
        for folder in self._made:
            self.make_folder(folder)

    @property
    def _made(self) -> tuple[Path, ...]:
        return self.partial, self.quarantine, self.blobs

    @property
    def is_made(self) -> bool:
        """Whether all that `create` makes is still there."""
        return all(map(_is_folder, self._made))

    def _make_root(self) -> None:
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        except (FileNotFoundError, NotADirectoryError, FileExistsError) as error:
            raise FetchError(
                f"the cache folder {self.root} cannot be made: {error.strerror}",
                hint="choose a cache folder that you may write",
            ) from error

    def make_folder(self, folder: Path) -> None:
        """Make `folder`, which lies below the root, with the root's permissions.

        Raises:
            FetchError: something else, such as a link, is in its place.
        """
        mode = stat.S_IMODE(self.root.stat().st_mode)
        step = self.root
        for name in folder.relative_to(self.root).parts:
            step = step / name
            try:
                step.mkdir()
            except FileExistsError:
                if not stat.S_ISDIR(step.lstat().st_mode):
                    raise FetchError(f"{step} should be a folder of the cache but is not") from None
            else:
                step.chmod(mode)

    def holds(self, path: Path) -> bool:
        """Whether every folder between the root and `path` is a real one, and none a link."""
        steps = [step for step in path.parents if step != self.root]
        return all(_is_folder(step) for step in steps if step.is_relative_to(self.root))

    def write_text(self, path: Path, text: str) -> None:
        """Put `text` at `path` in one step, on disk before this returns."""
        self._write(path, text, is_durable=True)
        sync_folder(path.parent)

    def write_note(self, path: Path, text: str) -> None:
        """Put `text` at `path` in one step; a power cut may lose it, so nothing may rest on it."""
        self._write(path, text, is_durable=False)

    def _write(self, path: Path, text: str, *, is_durable: bool) -> None:
        self.make_folder(path.parent)
        temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with os.fdopen(os.open(temporary, flags, 0o600), "w", encoding="utf-8") as stream:
                os.fchmod(stream.fileno(), self.file_mode())
                stream.write(text)
                stream.flush()
                if is_durable:
                    os.fsync(stream.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    def file_mode(self) -> int:
        """Permissions of a file that is not content: those of the root, without execution."""
        return stat.S_IMODE(self.root.stat().st_mode) & 0o666

    def unfinished_bytes(self) -> int:
        """The size of files on their way and of rejected ones, without notes and locks."""
        paths = (*walk_files(self.partial), *walk_files(self.quarantine))
        return sum(size_of(path) for path in paths if path.suffix not in (".known", ".lock"))

    def free_bytes(self) -> int:
        """What a user may still write on the disk of the cache, in bytes; 0 where unknown."""
        return self.known_free_bytes() or 0

    def known_free_bytes(self) -> int | None:
        """The same; None on a file system that does not say how large it is."""
        folder = self.root.absolute()
        while not folder.exists():
            folder = folder.parent
        facts = os.statvfs(folder)
        return facts.f_bavail * facts.f_frsize if facts.f_blocks else None


def sync_folder(folder: Path) -> None:
    """Bring the names in `folder` to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_whole(path: Path, size_bytes: int | None) -> bool:
    """Whether a regular file of that size (None: any) is there; a link is not."""
    try:
        facts = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return stat.S_ISREG(facts.st_mode) and size_bytes in (None, facts.st_size)


def read_text(path: Path, most_bytes: int = 16 * 1024**2) -> str | None:
    """What a file of the cache says; None where it is missing, unreadable, huge, or a link."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        data = stream.read(most_bytes + 1)
    try:
        return data.decode() if len(data) <= most_bytes else None
    except UnicodeDecodeError:
        return None


def walk_files(top: Path) -> Iterator[Path]:
    """Everything below the folder `top` that is no folder; links are named and not followed."""
    if not _is_folder(top):
        return
    for place, folders, files in os.walk(top):
        links = [name for name in folders if Path(place, name).is_symlink()]
        folders.sort()
        yield from (Path(place, name) for name in sorted(files + links))


def count_bytes(top: Path) -> int:
    """The size of everything below the folder `top`."""
    return sum(map(size_of, walk_files(top)))


def size_of(path: Path) -> int:
    """The size of a file, in bytes; what vanished meanwhile has none."""
    try:
        return path.lstat().st_size
    except FileNotFoundError:
        return 0


def _is_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


@contextmanager
def disk_failures_in_words(root: Path) -> Iterator[None]:
    """Turn a full or forbidden disk into an error a user can act on.

    Raises:
        DiskFullError, FetchError: instead of the OSError of the body.
    """
    try:
        yield
    except OSError as error:
        where = error.filename or root
        if error.errno in (ENOSPC, EDQUOT, EFBIG):
            raise DiskFullError(
                f"the disk of the cache is full: {where} ({error.strerror})",
                hint="free some space and run the same command again; what was fetched is kept",
            ) from error
        if error.errno in (EACCES, EPERM, EROFS, EIO, ELOOP):
            raise FetchError(
                f"the cache cannot be used: {where} ({error.strerror})",
                hint="choose a cache folder that you may write",
            ) from error
        if error.errno == ENAMETOOLONG:
            raise FetchError(
                f"the name {Path(where).name!r} is too long for the disk of the cache in {root}",
                hint="choose a cache folder with a shorter path, or on another disk",
            ) from error
        raise


@contextmanager
def removal_in_words(layout: Layout) -> Iterator[None]:
    """Turn the loss of the cache itself, while files are brought, into an error a user can act on.

    Raises:
        FetchError: instead of the FileNotFoundError of the body, where folders are gone that
            `Layout.create` made before.
    """
    try:
        yield
    except FileNotFoundError as error:
        if layout.is_made:
            raise
        raise FetchError(
            f"the cache {layout.root} was removed while files were fetched into it",
            hint="run the same command again",
        ) from error


def _place(top: Path, uri: SourceUri) -> Path:
    return top.joinpath(uri.scheme, *(_safe(part) for part in uri.location.split("/") if part))


def _entry_name(revision: str, selection: str) -> str:
    return f"{_safe(revision)}+{selection}" if selection else _safe(revision)


def _safe(name: str) -> str:
    """A file name that is not special, cannot climb, and is not too long."""
    plain = quote(name, safe="")
    if plain.startswith("."):
        plain = "%2E" + plain[1:]
    return plain if len(plain) <= 120 else f"{plain[:80]}~{sha256(name.encode()).hexdigest()[:32]}"
