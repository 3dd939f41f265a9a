"""The cache: finds what is whole, brings what is missing, tells what it holds."""

from pathlib import Path

from nimctl.cache.entry import CacheEntry, CacheUsage, FetchPlan
from nimctl.cache.fetching import Fetch, is_fixed, list_patiently
from nimctl.cache.layout import Layout, disk_failures_in_words
from nimctl.cache.part import delete_older
from nimctl.cache.patience import RetryPolicy
from nimctl.cache.planning import plan_listed, plan_of_entry, plan_pinned
from nimctl.cache.progress import OnProgress, ignore_progress
from nimctl.cache.records import find_entry, read_entries
from nimctl.cache.request import FetchRequest, choose_files
from nimctl.core.source import Source
from nimctl.errors import FetchError

LEFTOVERS_KEPT_S = 7 * 24 * 3600.0
USUAL_PATIENCE = RetryPolicy()


class Cache:
    """Weights on this disk, shared by processes and safe against being cut off at any time."""

    def __init__(self, root: Path, *, patience: RetryPolicy = USUAL_PATIENCE) -> None:
        """Look at the folder `root`; it is made when something is first written."""
        self._layout = Layout(root=root)
        self._patience = patience

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
            held_bytes = _bytes_below(self._layout.partial)
        return None if free_bytes is None else free_bytes + held_bytes

    def find(self, request: FetchRequest) -> CacheEntry | None:
        """The complete entry for `request`, without asking anybody; None where something is
        missing or cut."""
        with disk_failures_in_words(self.root):
            return find_entry(self._layout, request)

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
        found = self.find(request)
        if found is not None and (offline or is_fixed(request, found)):
            return found
        if offline:
            raise self._not_here(request)
        with disk_failures_in_words(self.root):
            self._layout.create()
            delete_older(self._layout, LEFTOVERS_KEPT_S)
            return Fetch(self._layout, self._patience, request, source, on_progress).run()

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

    def entries(self) -> tuple[CacheEntry, ...]:
        """Every complete entry."""
        return tuple(read_entries(self._layout))

    def usage(self) -> CacheUsage:
        """How much disk the cache takes, in bytes."""
        return CacheUsage(
            root=self.root,
            entries=self.entries(),
            blob_bytes=_bytes_below(self._layout.blobs),
            partial_bytes=_bytes_below(self._layout.partial)
            + _bytes_below(self._layout.quarantine),
            free_bytes=self._layout.free_bytes(),
        )

    def _not_here(self, request: FetchRequest) -> FetchError:
        plan = plan_pinned(self._layout, request)
        missing = [
            file.path
            for file in (plan.files if plan else ())
            if file.size_bytes is None or file.kept_bytes < file.size_bytes
        ]
        what = f"{', '.join(missing)} of {request.uri}" if missing else f"{request.uri}"
        return FetchError(
            f"{what} is not in the cache {self.root}, and offline nobody may be asked",
            hint="run the same command once with a network, or copy a cache that holds it",
        )


def _bytes_below(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())
