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
from nimctl.cache.owners import name_machine
from nimctl.cache.part import Part, open_to_write


@contextmanager
def open_part(
    layout: Layout, key: str, size_bytes: int | None, *, lock_is_certain: bool
) -> Iterator[Part]:
    """The part of `key`: the fullest one that others left if there is any, else a new one.

    Whoever calls has the lock of `key`, so those others are gone, or were silent for long.

    Args:
        lock_is_certain: No process of this machine that held that lock is still at work.
    """
    own = f"{key}.{name_machine()}-"
    path = layout.partial / f"{own}{secrets.token_hex(4)}.part"
    others = sorted(
        find_parts(layout, key), key=lambda part: count_kept_blocks(part, size_bytes or 0)
    )
    for index, other in enumerate(reversed(others)):
        with suppress(FileNotFoundError):  # another process was quicker
            if index > 0:
                other.unlink()
                journal_of(other).unlink()
            elif lock_is_certain and other.name.startswith(own):
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
