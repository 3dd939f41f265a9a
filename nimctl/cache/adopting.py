"""Takes what other tools keep on this machine into the cache, verified, without a second copy.

A clone of the file system is best: it takes no room and is a file of our own. A hard link takes
none either, but it is the other tool's file: its permissions stay as they are, and a change that
the other tool makes in place is a change here, which the stamp of the blob tells. Only across
disks, and where a link would not be readable for those who share the cache, bytes are copied.
"""

import fcntl
import hashlib
import os
import secrets
import stat
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from threading import Event
from typing import Literal

from nimctl.cache.entry import CachedFile, CacheEntry
from nimctl.cache.foreign import ForeignFile, ForeignModel
from nimctl.cache.hashing import HASHERS, Hasher
from nimctl.cache.hub_names import MOST_GIT_BYTES
from nimctl.cache.layout import Layout, disk_failures_in_words, is_whole, sync_folder
from nimctl.cache.moving import write_moving
from nimctl.cache.patience import Stopped
from nimctl.cache.records import write_entry
from nimctl.cache.request import FetchRequest
from nimctl.cache.snapshot import make_snapshot
from nimctl.cache.stamps import stamp_blob
from nimctl.core.source import SourceUri
from nimctl.errors import DigestMismatchError, FetchError, InterruptedByUserError

Way = Literal["here already", "hard link", "reflink", "copy"]


