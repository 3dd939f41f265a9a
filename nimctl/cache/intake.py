"""The bytes of one file as they arrive: which blocks are here, which spans are wanted or fetched.

Nothing in here locks; `Dispatch` guards it.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from threading import Condition
from typing import TYPE_CHECKING

from nimctl.cache.blocks import (
    BLOCK_BYTES,
    BlockSet,
    Span,
    count_blocks,
    list_missing,
    span_of_block,
)
from nimctl.cache.part import Part
from nimctl.cache.patience import Patience
from nimctl.core.source import RemoteFile

if TYPE_CHECKING:
    from blake3 import blake3

SPAN_BYTES = 128 * BLOCK_BYTES
"""What one request asks for: enough to make its cost vanish, little enough to share out."""

LEAST_SPLIT_BYTES = 16 * BLOCK_BYTES
"""A span with less left is not worth a request more."""


def span_towards_end(wanted_bytes: int, connections: int) -> int:
    """How much one connection should ask for while so many bytes are wanted of all files.

    Towards the end it is little, so that all connections end together and hashing, which goes in
    order, is not far behind (guided self-scheduling: Polychronopoulos and Kuck, 1987).
    """
    share_bytes = wanted_bytes // connections // BLOCK_BYTES * BLOCK_BYTES
    return min(max(share_bytes, LEAST_SPLIT_BYTES), SPAN_BYTES)


@dataclass(eq=False, kw_only=True, slots=True)
class Lease:
    """A span that one connection fetches.

    Attributes:
        position_bytes: Up to where it has written.
        end_bytes: Where it ends now, for another connection may have taken its tail; None where
            the size of the file is not known.
        hasher: Of the block it is in, as far as that arrived.
        cancel: Wakes the connection from a read that waits.
        is_given_up: Its end is no failure: it was too slow, or is not needed any more.
    """

    intake: "Intake"
    position_bytes: int
    end_bytes: int | None
    begun_s: float
    begun_bytes: int
    hasher: "blake3 | None" = None
    cancel: Callable[[], None] | None = None
    is_given_up: bool = False

    @property
    def left_bytes(self) -> int:
        """Bytes still to come; unknown ones count none."""
        return 0 if self.end_bytes is None else self.end_bytes - self.position_bytes


@dataclass(eq=False, kw_only=True, slots=True)
class Intake:
    """One file on its way.

    Attributes:
        is_fixed: Something identifies these very bytes, so that two streams bring the same. Of
            other files one stream must bring all, and another one begins anew.
        block_arrived: Tells whoever hashes the file, also of its failure.
        present: Blocks that are on disk; those in `part.kept` are still to be verified.
        wanted: Spans that nobody fetches.
        unfinished: Hashers of blocks that a connection left half-way, by the place to go on from.
        in_order: The source sends the file only from its start to its end.
        ended_bytes: The size a stream came to, where none was listed.
        is_end_sure: The last stream told its end from a connection that was cut off.
        not_before_s: After a failure it is left alone until then.
    """

    file: RemoteFile
    part: Part
    patience: Patience
    is_fixed: bool
    block_arrived: Condition
    present: BlockSet = field(init=False)
    wanted: deque[Span] = field(default_factory=deque)
    leases: set[Lease] = field(default_factory=set)
    unfinished: dict[int, "blake3"] = field(default_factory=dict)
    in_order: bool = False
    ended_bytes: int | None = None
    is_end_sure: bool = True
    error: BaseException | None = None
    not_before_s: float = 0.0
    counted_bytes: int = 0

    def __post_init__(self) -> None:
        self.present = BlockSet(self.part.kept)
        self.in_order = not self.is_fixed
        if not self.is_whole:
            self.want_missing()

    @property
    def size_bytes(self) -> int | None:
        """The size that was listed, else that a stream came to."""
        return self.ended_bytes if self.file.size_bytes is None else self.file.size_bytes

    @property
    def received_bytes(self) -> int:
        """What is here of the file."""
        blocks = len(self.present) * BLOCK_BYTES
        if self.size_bytes and count_blocks(self.size_bytes) - 1 in self.present:
            blocks -= -self.size_bytes % BLOCK_BYTES
        begun = sum(lease.position_bytes % BLOCK_BYTES for lease in self.leases)
        held = blocks + begun + sum(place % BLOCK_BYTES for place in self.unfinished)
        return held if self.size_bytes is None else min(held, self.size_bytes)

    def want_missing(self) -> None:
        """Want everything that is neither here nor fetched."""
        size_bytes = self.file.size_bytes
        if not self.is_fixed:
            self.present.clear()
        if self.in_order or size_bytes is None:
            self.wanted = deque([Span(start_bytes=0, end_bytes=size_bytes)])
        else:
            self.wanted = deque(list_missing(self.present, size_bytes))

    def want_again(self, block: int) -> None:
        """A block on disk is not what it was noted to be."""
        self.present.discard(block)
        if not self.in_order:
            self.wanted.appendleft(span_of_block(block, self.size_bytes or 0))
        elif not self.leases:
            self.want_missing()

    @property
    def wanted_bytes(self) -> int:
        """Bytes that nobody fetches; unknown ones count none."""
        return sum((span.end_bytes or span.start_bytes) - span.start_bytes for span in self.wanted)

    def lease(self, now_s: float, most_bytes: int) -> Lease | None:
        """The next span, if any may be fetched now.

        Args:
            most_bytes: A multiple of `BLOCK_BYTES`; what a span has beyond stays wanted.
        """
        if not self.wanted or now_s < self.not_before_s or self.error is not None:
            return None
        span = self.wanted.popleft()
        end_bytes = span.end_bytes
        cut_bytes = span.start_bytes - span.start_bytes % BLOCK_BYTES + most_bytes
        if end_bytes is not None and end_bytes > cut_bytes and not self.in_order:
            self.wanted.appendleft(Span(start_bytes=cut_bytes, end_bytes=end_bytes))
            end_bytes = cut_bytes
        return self._hold(span.start_bytes, end_bytes, now_s)

    def split(self, now_s: float) -> Lease | None:
        """The second half of the span with most left, so that two connections share it."""
        largest = max(self.leases, key=lambda lease: lease.left_bytes, default=None)
        if largest is None or self.in_order or largest.left_bytes < LEAST_SPLIT_BYTES:
            return None
        end_bytes = largest.end_bytes
        middle = largest.position_bytes + largest.left_bytes // 2
        largest.end_bytes = count_blocks(middle) * BLOCK_BYTES
        return self._hold(largest.end_bytes, end_bytes, now_s)

    def _hold(self, start_bytes: int, end_bytes: int | None, now_s: float) -> Lease:
        lease = Lease(
            intake=self,
            position_bytes=start_bytes,
            end_bytes=end_bytes,
            begun_s=now_s,
            begun_bytes=start_bytes,
            hasher=self.unfinished.pop(start_bytes, None),
        )
        self.leases.add(lease)
        return lease

    def give_back(self, lease: Lease) -> None:
        """A connection ended: what its span still lacks is wanted again, first of all.

        One that was given up may come twice: when that was decided, and when it noticed.
        """
        if lease not in self.leases:
            return
        self.leases.remove(lease)
        if self.in_order or lease.end_bytes is None:
            if not self.leases and not self.is_whole:
                self.want_missing()
        elif lease.left_bytes:
            self.wanted.appendleft(
                Span(start_bytes=lease.position_bytes, end_bytes=lease.end_bytes)
            )
            if lease.hasher is not None:
                self.unfinished[lease.position_bytes] = lease.hasher

    @property
    def is_whole(self) -> bool:
        """Whether every block is here."""
        size_bytes = self.size_bytes
        return size_bytes is not None and len(self.present) >= count_blocks(size_bytes)

    def put_in_order(self, lease: Lease) -> Iterable[Lease]:
        """The source sends the file from its start whatever is asked: one connection takes all.

        Returns:
            The other connections, which are of no use any more.
        """
        self.in_order = True
        self.wanted.clear()
        self.unfinished.clear()
        lease.position_bytes = lease.begun_bytes = 0
        lease.end_bytes = self.file.size_bytes
        lease.hasher = None
        return tuple(other for other in self.leases if other is not lease)
