"""Hands the spans of the files on their way to the connections of one fetch.

Files are finished one after the other, so that hashing keeps up with what arrives, and a killed
fetch has little to read again. Every method may be called from any thread.
"""

import statistics
import time
from collections.abc import Iterable
from threading import Condition, Lock

from nimctl.cache.blocks import count_blocks
from nimctl.cache.intake import Intake, Lease, span_towards_end
from nimctl.cache.part import Part
from nimctl.cache.patience import Patience, Stopped
from nimctl.cache.ramp import Ramp
from nimctl.core.source import ByteStream, RemoteFile, TemporaryFetchError
from nimctl.errors import FetchError

SLOW_AFTER_S = 5.0
SLOW_SHARE = 0.1
"""A connection that brought under this share of the usual rate for so long is replaced."""

LEAST_BYTES_S = 100
"""What all connections together must bring; a modem of the nineties had 3600."""


class Dispatch:
    """The work of one fetch."""

    def __init__(self, connections: int, trickle_s: float) -> None:
        """At most `connections` spans are fetched at a time; next to nothing for `trickle_s`
        seconds is a failure.
        """
        self._ramp = Ramp(connections)
        self._arrived_bytes = 0
        self._observed_s = time.monotonic()
        self._lock = Lock()
        self._work = Condition(self._lock)
        self._intakes: list[Intake] = []
        self._usual_rate: float | None = None
        self._silent_until_s = 0.0
        self._trickle_s = trickle_s
        self._trickled_bytes = 0
        self._trickles_since_s = time.monotonic()
        self._stopped = False

    def add(self, file: RemoteFile, part: Part, patience: Patience, *, is_fixed: bool) -> Intake:
        """Begin to bring what `part` lacks of `file`."""
        with self._lock:
            intake = Intake(
                file=file,
                part=part,
                patience=patience,
                is_fixed=is_fixed,
                block_arrived=Condition(self._lock),
                not_before_s=self._silent_until_s,
            )
            self._intakes.append(intake)
            self._work.notify_all()
        return intake

    def remove(self, intake: Intake) -> None:
        """Forget a file; when this returns no connection will write it any more."""
        with self._lock:
            self._intakes.remove(intake)
            _give_up(intake.leases)
            while any(lease.cancel is not None for lease in intake.leases):
                intake.block_arrived.wait()

    def stop(self) -> None:
        """End everything; who waits is woken."""
        with self._lock:
            self._stopped = True
            for intake in self._intakes:
                _give_up(intake.leases)
                intake.block_arrived.notify_all()
            self._work.notify_all()

    def wait_for_blocks(self, intake: Intake, block: int, most: int) -> int:
        """How many blocks from `block` on are on disk, as soon as one is; at most `most`, and 0
        where the file turned out to end before it.

        Raises:
            FetchError: it will not come.
            Stopped: the fetch was given up.
        """
        with self._lock:
            while block not in intake.present or not (intake.is_fixed or intake.is_whole):
                if self._stopped:
                    raise Stopped
                if intake.error is not None:
                    raise intake.error
                if intake.is_whole and block >= count_blocks(intake.size_bytes or 0):
                    return 0
                intake.block_arrived.wait()
            return min(intake.present.first_without(block) - block, most)

    def want_again(self, intake: Intake, block: int) -> None:
        """The block on disk is not what it was noted to be: it is fetched again."""
        with self._lock:
            intake.want_again(block)
            self._work.notify_all()

    def take(self) -> Lease | None:
        """The next span to fetch, as soon as there is one; None when the fetch has ended."""
        with self._lock:
            while not self._stopped:
                now_s = time.monotonic()
                lease = self._choose(now_s)
                if lease is not None:
                    return lease
                waits = [i.not_before_s - now_s for i in self._intakes if i.not_before_s > now_s]
                self._work.wait(min(waits, default=None))
        return None

    def _choose(self, now_s: float) -> Lease | None:
        if sum(len(intake.leases) for intake in self._intakes) >= self._ramp.limit:
            return None
        wanted_bytes = sum(intake.wanted_bytes for intake in self._intakes)
        most_bytes = span_towards_end(wanted_bytes, self._ramp.limit)
        leases = (intake.lease(now_s, most_bytes) for intake in self._intakes)
        halves = (intake.split(now_s) for intake in self._intakes)
        return next((one for source in (leases, halves) for one in source if one), None)

    def begin(self, lease: Lease, stream: ByteStream) -> None:
        """A connection is open; gives back when no other one writes the same bytes.

        Raises:
            FetchError: it sends other bytes than were asked for.
            Stopped: they are not needed any more.
        """
        with self._lock:
            lease.cancel = stream.cancel
            lease.begun_s = time.monotonic()
            self._check_needed(lease)
            lease.intake.is_end_sure = stream.is_end_sure
            if stream.start_bytes == lease.position_bytes:
                return
            if stream.start_bytes != 0:
                path = lease.intake.file.path
                raise FetchError(f"{path} came from another offset than was asked")
            others = lease.intake.put_in_order(lease)
            _give_up(others)
            while any(other.cancel is not None for other in others):
                lease.intake.block_arrived.wait()
            self._check_needed(lease)

    def admit(self, lease: Lease, count_bytes: int) -> int | None:
        """Bytes of the span arrived; gives where it ends now.

        Raises:
            Stopped: it is not needed any more.
        """
        with self._lock:
            self._check_needed(lease)
            self._arrived_bytes += count_bytes
            self._trickled_bytes += count_bytes
            return lease.end_bytes

    def _check_needed(self, lease: Lease) -> None:
        if self._stopped or lease.is_given_up or lease.intake.error is not None:
            raise Stopped

    def has_block(self, lease: Lease, block: int) -> bool:
        """Whether a block need not be written, for it is on disk.

        It is asked where the block begins; what was decided there holds to the block's end.
        """
        with self._lock:
            return block in lease.intake.present

    def note_block(self, lease: Lease, block: int) -> None:
        """A block is on disk."""
        with self._lock:
            lease.intake.present.add(block)
            lease.intake.block_arrived.notify_all()

    def finish(self, lease: Lease) -> None:
        """A connection brought its span to the end."""
        with self._lock:
            intake = lease.intake
            if lease.end_bytes is None:
                intake.ended_bytes = lease.position_bytes
            self._release(lease)

    def fail(self, lease: Lease, error: BaseException) -> None:
        """A connection ended before its span; what is missing is fetched again, if it may be."""
        with self._lock:
            intake = lease.intake
            self._release(lease)
            if lease.is_given_up or self._stopped:
                return
            if isinstance(error, TemporaryFetchError):
                self._ramp.back_off(alone=bool(error.retry_after_s))
                self._put_off(intake, error, is_trickle=False)
                if intake.error is None:
                    self._leave_alone(error.retry_after_s or 0.0)
            else:
                intake.error = intake.error or error

    def _put_off(self, intake: Intake, error: TemporaryFetchError, *, is_trickle: bool) -> None:
        """Leave a file alone for a while; connections that fail meanwhile count as one."""
        now_s = time.monotonic()
        if now_s < intake.not_before_s and intake.patience.bears(error):
            return
        received_bytes = intake.received_bytes
        progressed = received_bytes > intake.counted_bytes and not is_trickle
        intake.counted_bytes = received_bytes
        try:
            intake.not_before_s = now_s + intake.patience.count(error, progressed=progressed)
        except TemporaryFetchError:
            intake.error = intake.error or error

    def _leave_alone(self, wait_s: float) -> None:
        """The place asked for silence: that is meant for all of its files."""
        until_s = time.monotonic() + wait_s
        for intake in self._intakes:
            intake.not_before_s = max(intake.not_before_s, until_s)
        self._silent_until_s = max(self._silent_until_s, until_s)

    def _release(self, lease: Lease) -> None:
        lease.cancel = None
        lease.intake.give_back(lease)
        lease.intake.block_arrived.notify_all()
        self._work.notify_all()

    def list_parts(self) -> tuple[tuple[Part, int], ...]:
        """The part and the bytes here of every file on its way."""
        with self._lock:
            return tuple((intake.part, intake.received_bytes) for intake in self._intakes)

    def list_received(self) -> tuple[tuple[str, int], ...]:
        """Path and bytes here of every file on its way."""
        with self._lock:
            return tuple((intake.file.path, intake.received_bytes) for intake in self._intakes)

    def observe_rate(self) -> None:
        """Let the number of connections follow what they bring, while all of them are at work."""
        with self._lock:
            leases = [lease for intake in self._intakes for lease in intake.leases]
            now_s = time.monotonic()
            rate_bytes_s = self._arrived_bytes / max(now_s - self._observed_s, 1e-3)
            self._arrived_bytes, self._observed_s = 0, now_s
            moving = sum(lease.position_bytes > lease.begun_bytes for lease in leases)
            if moving >= self._ramp.limit:
                self._ramp.observe(rate_bytes_s, now_s)
                self._work.notify_all()

    def replace_slow(self) -> None:
        """Wake connections that are far slower than usual, so that others fetch their bytes."""
        with self._lock:
            now_s = time.monotonic()
            seen = {
                lease: (lease.position_bytes - lease.begun_bytes) / (now_s - lease.begun_s)
                for intake in self._intakes
                for lease in intake.leases
                if lease.cancel is not None and not intake.in_order
                if now_s - lease.begun_s >= SLOW_AFTER_S
            }
            if len(seen) > 2:
                self._usual_rate = statistics.median(seen.values())
            least_rate = SLOW_SHARE * (self._usual_rate or 0.0)
            _give_up(lease for lease, rate in seen.items() if rate < least_rate)
            for lease in seen:
                lease.begun_s, lease.begun_bytes = now_s, lease.position_bytes

    def end_trickle(self) -> None:
        """Where next to nothing arrives, begin anew and count it as a failure.

        A connection that sends a byte now and then is never silent for long, nor slower than
        usual where all of them do so.
        """
        with self._lock:
            now_s = time.monotonic()
            waiting = [intake for intake in self._intakes if intake.leases]
            is_enough = self._trickled_bytes >= self._trickle_s * LEAST_BYTES_S
            if waiting and not is_enough and now_s - self._trickles_since_s < self._trickle_s:
                return
            self._trickled_bytes, self._trickles_since_s = 0, now_s
            for intake in () if is_enough else waiting:
                self._abandon(intake)

    def _abandon(self, intake: Intake) -> None:
        leases = tuple(intake.leases)
        _give_up(leases)
        for lease in leases:
            if lease.cancel is None:  # still asking, and told as soon as there is an answer
                self._release(lease)
        words = f"fewer than {LEAST_BYTES_S} bytes a second arrive"
        self._put_off(intake, TemporaryFetchError(words), is_trickle=True)


def _give_up(leases: Iterable[Lease]) -> None:
    for lease in leases:
        lease.is_given_up = True
        if lease.cancel is not None:
            lease.cancel()
