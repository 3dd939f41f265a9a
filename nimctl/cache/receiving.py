"""One connection's work: takes a span, writes what comes, hashes and notes every block."""

from itertools import count
from threading import Event

from blake3 import blake3

from nimctl.cache.blocks import BLOCK_BYTES
from nimctl.cache.dispatch import Dispatch
from nimctl.cache.intake import Lease
from nimctl.cache.part import Part
from nimctl.cache.progress import FileAdvanced, OnProgress
from nimctl.core.source import Listing, Source, TemporaryFetchError

WATCH_EVERY_S = 0.1
TELL_EVERY_TURNS = 2
FLUSH_EVERY_S = 0.05
FLUSH_BYTES = 128 * BLOCK_BYTES
"""So much of a file is put on the disk at a time, while more arrives."""


def receive_spans(dispatch: Dispatch, source: Source, listing: Listing) -> None:
    """Fetch span after span until the fetch has ended; failures go to whoever wants the file."""
    while (lease := dispatch.take()) is not None:
        try:
            _receive(dispatch, lease, source, listing)
        except BaseException as error:  # noqa: BLE001 - raised again where the file is waited for
            dispatch.fail(lease, error)
        else:
            dispatch.finish(lease)


def watch_transfers(dispatch: Dispatch, stop: Event, on_progress: OnProgress) -> None:
    """Tell how far each file got, and replace connections that have become slow, until `stop`."""
    for turn in count(1):
        if stop.wait(WATCH_EVERY_S):
            return
        if turn % TELL_EVERY_TURNS == 0:
            for path, received_bytes in dispatch.list_received():
                on_progress(FileAdvanced(path=path, done_bytes=received_bytes))
        dispatch.observe_rate()
        dispatch.replace_slow()
        dispatch.end_trickle()


def flush_parts(dispatch: Dispatch, stop: Event) -> None:
    """Have the disk work while bytes arrive, instead of at the end of each file, until `stop`."""
    flushed: dict[Part, int] = {}
    while not stop.wait(FLUSH_EVERY_S):
        for part, received_bytes in dispatch.list_parts():
            if received_bytes - flushed.get(part, 0) >= FLUSH_BYTES:
                part.flush()
                flushed[part] = received_bytes


def _receive(dispatch: Dispatch, lease: Lease, source: Source, listing: Listing) -> None:
    """Write a span.

    Raises:
        TemporaryFetchError: it came with fewer bytes, or the file with more.
        Stopped: it is not needed any more.
    """
    file = lease.intake.file
    with source.open(listing, file, lease.position_bytes, lease.end_bytes) as stream:
        dispatch.begin(lease, stream)
        for chunk in stream.chunks:
            end_bytes = dispatch.admit(lease, len(chunk))
            rest = _write(dispatch, lease, memoryview(chunk), end_bytes)
            if rest and end_bytes == file.size_bytes:
                raise TemporaryFetchError(f"more than {end_bytes} bytes were sent")
            if lease.position_bytes == end_bytes != file.size_bytes:
                return  # another connection took the rest
            del chunk, rest  # so that the next one takes its place in memory
    if lease.end_bytes is None:
        _end_block(dispatch, lease)
    elif lease.left_bytes:
        raise TemporaryFetchError(
            f"the connection ended {lease.left_bytes} bytes before what was asked for"
        )


def _write(dispatch: Dispatch, lease: Lease, data: memoryview, end_bytes: int | None) -> memoryview:
    """Write bytes block by block; gives what lies beyond the span."""
    while data and lease.position_bytes != end_bytes:
        block = lease.position_bytes // BLOCK_BYTES
        until = (block + 1) * BLOCK_BYTES
        if end_bytes is not None:
            until = min(until, end_bytes)
        piece = data[: until - lease.position_bytes]
        is_block_begun = lease.position_bytes % BLOCK_BYTES > 0
        if lease.hasher is None and not is_block_begun and not dispatch.has_block(lease, block):
            lease.hasher = blake3()
        if lease.hasher is not None:
            lease.intake.part.write(lease.position_bytes, piece)
            lease.hasher.update(piece)
        lease.position_bytes += len(piece)
        data = data[len(piece) :]
        if lease.position_bytes == until:
            _end_block(dispatch, lease)
    return data


def _end_block(dispatch: Dispatch, lease: Lease) -> None:
    """Note the block that was just filled."""
    if lease.hasher is None:
        return
    block = (lease.position_bytes - 1) // BLOCK_BYTES
    lease.intake.part.record(block, lease.hasher.digest())
    lease.hasher = None
    dispatch.note_block(lease, block)
