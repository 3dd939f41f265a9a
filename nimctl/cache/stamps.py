"""What each blob looked like when it was last hashed, so that a look tells whether it changed."""

import hashlib
import json
import os
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from nimctl.cache.layout import Layout, read_text
from nimctl.cache.read_buffer import make_read_buffer
from nimctl.core.source import SourceUri

_PIECE_BYTES = 256 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Stamp:
    """The look of a blob whose bytes are known to be right.

    Attributes:
        inode: Number of the file on its file system; a restored backup has another.
        verified_at_s: When its bytes were last hashed, in seconds since 1970.
        origins: Where they came from, without anything secret.
    """

    size_bytes: int
    mtime_ns: int
    inode: int
    verified_at_s: float
    origins: tuple[str, ...]


def is_stamped(layout: Layout, sha256_hex: str, size_bytes: int) -> bool:
    """Whether the blob is there and looks as it did when its bytes were last found right.

    Nothing is hashed or written. A change that keeps size, time and inode is not seen.
    """
    facts = look_at(layout.blob(sha256_hex))
    if facts is None or facts.st_size != size_bytes:
        return False
    stamp = read_stamp(layout, sha256_hex)
    return stamp is not None and _look_of(facts) == (stamp.size_bytes, stamp.mtime_ns, stamp.inode)


def read_stamp(layout: Layout, sha256_hex: str) -> Stamp | None:
    """The stamp of a blob; None where there is none or it is damaged, which is the same."""
    text = read_text(layout.stamp(sha256_hex))
    try:
        document = json.loads(text or "")
        return Stamp(**{**document, "origins": tuple(map(str, document["origins"]))})
    except (ValueError, KeyError, TypeError):
        return None


def stamp_blob(layout: Layout, sha256_hex: str, origin: SourceUri | None = None) -> None:
    """Note how a blob looks whose bytes were just found right; nothing where that is forbidden.

    Args:
        origin: Where they came from, if they came just now.
    """
    facts = look_at(layout.blob(sha256_hex))
    if facts is None:
        return
    before = read_stamp(layout, sha256_hex)
    origins = set(before.origins if before else ()) | ({_public(origin)} if origin else set())
    size_bytes, mtime_ns, inode = _look_of(facts)
    stamp = Stamp(
        size_bytes=size_bytes,
        mtime_ns=mtime_ns,
        inode=inode,
        verified_at_s=round(time.time(), 3),
        origins=tuple(sorted(origins)),
    )
    with suppress(OSError):  # a cache that may only be read is hashed again, and works
        layout.write_note(layout.stamp(sha256_hex), json.dumps(asdict(stamp)) + "\n")


def look_at(path: Path) -> os.stat_result | None:
    """The facts of a regular file; None for anything else, above all a link."""
    try:
        facts = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return facts if stat.S_ISREG(facts.st_mode) else None


def ignore_bytes(count_bytes: int) -> None:
    """Tell nobody."""


def hash_file(path: Path, on_bytes: Callable[[int], None] = ignore_bytes) -> str | None:
    """The sha256 of a regular file in hex; None where it is missing, cannot be read, is a link,
    or changed while it was read.

    Args:
        on_bytes: Told how many bytes were hashed since the last time; may raise to end it.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    hasher, piece = hashlib.sha256(), make_read_buffer(_PIECE_BYTES)
    try:
        with open(path, "rb", buffering=0, opener=lambda name, _: os.open(name, flags)) as stream:
            before = os.fstat(stream.fileno())
            if not stat.S_ISREG(before.st_mode):
                return None
            while count := stream.readinto(piece):
                hasher.update(piece[:count])
                on_bytes(count)
            after = os.fstat(stream.fileno())
    except OSError:
        return None
    return hasher.hexdigest() if _look_of(before) == _look_of(after) else None


def _look_of(facts: os.stat_result) -> tuple[int, int, int]:
    return facts.st_size, facts.st_mtime_ns, facts.st_ino


def _public(uri: SourceUri) -> str:
    """An address without what may be secret: a user's name, a password, a signature."""
    if uri.scheme not in ("http", "https"):
        return str(uri)
    host, slash, path = uri.location.partition("/")
    plain = path.partition("?")[0].partition("#")[0]
    return f"{uri.scheme}://{host.rpartition('@')[2]}{slash}{plain}"
