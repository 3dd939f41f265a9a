"""Parts that lost their owners: found, measured, and gone on with.

One is adopted by renaming it, which only one process can do. An owner that was only silent may wake
up and write on: its blocks are moved into a file of one's own.
"""

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nimctl.cache.blocks import BLOCK_BYTES
from nimctl.cache.journal import Journal, journal_of, read_journal
from nimctl.cache.layout import Layout
from nimctl.cache.owners import is_of_this_machine, measure_silence_s, name_machine
from nimctl.cache.part import Part, open_to_write

OWNER_LOST_S = 600.0
"""Silence after which a part is taken over where no lock tells whether its owner lives."""


@contextmanager
def open_part(
    layout: Layout, key: str, size_bytes: int | None, *, lock_is_certain: bool
) -> Iterator[Part]:
    """The part of `key`: the fullest abandoned one if there is any, else a new one.

    Args:
        lock_is_certain: No process of this machine that held the lock of `key` is still at work.
    """
    path = layout.partial / f"{key}.{name_machine()}-{secrets.token_hex(4)}.part"
    abandoned = [part for part in find_parts(layout, key) if _is_abandoned(part, lock_is_certain)]
    abandoned.sort(key=lambda part: count_kept_blocks(part, size_bytes or 0))
    for index, other in enumerate(reversed(abandoned)):
        with suppress(FileNotFoundError):  # another process was quicker
            if index > 0:
                other.unlink()
                journal_of(other).unlink()
            elif _is_owner_gone(other, lock_is_certain):
                _adopt(other, path)
            else:
                _take_blocks(other, path, size_bytes or 0)
    part = Part(path, size_bytes)
    try:
        yield part
    finally:
        part.close()
        if not part.is_worth_keeping:
            part.discard()


def _adopt(abandoned: Path, path: Path) -> None:
    journal = journal_of(abandoned)
    is_journal = _is_ours(journal)
    abandoned.rename(path)
    with suppress(FileNotFoundError):  # its owner died before the first block
        if is_journal:
            journal.rename(journal_of(path))
        else:
            journal.unlink()


def _take_blocks(silent: Path, path: Path, size_bytes: int) -> None:
    """Move the blocks of a silent owner, which has its file open still, into the part at `path`.

    The last ones go first and are cut off there, so that both files need no more room than one.
    """
    claimed = silent.with_name(f"{silent.name.rpartition('-')[0]}-{secrets.token_hex(4)}.part")
    _adopt(silent, claimed)
    source, target = open_to_write(claimed), open_to_write(path)
    try:
        kept = read_journal(journal_of(claimed), size_bytes)
        journal = Journal(journal_of(path), size_bytes)
        try:
            for block in reversed(tuple(kept)):
                if (digest := kept.take(block)) is not None:
                    start_bytes = block * BLOCK_BYTES
                    os.pwrite(target, os.pread(source, BLOCK_BYTES, start_bytes), start_bytes)
                    journal.record(block, digest)
                    os.ftruncate(source, start_bytes)
        finally:
            journal.close()
    finally:
        os.close(source)
        os.close(target)
    claimed.unlink()
    journal_of(claimed).unlink(missing_ok=True)


def find_parts(layout: Layout, key: str) -> tuple[Path, ...]:
    """The parts of `key` that may be continued; links and files of others are passed over."""
    return tuple(path for path in layout.partial.glob(f"{key}.*.part") if _is_ours(path))


def count_kept_blocks(part: Path, size_bytes: int) -> int:
    """How many blocks of a part its journal notes."""
    return len(read_journal(journal_of(part), size_bytes))


def count_room(part: Path) -> int:
    """The disk a part takes, in bytes, with what is reserved for blocks to come; 0 for one that
    has just been finished or taken over.
    """
    try:
        return part.lstat().st_blocks * 512
    except FileNotFoundError:
        return 0


def _is_ours(path: Path) -> bool:
    try:
        facts = path.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISREG(facts.st_mode) and facts.st_uid == os.geteuid() and facts.st_nlink == 1


def _is_abandoned(path: Path, lock_is_certain: bool) -> bool:
    """Whether its owner is gone: of this machine a lock tells, of others only long silence."""
    if _is_owner_gone(path, lock_is_certain):
        return True
    try:
        return measure_silence_s(path) > OWNER_LOST_S
    except FileNotFoundError:  # its owner has just finished
        return False


def _is_owner_gone(path: Path, lock_is_certain: bool) -> bool:
    machine = path.name.rpartition("-")[0].rpartition(".")[2]
    return lock_is_certain and is_of_this_machine(machine, path)
