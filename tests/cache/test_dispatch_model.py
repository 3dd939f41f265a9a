"""The plan of a transfer without any transfer: every byte is wanted, fetched, or here, and once."""

import itertools
import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    precondition,
    rule,
)

from nimctl.cache.blocks import BLOCK_BYTES, BlockSet, Span, count_blocks, list_missing
from nimctl.cache.dispatch import Dispatch
from nimctl.cache.intake import (
    LEAST_SPLIT_BYTES,
    SPAN_BYTES,
    Intake,
    Lease,
    span_towards_end,
)
from nimctl.cache.part import Part
from nimctl.cache.patience import Patience, RetryPolicy, Stopped
from nimctl.cache.progress import ignore_progress
from nimctl.core.source import ByteStream, RemoteFile, TemporaryFetchError

SIZES = st.integers(1, 80 * BLOCK_BYTES)


def begin(dispatch: Dispatch, part: Part, size_bytes: int, attempts: int = 10**6) -> Intake:
    policy = RetryPolicy(attempts=attempts, first_wait_s=0.0, longest_wait_s=0.0)
    file = RemoteFile(path="a", size_bytes=size_bytes, version="1")
    patience = Patience(policy, "a", ignore_progress, Event())
    return dispatch.add(file, part, patience, is_fixed=True)


class Transfers(RuleBasedStateMachine):
    """Connections that fetch, end early, are split, given up and sent from the start."""

    leases = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self._folder = TemporaryDirectory()
        self.counted = 0

    @initialize(size_bytes=SIZES, kept=st.sets(st.integers(0, 79)))
    def start(self, size_bytes: int, kept: set[int]) -> None:
        self.size_bytes = size_bytes
        path = Path(self._folder.name, "x.part")
        self.part = Part(path, None)
        for block in kept:
            if block < count_blocks(size_bytes):
                self.part.kept.note(block, bytes(32))
        self.dispatch = Dispatch(1000, 30.0)
        self.intake = begin(self.dispatch, self.part, size_bytes)

    def teardown(self) -> None:
        if hasattr(self, "dispatch"):
            self.finish_everything()
            self.part.close()
        self._folder.cleanup()

    @rule(target=leases, split=st.booleans(), most_blocks=st.integers(1, 40))
    def take(self, split: bool, most_blocks: int = 40) -> Lease | None:
        now_s, most_bytes = time.monotonic() + 1, most_blocks * BLOCK_BYTES
        lease = self.intake.split(now_s) if split else self.intake.lease(now_s, most_bytes)
        if lease is not None:
            assert split or self.intake.in_order or lease.left_bytes <= most_bytes
            self.dispatch.begin(
                lease, ByteStream(start_bytes=lease.position_bytes, chunks=iter(()))
            )
        return lease

    @rule(lease=leases, count_bytes=st.integers(1, 40 * BLOCK_BYTES))
    def receive(self, lease: Lease | None, count_bytes: int) -> None:
        if lease in self.intake.leases and not lease.is_given_up:
            self.move(lease, count_bytes)

    def move(self, lease: Lease, count_bytes: int) -> None:
        """As `receiving` does with what arrives, but for the bytes."""
        end_bytes = self.dispatch.admit(lease, count_bytes)
        until = min(lease.position_bytes + count_bytes, end_bytes)
        while lease.position_bytes < until:
            block = lease.position_bytes // BLOCK_BYTES
            is_begun = lease.position_bytes % BLOCK_BYTES > 0
            if lease.hasher is None and not is_begun and not self.dispatch.has_block(lease, block):
                lease.hasher = blake3()
            block_end = min((block + 1) * BLOCK_BYTES, end_bytes)
            if lease.hasher is not None:
                lease.hasher.update(b"%d-" % lease.position_bytes)
            lease.position_bytes = min(block_end, until)
            if lease.position_bytes == block_end and lease.hasher is not None:
                lease.hasher = None
                self.dispatch.note_block(lease, block)

    @rule(lease=consumes(leases))
    def end(self, lease: Lease | None) -> None:
        if lease not in self.intake.leases:
            return
        if lease.left_bytes:
            self.dispatch.fail(lease, TemporaryFetchError("cut"))
        else:
            self.dispatch.finish(lease)

    @rule(lease=leases)
    def give_up(self, lease: Lease | None) -> None:
        if lease in self.intake.leases:
            lease.is_given_up = True

    @rule(block=st.integers(0, 79))
    def find_damaged(self, block: int) -> None:
        if self.intake.part.kept.take(block) is not None:
            self.dispatch.want_again(self.intake, block)

    @precondition(lambda self: any(lease.position_bytes for lease in self.intake.leases))
    @rule()
    def answer_from_the_start(self) -> None:
        lease = next(x for x in self.intake.leases if x.position_bytes)
        for other in self.intake.put_in_order(lease):
            other.is_given_up = True

    @invariant()
    def every_byte_is_somewhere_once(self) -> None:
        if not hasattr(self, "intake") or self.intake.in_order:
            return
        held = [(s.start_bytes, s.end_bytes) for s in self.intake.wanted]
        held += [(x.position_bytes, x.end_bytes) for x in self.intake.leases]
        held = sorted(span for span in held if span[0] < span[1])
        for (_, end), (start, _) in itertools.pairwise(held):
            assert end <= start
        for block in range(count_blocks(self.size_bytes)):
            start, end = block * BLOCK_BYTES, min((block + 1) * BLOCK_BYTES, self.size_bytes)
            is_coming = any(a < end and start < b for a, b in held)
            assert is_coming is not (block in self.intake.present)

    @invariant()
    def what_is_told_is_never_more_than_the_file(self) -> None:
        if hasattr(self, "intake"):
            assert 0 <= self.intake.received_bytes <= self.size_bytes

    def finish_everything(self) -> None:
        """However it stands, it comes to an end."""
        for _ in range(10_000):
            for lease in tuple(self.intake.leases):
                if not lease.is_given_up:
                    self.move(lease, self.size_bytes)
                self.end(lease)
            if self.intake.is_whole:
                break
            self.take(split=False)
        assert self.intake.is_whole
        assert self.intake.received_bytes == self.size_bytes


