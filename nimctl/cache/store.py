"""The cache: finds what is whole, brings what is missing, tells what it holds."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from nimctl.cache.deriving import derive_entry
from nimctl.cache.entry import CachedFile, CacheEntry, FetchPlan
from nimctl.cache.known import is_all_of
from nimctl.cache.layout import Layout, count_bytes, disk_failures_in_words, removal_in_words
from nimctl.cache.patience import RetryPolicy, list_patiently
from nimctl.cache.planning import plan_listed, plan_of_entry, plan_pinned
from nimctl.cache.progress import FileDone, Note, OnProgress, Progress, ignore_progress
from nimctl.cache.records import (
    find_entry,
    find_recorded,
    is_fixed,
    read_entries,
    record_path,
    touch_entry,
    write_entry,
)
from nimctl.cache.request import FetchRequest, choose_files
from nimctl.cache.snapshot import BlobRemovedError, make_snapshot
from nimctl.cache.stamps import stamp_blob
from nimctl.cache.verifying import check_entry, set_aside, take_back
from nimctl.core.source import Listing, Source, TemporaryFetchError
from nimctl.errors import DigestMismatchError, FetchError, UnreachableError

LEFTOVERS_KEPT_S = 7 * 24 * 3600.0
USUAL_PATIENCE = RetryPolicy()
_ROUNDS = 3


class Cache:
    """Weights on this disk, shared by processes and safe against being cut off at any time."""

    def __init__(self, root: Path, *, patience: RetryPolicy = USUAL_PATIENCE) -> None:
        """Look at the folder `root`; it is made when something is first written."""
        self._layout = Layout(root=root)
        self._patience = patience

    @property
    def layout(self) -> Layout:
        """Where everything lies."""
        return self._layout

    @property
    def root(self) -> Path:
        """The folder of the cache."""
        return self._layout.root

    @property
    def scratch_folder(self) -> Path:
        """Where sources may put temporary files, on the same disk."""
        return self._layout.scratch

    def room_bytes(self) -> int | None:
        """What a fetch may at most take: free disk, and what cut-off transfers hold of it.

        None on a file system that does not say how large it is.
        """
        with disk_failures_in_words(self.root):
            free_bytes = self._layout.known_free_bytes()
            held_bytes = count_bytes(self._layout.partial)
        return None if free_bytes is None else free_bytes + held_bytes

    def find(self, request: FetchRequest) -> CacheEntry | None:
        """The complete entry for `request`, without asking anybody; None where something is
        missing or cut.

        Its folder may be that of another entry, which holds all of its files and more.
        """
        with disk_failures_in_words(self.root):
            found = find_entry(self._layout, request)
            derived = None if found else derive_entry(self._layout, request)
            if derived is None or derived.donor is None:
                return found
            return replace(derived.entry, path=derived.donor.path)

    def expected_path(self, request: FetchRequest) -> Path:
        """The folder the files of `request` will be in, where its revision is a fixed one.

        A revision that moves stands in it as it was asked for; a fetch resolves it.
        """
        revision = request.uri.revision or "default"
        return self._layout.snapshot(request.uri, revision, request.selection)

    def fetch(
        self,
        request: FetchRequest,
        source: Source,
        on_progress: OnProgress = ignore_progress,
        *,
        offline: bool = False,
    ) -> CacheEntry:
        """The complete entry for `request`, brought from `source` as far as it is missing.

        What is here and cannot change at its source is returned without asking anybody. Every
        event reaches `on_progress` in the calling thread.

        Args:
            offline: Ask nobody; take what is here.

        Raises:
            FetchError: it cannot be had, or with `offline` it is not here.
            AccessDeniedError: the source wants a login, a token or an accepted licence.
            DigestMismatchError: the source has other bytes than the published ones.
            DiskFullError: there is no room.
            InterruptedByUserError: Ctrl-C; the message says what is kept.
        """
        self._derive(request)
        found = self.find(request) or self._take_back(request)
        if found is None and offline:
            raise self._not_here(request)
        listing = None
        if found is not None:
            if not (offline or is_fixed(request, found)):
                listing = self._list_again(request, source, found, on_progress)
            if listing is None or is_all_of(self._layout, request, listing, found):
                damaged = self._check(found, on_progress)
                if not damaged:
                    touch_entry(self._layout, found)
                    return found
                self._set_aside(found, damaged)
                if offline:
                    raise _damaged(found, damaged, "nothing can be fetched offline")
        with disk_failures_in_words(self.root):
            self._layout.create()
            with removal_in_words(self._layout):
                self._delete_leftovers()
                with self._hold(f"a fetch of {request.uri}"):
                    return self._bring(request, source, on_progress, listing)

    def _delete_leftovers(self) -> None:
        # Locks are imported where something is fetched: finding all here does not need them.
        from nimctl.cache.leftovers import delete_leftovers

        delete_leftovers(self._layout, LEFTOVERS_KEPT_S)

    def _derive(self, request: FetchRequest) -> None:
        """Declare an entry for `request` where others hold all of it, if that may be written."""
        if find_entry(self._layout, request) is None:
            derived = derive_entry(self._layout, request)
            if derived is not None:
                # A cache that may only be read is no harm: `find` names the donor.
                with suppress(OSError, BlobRemovedError), self._held(derived.entry):
                    make_snapshot(self._layout, derived.entry.path, derived.entry.files)
                    write_entry(self._layout, request, derived.entry)

    def _held(self, entry: CacheEntry) -> AbstractContextManager[None]:
        """Keep other processes from removing an entry that is being written."""
        folder = str(entry.path.relative_to(self.root))
        return self._hold(f"a fetch of {entry.uri}", (folder,), entry.files)

    def _hold(
        self, what: str, folders: tuple[str, ...] = (), files: Iterable[CachedFile] = ()
    ) -> AbstractContextManager[None]:
        # Leases, like compiled code, are imported by who needs them: finding all here does not.
        from nimctl.cache.leases import hold_lease

        blobs = tuple(file.sha256 for file in files)
        return hold_lease(self._layout, what, folders=folders, blobs=blobs)

    def _take_back(self, request: FetchRequest) -> CacheEntry | None:
        """The entry for `request`, where only blobs are gone of which the names are left."""
        with disk_failures_in_words(self.root):
            recorded = find_recorded(self._layout, request)
            if recorded is not None:
                take_back(self._layout, recorded)
            return self.find(request)

    def _list_again(
        self, request: FetchRequest, source: Source, found: CacheEntry, on_progress: OnProgress
    ) -> Listing | None:
        """What the source holds now; None where it cannot be asked, and `found` must do."""
        try:
            once = replace(self._patience, attempts=1)
            return list_patiently(source, request, on_progress, once)
        except TemporaryFetchError as error:
            on_progress(Note(text=f"{error.message}; using revision {found.revision}"))
            return None

    def _bring(
        self,
        request: FetchRequest,
        source: Source,
        on_progress: OnProgress,
        listing: Listing | None,
    ) -> CacheEntry:
        """Fetch until every file is right: a blob that was here may be damaged, or be removed
        by another process in the meantime.
        """
        # What brings files is imported where some are missing: often nothing is.
        from nimctl.cache.fetching import Fetch

        for _ in range(_ROUNDS):
            arrived: set[str] = set()

            def watch(event: Progress, arrived: set[str] = arrived) -> None:
                if isinstance(event, FileDone) and not event.was_cached:
                    arrived.add(event.path)
                on_progress(event)

            try:
                entry = Fetch(self._layout, self._patience, request, source, watch, listing).run()
            except BlobRemovedError as error:
                on_progress(Note(text=f"{error.message}; fetching it again"))
                continue
            for file in entry.files:
                if file.path in arrived:
                    stamp_blob(self._layout, file.sha256, entry.uri)
            damaged = self._check(entry, on_progress)
            if not damaged:
                touch_entry(self._layout, entry)
                return entry
            self._set_aside(entry, damaged)
            on_progress(Note(text=f"{_name(damaged)} changed on this disk; fetching it again"))
        raise FetchError(
            f"files of {request.uri} were removed or changed {_ROUNDS} times while they were "
            f"fetched into {self.root}",
            hint="find out which program changes them; `nimctl cache ls` shows who uses the cache",
        )

    def _check(self, entry: CacheEntry, on_progress: OnProgress) -> tuple[CachedFile, ...]:
        with disk_failures_in_words(self.root):
            return check_entry(self._layout, entry, on_progress)

    def _set_aside(self, entry: CacheEntry, damaged: tuple[CachedFile, ...]) -> None:
        try:
            set_aside(self._layout, entry, damaged)
        except OSError as error:
            raise _damaged(
                entry, damaged, f"the cache cannot be written: {error.strerror}"
            ) from error

    def plan_fetch(
        self, request: FetchRequest, source: Source, *, offline: bool = False
    ) -> FetchPlan:
        """What `fetch` would bring; the source is asked only where the request leaves it open.

        Raises:
            FetchError: as for `fetch`.
        """
        with disk_failures_in_words(self.root):
            found = find_entry(self._layout, request)
            if found is not None and (offline or is_fixed(request, found)):
                return plan_of_entry(self._layout, found)
            pinned = plan_pinned(self._layout, request)
            if pinned is not None:
                return pinned
            if offline:
                raise self._not_here(request)
            self._layout.create()
            listing = list_patiently(source, request, ignore_progress, self._patience)
            return plan_listed(self._layout, listing, choose_files(request, listing))

    def compiled_path(self, name: str) -> Path:
        """Where the folder for what an engine compiles is, or would be."""
        from nimctl.cache.compiled import compiled_path

        return compiled_path(self._layout, name)

    def open_compiled(self, name: str) -> Path | None:
        """The folder for what an engine of that version and GPU compiles; None where the cache
        cannot be written, or somebody else could put code there.
        """
        from nimctl.cache.compiled import open_compiled

        return open_compiled(self._layout, name)

    def entries(self) -> tuple[CacheEntry, ...]:
        """Every complete entry."""
        return tuple(read_entries(self._layout))

    @contextmanager
    def lease(self, path: Path, files: Iterable[CachedFile], what: str) -> Iterator[None]:
        """Keep the folder of an entry or a workspace from being removed while a `with` lasts.

        Args:
            path: The folder; one outside the cache needs no lease.
            files: What is in it.
            what: What this process does with it, for people.

        Raises:
            FetchError: it was removed just before.
        """
        if not path.is_relative_to(self.root):
            yield
            return
        folder, held = str(path.relative_to(self.root)), tuple(files)
        with self._hold(what, (folder,), held):
            if self._was_taken(path) or not all((path / file.path).exists() for file in held):
                raise FetchError(
                    f"{path} was removed from the cache meanwhile",
                    hint="run the same command again",
                )
            yield

    def _was_taken(self, folder: Path) -> bool:
        """Whether the folder of an entry has no record any more.

        Who removes takes the record first, and looks for leases then; who leases looks for the
        record last: one of the two sees the other.
        """
        snapshots = self._layout.snapshots
        if not folder.is_relative_to(snapshots):
            return False
        return not record_path(self._layout, str(folder.relative_to(snapshots))).exists()

    def _not_here(self, request: FetchRequest) -> FetchError:
        plan = plan_pinned(self._layout, request)
        missing = [
            file.path
            for file in (plan.files if plan else ())
            if file.size_bytes is None or file.kept_bytes < file.size_bytes
        ]
        what = f"{', '.join(missing)} of {request.uri}" if missing else f"{request.uri}"
        return UnreachableError(
            f"{what} is not in the cache {self.root}, and offline nobody may be asked",
            hint="run the same command once with a network, or copy a cache that holds it",
        )


def _name(files: tuple[CachedFile, ...]) -> str:
    return ", ".join(file.path for file in files)


def _damaged(entry: CacheEntry, files: tuple[CachedFile, ...], why: str) -> DigestMismatchError:
    return DigestMismatchError(
        f"{_name(files)} of {entry.uri} changed on this disk since it was verified, and {why}",
        hint="run `nimctl cache verify --repair` with a network, as a user who may write the cache",
    )
