"""One fetch from beginning to end: list, choose, check room, bring files at once, publish."""

import os
from threading import Event, Semaphore

from nimctl.cache.dispatch import Dispatch
from nimctl.cache.entry import CachedFile, CacheEntry, FetchPlan
from nimctl.cache.layout import Layout
from nimctl.cache.locks import WorkLock
from nimctl.cache.others import request_lock
from nimctl.cache.patience import RetryPolicy, list_patiently
from nimctl.cache.planning import check_room, plan_listed, plan_pinned
from nimctl.cache.progress import (
    FetchAdvanced,
    FetchStarted,
    FileAdvanced,
    FileDone,
    FileStarted,
    Note,
    OnProgress,
    Progress,
)
from nimctl.cache.receiving import flush_parts, receive_spans, watch_transfers
from nimctl.cache.records import find_entry, is_fixed, write_entry
from nimctl.cache.request import FetchRequest, choose_files
from nimctl.cache.snapshot import make_snapshot
from nimctl.cache.transfer import Transfer
from nimctl.cache.workers import run_all
from nimctl.core.source import (
    Listing,
    RemoteFile,
    Source,
    SourceChangedError,
)
from nimctl.core.units import format_file_bytes
from nimctl.errors import InterruptedByUserError

FILES_AT_ONCE = 4


class Fetch:
    """Brings what one request asks for, from one source."""

    def __init__(
        self,
        layout: Layout,
        policy: RetryPolicy,
        request: FetchRequest,
        source: Source,
        on_progress: OnProgress,
        listing: Listing | None = None,
    ) -> None:
        """Fetch from `source`, which is not asked again for a `listing` that it gave just now."""
        self._layout = layout
        self._policy = policy
        self._request = request
        self._source = source
        self._totals = _Totals(on_progress)
        self._listing = listing
        self._chosen: tuple[Listing, tuple[RemoteFile, ...]] | None = None

    def run(self) -> CacheEntry:
        """The complete entry, on disk.

        Raises:
            FetchError: and its kinds; what arrived is kept for the next time.
            InterruptedByUserError: Ctrl-C; the message says what is kept.
        """
        lock_path = request_lock(self._layout, self._request)
        what = str(self._request.uri)
        try:
            with WorkLock(lock_path, what, self._totals, Event()):
                try:
                    return self._find_or_bring()
                except SourceChangedError as error:
                    self._totals(Note(text=f"{error.message}; starting again"))
                    return self._find_or_bring()
        except KeyboardInterrupt:
            raise InterruptedByUserError(self._what_is_kept()) from None

    def _find_or_bring(self) -> CacheEntry:
        found = find_entry(self._layout, self._request)
        if found is not None and is_fixed(self._request, found):
            return found
        pinned = plan_pinned(self._layout, self._request)
        if pinned is not None:
            check_room(self._layout, pinned)
        listing, self._listing = self._listing, None
        if listing is None:
            listing = list_patiently(self._source, self._request, self._totals, self._policy)
        return self._bring(listing, choose_files(self._request, listing))

    def _bring(self, listing: Listing, files: tuple[RemoteFile, ...]) -> CacheEntry:
        self._chosen = listing, files
        plan = plan_listed(self._layout, listing, files)
        check_room(self._layout, plan)
        self._totals.start(plan)
        cached = self._transfer(listing, files)
        entry = CacheEntry(
            uri=self._request.uri,
            revision=listing.revision,
            path=self._layout.snapshot(
                self._request.uri, listing.revision, self._request.selection
            ),
            files=cached,
        )
        make_snapshot(self._layout, entry.path, entry.files)
        write_entry(self._layout, self._request, entry)
        return entry

    def _transfer(self, listing: Listing, files: tuple[RemoteFile, ...]) -> tuple[CachedFile, ...]:
        """Bring every file: some threads hash one each, others are connections for all of them."""
        stop = Event()
        dispatch = Dispatch(self._source.connections, self._policy.trickle_s)
        turns = Semaphore(len(os.sched_getaffinity(0)))
        transfers = [
            Transfer(
                layout=self._layout,
                dispatch=dispatch,
                turns=turns,
                listing=listing,
                file=file,
                policy=self._policy,
                stop=stop,
            )
            for file in files
        ]

        def connect(on_progress: OnProgress) -> None:
            receive_spans(dispatch, self._source, listing)

        def watch(on_progress: OnProgress) -> None:
            watch_transfers(dispatch, stop, on_progress)

        def flush(on_progress: OnProgress) -> None:
            flush_parts(dispatch, stop)

        def end() -> None:
            stop.set()
            dispatch.stop()

        return run_all(
            [transfer.run for transfer in transfers],
            threads=FILES_AT_ONCE,
            assistants=[connect] * self._source.connections + [watch, flush],
            on_end=end,
            on_progress=self._totals,
        )

    def _what_is_kept(self) -> str:
        if self._chosen is None:
            return f"stopped before anything of {self._request.uri} was fetched"
        plan = plan_listed(self._layout, *self._chosen)
        return (
            f"stopped; {format_file_bytes(plan.kept_bytes)} of "
            f"{format_file_bytes(plan.total_bytes)} of {self._request.uri} are kept in "
            f"{self._layout.root}, and the same command continues from there"
        )


class _Totals:
    """Passes events on and adds those about all files together."""

    def __init__(self, on_progress: OnProgress) -> None:
        self._on_progress = on_progress
        self._total_bytes = 0
        self._done: dict[str, int] = {}

    def start(self, plan: FetchPlan) -> None:
        self._total_bytes = plan.total_bytes
        self._done = {file.path: file.kept_bytes for file in plan.files}
        self._on_progress(
            FetchStarted(
                files=len(plan.files), total_bytes=plan.total_bytes, done_bytes=plan.kept_bytes
            )
        )

    def __call__(self, event: Progress) -> None:
        if isinstance(event, FileAdvanced) and event.done_bytes <= self._done.get(event.path, 0):
            return  # nothing new; or kept blocks proved wrong, and the counter waits for as much
        self._on_progress(event)
        match event:
            case FileStarted(path=path, done_bytes=done_bytes):
                self._reach(path, done_bytes)
            case FileAdvanced(path=path, done_bytes=done_bytes):
                self._reach(path, done_bytes)
            case FileDone(path=path, size_bytes=size_bytes):
                self._reach(path, size_bytes)

    def _reach(self, path: str, done_bytes: int) -> None:
        if done_bytes > self._done.get(path, 0):
            self._done[path] = done_bytes
            all_bytes = sum(self._done.values())
            self._on_progress(
                FetchAdvanced(done_bytes=all_bytes, total_bytes=max(all_bytes, self._total_bytes))
            )