Transfers.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
test_transfers = Transfers.TestCase


@given(wanted_bytes=st.integers(0, 10**12), connections=st.integers(1, 64))
def test_the_last_spans_are_short(wanted_bytes: int, connections: int) -> None:
    span_bytes = span_towards_end(wanted_bytes, connections)
    assert span_bytes % BLOCK_BYTES == 0
    assert LEAST_SPLIT_BYTES <= span_bytes <= SPAN_BYTES
    assert span_bytes in (LEAST_SPLIT_BYTES, SPAN_BYTES) or span_bytes * connections <= wanted_bytes


def test_connections_end_together(part: Part) -> None:
    """What the last sixteen leave between them is little, and the spans are not many more."""
    dispatch = Dispatch(16, 30.0)
    intake = begin(dispatch, part, 4096 * BLOCK_BYTES)
    now_s, lengths = time.monotonic(), []
    while intake.wanted:
        lease = intake.lease(now_s, span_towards_end(intake.wanted_bytes, 16))
        assert lease is not None
        lengths.append(lease.left_bytes // BLOCK_BYTES)
    assert sum(lengths) == 4096
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[0] == 128
    assert max(lengths[-16:]) == 16
    assert len(lengths) < 3 * 4096 // 128
    part.close()


@given(steps=st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=60))
def test_a_set_of_blocks_is_a_set(steps: list[tuple[bool, int]]) -> None:
    found, expected = BlockSet(), set[int]()
    for is_added, block in steps:
        (found.add if is_added else found.discard)(block)
        (expected.add if is_added else expected.discard)(block)
        assert len(found) == len(expected)
    for block in range(40):
        assert (block in found) is (block in expected)
        assert found.first_within(block) == min((b for b in expected if b >= block), default=None)
        assert found.first_without(block) == next(b for b in range(block, 99) if b not in expected)
    found.clear()
    assert len(found) == 0
    assert 0 not in found


