"""Places beyond 4 GiB, on the wire and on the disk: whatever has 32 bits would lose them."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Event

import pytest
from blake3 import blake3
from faulty_server import FaultyServers, FileHandler
from large_content import LargeContent

from nimctl.cache import BLOCK_BYTES, RetryPolicy, ignore_progress
from nimctl.cache.abandoned import open_part
from nimctl.cache.blocks import count_blocks, span_of_block
from nimctl.cache.dispatch import Dispatch
from nimctl.cache.journal import Journal, read_journal
from nimctl.cache.layout import Layout
from nimctl.cache.owners import name_machine
from nimctl.cache.patience import Patience
from nimctl.cache.receiving import receive_spans
from nimctl.core.source import Source, parse_source_uri
from nimctl.sources import SourceAccess, open_source

EDGE = 2**32
SIZE = EDGE + 3 * BLOCK_BYTES + 777
CONTENT = LargeContent(SIZE)
KEY = "sha256-" + "a" * 64
POLICY = RetryPolicy(attempts=3, first_wait_s=0.01)


class _Web(FileHandler):
    origin = "web"

    def answer(self) -> None:
        self.send_file("large", "large", CONTENT, "one")


@pytest.fixture
def server() -> Iterator[FaultyServers]:
    with FaultyServers() as server:
        yield server


@pytest.fixture
def source(server: FaultyServers) -> Iterator[tuple[Source, str]]:
    address = f"{server.listen(_Web)}/model.gguf"
    access = SourceAccess(scratch_folder=Path("unused"), python=Path(sys.executable))
    with closing(open_source(parse_source_uri(address), access)) as source:
        yield source, address


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (EDGE - 10, EDGE + 10),
        (EDGE - 1, EDGE),
        (EDGE, EDGE + 1),
        (EDGE - BLOCK_BYTES, EDGE + BLOCK_BYTES),
        (EDGE + 3, SIZE),
        (SIZE - 5, None),
        (EDGE // 2 - 3, EDGE // 2 + 3),
    ],
)
def test_bytes_around_4_gib_come_as_they_were_asked(
    server: FaultyServers, source: tuple[Source, str], start: int, end: int | None
) -> None:
    listing = source[0].list_files(parse_source_uri(source[1]))
    (file,) = listing.files
    assert file.size_bytes == SIZE
    with source[0].open(listing, file, start, end) as stream:
        assert stream.start_bytes == start
        assert b"".join(stream.chunks) == CONTENT[start:end]
    last = "" if end is None else end - 1
    assert server.seen[-1].headers["range"] == f"bytes={start}-{last}"


def leave_part(layout: Layout, present: set[int]) -> None:
    """What a fetch leaves that was killed when these blocks were here."""
    part = layout.partial / f"{KEY}.{name_machine()}-00000000.part"
    with part.open("wb") as stream:
        stream.truncate(SIZE)
    journal = Journal(part.with_suffix(".blocks"), SIZE)
    for block in sorted(present):
        journal.record(block, bytes(32))
    journal.close()
    os.utime(part, (1, 1))


def test_blocks_beyond_4_gib_are_gone_on_with(
    server: FaultyServers,
    source: tuple[Source, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The blocks that the journal lacks are fetched, no others, and land in their places."""
    # A disk that cannot reserve room makes a sparse file, which takes none of this machine's.
    monkeypatch.setattr(os, "posix_fallocate", lambda fd, start, size: os.truncate(fd, size))
    layout = Layout(root=tmp_path / "cache")
    layout.create()
    edge = EDGE // BLOCK_BYTES
    missing = {0, edge - 1, edge, edge + 2, edge + 3}
    leave_part(layout, set(range(count_blocks(SIZE))) - missing)
    listing = source[0].list_files(parse_source_uri(source[1]))
    (file,) = listing.files
    dispatch = Dispatch(4, trickle_s=30.0)
    with open_part(layout, KEY, SIZE, lock_is_certain=True) as part:
        patience = Patience(POLICY, file.path, ignore_progress, Event())
        intake = dispatch.add(file, part, patience, is_fixed=True)
        asked = (dispatch, source[0], listing)
        connections = [threading.Thread(target=receive_spans, args=asked) for _ in range(4)]
        for connection in connections:
            connection.start()
        try:
            assert all(dispatch.wait_for_blocks(intake, block, 1) for block in sorted(missing))
        finally:
            dispatch.stop()
            for connection in connections:
                connection.join()
        (path,) = layout.partial.glob("*.part")
        noted = read_journal(path.with_suffix(".blocks"), SIZE)
        assert len(noted) == count_blocks(SIZE)
        with path.open("rb") as stream:
            for block in missing:
                span = span_of_block(block, SIZE)
                wanted = CONTENT[span.start_bytes : span.end_bytes]
                stream.seek(span.start_bytes)
                assert stream.read(BLOCK_BYTES) == wanted
                assert noted.take(block) == blake3(wanted).digest()
    brought = len(missing) * BLOCK_BYTES - (-SIZE % BLOCK_BYTES)
    assert server.sent_bytes["large"] - 1 == brought  # and the first byte, for the listing
    assert path.stat().st_blocks * 512 < 2 * brought