FILES_AT_ONCE = 4
_PIECE_BYTES = 1024**2
_FICLONE = 0x40049409
"""Linux, `ioctl_ficlone(2)`: shares the blocks of one file with another."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AdoptedFile:
    """One file that is in the cache now.

    Attributes:
        way: How its bytes came there.
        was_checked: They are what the other tool's own digest says; False where it says none.
    """

    file: CachedFile
    way: Way
    was_checked: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class AdoptedModel:
    """What became of one model of another tool.

    Attributes:
        entry: What the cache holds of it now; None where no file could be taken.
        refused: Files that were not taken, and why, one sentence each.
        is_damaged: One of them does not hold the bytes that its tool says.
    """

    model: ForeignModel
    entry: CacheEntry | None
    files: tuple[AdoptedFile, ...]
    refused: tuple[str, ...]
    is_damaged: bool


def adopt_model(
    root: Path, model: ForeignModel, on_file: Callable[[ForeignFile], None]
) -> AdoptedModel:
    """Take every file of `model` whose bytes are right into the cache at `root`.

    What could not be taken is left out, and the entry says that it is a part.

    Args:
        on_file: Told of each file before it is read; from several threads.

    Raises:
        FetchError: the cache cannot be written.
        DiskFullError: there is no room for a copy.
        InterruptedByUserError: Ctrl-C; no file is half taken.
    """
    layout, stop = Layout(root=root), Event()
    refused: list[FetchError] = []

    def adopt(file: ForeignFile) -> AdoptedFile | None:
        on_file(file)
        try:
            return _adopt_file(layout, file, model.uri, stop)
        except FetchError as error:
            refused.append(error)
            return None

    with disk_failures_in_words(root):
        layout.create()
        with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
            try:
                files = tuple(done for done in pool.map(adopt, model.files) if done)
            except KeyboardInterrupt:
                stop.set()  # the pool waits for those that are being read
                raise InterruptedByUserError(
                    f"stopped while files of {model.uri} were taken over; those that are whole are "
                    "kept, and the same command goes on with the others"
                ) from None
        is_whole_model = model.is_whole and not refused
        entry = _declare(layout, model, files, is_whole=is_whole_model) if files else None
    return AdoptedModel(
        model=model,
        entry=entry,
        files=files,
        refused=tuple(sorted(error.message for error in refused)),
        is_damaged=any(isinstance(error, DigestMismatchError) for error in refused),
    )


def _declare(
    layout: Layout, model: ForeignModel, files: Iterable[AdoptedFile], *, is_whole: bool
) -> CacheEntry:
    """Write the entry, under every revision that means it."""
    cached = tuple(one.file for one in files)
    include = () if is_whole else tuple(escape(file.path) for file in cached)
    uri = model.uri
    fixed = FetchRequest(uri=uri, include=include)
    entry = CacheEntry(
        uri=uri,
        revision=model.revision,
        path=layout.snapshot(uri, model.revision, fixed.selection),
        files=cached,
    )
    make_snapshot(layout, entry.path, entry.files)
    write_entry(layout, fixed, entry)
    write_moving(layout.root, entry, model.moving)
    return entry


def _adopt_file(layout: Layout, file: ForeignFile, origin: SourceUri, stop: Event) -> AdoptedFile:
    """Take one file in.

    Raises:
        DigestMismatchError: its bytes are not what its tool says they are.
        FetchError: it cannot be read, or changes meanwhile.
        Stopped: `stop` was set.
    """
    expected = file.digest
    is_named = expected is not None and expected.algorithm == "sha256"
    if expected and is_named and is_whole(layout.blob(expected.hex), file.size_bytes):
        here = CachedFile(path=file.path, size_bytes=file.size_bytes, sha256=expected.hex)
        return AdoptedFile(file=here, way="here already", was_checked=True)
    descriptor = _open(file)
    try:
        return _take(layout, file, descriptor, origin, stop)
    finally:
        os.close(descriptor)


def _take(
    layout: Layout, file: ForeignFile, descriptor: int, origin: SourceUri, stop: Event
) -> AdoptedFile:
    before = os.fstat(descriptor)
    hashes = _hash(descriptor, file, stop)
    expected = file.digest
    if expected is not None and hashes[expected.algorithm] != expected.hex:
        raise DigestMismatchError(
            f"{file.location} is damaged: its name or its tool says {expected}, but it is "
            f"{expected.algorithm}:{hashes[expected.algorithm]}"
        )
    done = CachedFile(path=file.path, size_bytes=before.st_size, sha256=hashes["sha256"])
    blob = layout.blob(done.sha256)
    way: Way = "here already"
    if not is_whole(blob, done.size_bytes):
        layout.make_folder(blob.parent)
        way = _publish(layout, file, descriptor, before, blob, stop)
        sync_folder(blob.parent)
        stamp_blob(layout, done.sha256, origin)
    if "git-sha1" in hashes:
        note = layout.partial / f"git-sha1-{hashes['git-sha1']}.known"
        layout.write_text(note, done.sha256 + "\n")
    return AdoptedFile(file=done, way=way, was_checked=expected is not None)


def _publish(
    layout: Layout,
    file: ForeignFile,
    descriptor: int,
    before: os.stat_result,
    blob: Path,
    stop: Event,
) -> Way:
    """Give the open file a name in the cache, if it still looks as `before` it was hashed."""
    temporary = blob.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        way = (
            _clone(descriptor, temporary)
            or _link(layout, file, descriptor, temporary)
            or _copy(descriptor, temporary, stop)
        )
        if _look(os.fstat(descriptor)) != _look(before):
            raise FetchError(f"{file.location} was changed while it was read")
        temporary.replace(blob)
        return way
    finally:
        temporary.unlink(missing_ok=True)


def _clone(descriptor: int, temporary: Path) -> Way | None:
    own = _create(temporary)
    try:
        fcntl.ioctl(own, _FICLONE, descriptor)
        _finish(own)
        return "reflink"
    except OSError:
        temporary.unlink()
        return None
    finally:
        os.close(own)


def _link(layout: Layout, file: ForeignFile, descriptor: int, temporary: Path) -> Way | None:
    """A hard link; None where it cannot be made, or those who share the cache could not read it."""
    shared = stat.S_IMODE(layout.root.stat().st_mode) & 0o044
    if os.fstat(descriptor).st_mode & shared != shared:
        return None
    try:
        os.link(file.location, temporary, follow_symlinks=False)
    except OSError:
        return None
    if not os.path.samestat(os.fstat(descriptor), temporary.lstat()):
        raise FetchError(f"{file.location} was replaced while it was read")
    os.fsync(descriptor)
    return "hard link"


def _copy(descriptor: int, temporary: Path, stop: Event) -> Way:
    own = _create(temporary)
    try:
        offset = 0
        while piece := _read_piece(descriptor, offset, stop):
            offset += os.write(own, piece)
        _finish(own)
    finally:
        os.close(own)
    return "copy"


def _read_piece(descriptor: int, offset: int, stop: Event) -> bytes:
    if stop.is_set():
        raise Stopped
    return os.pread(descriptor, _PIECE_BYTES, offset)


def _create(path: Path) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(path, flags, 0o600)


def _finish(own: int) -> None:
    os.fchmod(own, 0o444)
    os.fsync(own)


def _open(file: ForeignFile) -> int:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(file.location, flags)
    except OSError as error:
        raise FetchError(f"{file.location} cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FetchError(f"{file.location} is not a regular file")
    return descriptor


def _hash(descriptor: int, file: ForeignFile, stop: Event) -> dict[str, str]:
    """What the open file hashes to: sha256, for small files git's sha1, and what is expected."""
    size_bytes = os.fstat(descriptor).st_size
    wanted = {"sha256"}
    if size_bytes <= MOST_GIT_BYTES:
        wanted.add("git-sha1")
    if file.digest is not None:
        wanted.add(file.digest.algorithm)
    hashers = {name: _begin(name, size_bytes) for name in wanted}
    offset = 0
    while piece := _read_piece(descriptor, offset, stop):
        offset += len(piece)
        for hasher in hashers.values():
            hasher.update(piece)
    return {name: hasher.hexdigest() for name, hasher in hashers.items()}


def _begin(algorithm: str, size_bytes: int) -> Hasher:
    if algorithm == "md5":
        return hashlib.md5(usedforsecurity=False)
    return HASHERS[algorithm](size_bytes)


def _look(facts: os.stat_result) -> tuple[int, int, int]:
    return facts.st_size, facts.st_mtime_ns, facts.st_ino