@given(size_bytes=SIZES, present=st.sets(st.integers(0, 79)))
def test_what_is_missing_is_listed_once_and_in_order(size_bytes: int, present: set[int]) -> None:
    spans = list(list_missing(BlockSet(present), size_bytes))
    blocks: list[int] = []
    for before, after in itertools.pairwise(spans):
        assert before.end_bytes is not None
        assert before.end_bytes < after.start_bytes
    for span in spans:
        assert span.end_bytes is not None
        assert span.end_bytes > span.start_bytes
        assert span.start_bytes % BLOCK_BYTES == 0
        blocks += range(span.start_bytes // BLOCK_BYTES, count_blocks(span.end_bytes))
    assert blocks == [b for b in range(count_blocks(size_bytes)) if b not in present]


def test_places_beyond_four_gib_are_kept_apart(tmp_path: Path) -> None:
    """Sparse, so that it takes no room: blocks whose numbers and places need more than 32 bits."""
    size_bytes = 9 * 1024**3 + 5
    path = tmp_path / "huge.part"
    with path.open("wb") as stream:
        stream.truncate(size_bytes)
    descriptor = os.open(path, os.O_RDWR)
    os.close(descriptor)
    part = Part(path, None)
    (span,) = list_missing(BlockSet(range(32 * 1024)), size_bytes)
    assert span == Span(start_bytes=8 * 1024**3, end_bytes=size_bytes)
    part.write(8 * 1024**3 + 3, memoryview(b"here"))
    buffer = memoryview(bytearray(10))
    assert part.read_into(buffer, 8 * 1024**3) == 10
    assert bytes(buffer) == b"\0\0\0here\0\0\0"
    part.close()


@pytest.fixture
def part(tmp_path: Path) -> Part:
    return Part(tmp_path / "x.part", None)


def test_next_to_nothing_for_long_is_a_failure(part: Part) -> None:
    dispatch = Dispatch(4, 0.05)
    intake = begin(dispatch, part, 50 * BLOCK_BYTES, attempts=3)
    cancelled: list[int] = []
    for turn in range(3):
        lease = dispatch.take()
        assert lease is not None
        stream = ByteStream(
            start_bytes=lease.position_bytes, chunks=iter(()), cancel=lambda: cancelled.append(1)
        )
        dispatch.begin(lease, stream)
        dispatch.admit(lease, 1)
        lease.position_bytes += 1
        time.sleep(0.06)
        dispatch.end_trickle()
        assert lease.is_given_up
        assert len(cancelled) == turn + 1
        dispatch.fail(lease, TemporaryFetchError("cancelled"))
    assert "fewer than 100 bytes" in str(intake.error)
    part.close()


def test_a_connection_that_never_gets_an_answer_holds_nobody_up(part: Part) -> None:
    """Its span is given to others, and what it is told when the answer comes is to leave."""
    dispatch = Dispatch(4, 0.02)
    intake = begin(dispatch, part, BLOCK_BYTES)
    lease = dispatch.take()
    assert lease is not None
    time.sleep(0.03)
    dispatch.end_trickle()
    second = dispatch.take()
    assert second is not None
    assert (second.position_bytes, second.end_bytes) == (0, BLOCK_BYTES)
    with pytest.raises(Stopped):
        dispatch.begin(lease, ByteStream(start_bytes=0, chunks=iter(())))
    dispatch.fail(lease, Stopped())
    assert intake.leases == {second}
    assert not intake.wanted
    dispatch.note_block(second, 0)
    second.position_bytes = BLOCK_BYTES
    dispatch.finish(second)
    assert intake.is_whole
    part.close()


def test_the_silence_a_place_asks_for_holds_for_all_its_files(part: Part) -> None:
    dispatch = Dispatch(4, 30.0)
    first, second = (begin(dispatch, part, BLOCK_BYTES) for _ in range(2))
    leases = [dispatch.take(), dispatch.take()]
    assert None not in leases
    dispatch.fail(leases[0], TemporaryFetchError("lost"))
    dispatch.fail(leases[1], TemporaryFetchError("busy", retry_after_s=60.0))
    late = begin(dispatch, part, BLOCK_BYTES)
    for intake in (first, second, late):
        assert intake.not_before_s > time.monotonic() + 50
    part.close()
