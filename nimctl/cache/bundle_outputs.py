"""Where a bundle is written: a folder that shares the bytes of the cache, or a stream of a tar."""

import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import (
    EACCES,
    EDQUOT,
    EFBIG,
    EINVAL,
    EIO,
    EISDIR,
    ENOENT,
    ENOSPC,
    ENOSYS,
    ENOTDIR,
    EPERM,
    EROFS,
)
from pathlib import Path

from nimctl.errors import DiskFullError, InputError

_BLOCK_BYTES = tarfile.BLOCKSIZE
_END_BYTES = 2 * tarfile.BLOCKSIZE
_MOST_SENT_BYTES = 1024**3
_PIECE_BYTES = 1024**2


@contextmanager
def output_failures_in_words(place: str) -> Iterator[None]:
    """Turn a full or forbidden disk into an error a user can act on.

    Raises:
        DiskFullError, InputError: instead of the OSError of the body.
    """
    try:
        yield
    except BrokenPipeError:
        raise InputError(f"{place} was closed before all was written") from None
    except OSError as error:
        if error.errno in (ENOSPC, EDQUOT, EFBIG):
            raise DiskFullError(
                f"{error.filename or place} cannot be written: {error.strerror}",
                hint="free some space there, or choose a larger disk",
            ) from error
        if error.errno in (EACCES, EPERM, EROFS, EIO, ENOENT, ENOTDIR, EISDIR):
            raise InputError(
                f"{error.filename or place} cannot be read or written: {error.strerror}"
            ) from error
        raise


class FolderOutput:
    """A bundle as a folder; files are hard links where that can be, else copies."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put_bytes(self, name: str, data: bytes) -> None:
        """Write a document."""
        self._publish(name, lambda temporary: _write(temporary, data))

    def put_file(self, name: str, path: Path, size_bytes: int) -> None:
        """Write what the file at `path` holds; nothing where it is there already."""
        target = self._folder / name
        if target.is_symlink() or not target.exists() or not target.samefile(path):
            self._publish(name, lambda temporary: share_file(path, temporary))

    def _publish(self, name: str, fill: Callable[[Path], object]) -> None:
        target = self._folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.tmp")
        temporary.unlink(missing_ok=True)
        try:
            fill(temporary)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)


class TarOutput:
    """A bundle as an uncompressed tar, written from the beginning to the end, without a clock:
    the same entries make the same bytes.
    """

    def __init__(self, descriptor: int) -> None:
        """Write into an open file, a pipe among them."""
        self._descriptor = descriptor

    def put_bytes(self, name: str, data: bytes) -> None:
        """Write a document."""
        self._write(_header(name, len(data)) + data + _padding(len(data)))

    def put_file(self, name: str, path: Path, size_bytes: int) -> None:
        """Write what the file at `path` holds."""
        self._write(_header(name, size_bytes))
        with path.open("rb") as stream:
            sent = 0
            while sent < size_bytes:
                sent += self._send(stream.fileno(), sent, size_bytes - sent)
        self._write(_padding(size_bytes))

    def close(self) -> None:
        """Write the end of the tar; the file stays open."""
        self._write(bytes(_END_BYTES))

    def _send(self, source: int, start: int, count: int) -> int:
        """Send some bytes of a file, inside the kernel where that can be."""
        try:
            sent = os.sendfile(self._descriptor, source, start, min(count, _MOST_SENT_BYTES))
        except OSError as error:
            if error.errno not in (EINVAL, ENOSYS):
                raise
            piece = os.pread(source, min(count, _PIECE_BYTES), start)
            self._write(piece)
            sent = len(piece)
        if not sent:
            raise OSError(f"a file of the cache became shorter while it was read: {start} bytes")
        return sent

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]


def share_file(source: Path, target: Path) -> str:
    """Make `target` hold what `source` holds; says how: `hard link` or `copy`.

    Raises:
        OSError: it cannot be written, or there is something already.
    """
    try:
        target.hardlink_to(source)
        return "hard link"
    except FileExistsError:
        raise
    except OSError:
        shutil.copyfile(source, target, follow_symlinks=False)
        target.chmod(0o444)
        return "copy"


def _write(path: Path, data: bytes) -> None:
    with path.open("xb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _header(name: str, size_bytes: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size_bytes, 0o444
    return info.tobuf(tarfile.GNU_FORMAT)


def _padding(size_bytes: int) -> bytes:
    return bytes(-size_bytes % _BLOCK_BYTES)
