"""What a cache holds as a whole: listed, kept, verified, repaired, removed."""

from collections.abc import Collection

from nimctl.cache.auditing import Fault, Verification, request_again, verify
from nimctl.cache.compiled import CompiledCode, list_compiled
from nimctl.cache.entry import CacheUsage
from nimctl.cache.inventory import HeldEntry, HeldPart, list_held, list_parts
from nimctl.cache.layout import count_bytes, disk_failures_in_words
from nimctl.cache.leases import Lease
from nimctl.cache.pins import Pin, delete_pin, write_pin
from nimctl.cache.progress import OnProgress, ignore_progress
from nimctl.cache.pruning import PruneRequest, Pruning, plan_pruning, prune
from nimctl.cache.records import Record, key_of
from nimctl.cache.removal import Removal, plan_removal, remove_entries
from nimctl.cache.snapshot import make_snapshot
from nimctl.cache.store import Cache
from nimctl.cache.verifying import LOST, Condition, set_aside
from nimctl.core.source import Source

__all__ = [
    "CompiledCode",
    "Condition",
    "Fault",
    "HeldEntry",
    "HeldPart",
    "Lease",
    "Pin",
    "PruneRequest",
    "Pruning",
    "Record",
    "Removal",
    "Upkeep",
    "Verification",
]


class Upkeep:
    """What is done to a cache as a whole, by hand and now and then."""

    def __init__(self, cache: Cache) -> None:
        """Look after `cache`."""
        self._cache = cache
        self._layout = cache.layout

    def usage(self) -> CacheUsage:
        """How much disk the cache takes, in bytes."""
        layout = self._layout
        return CacheUsage(
            root=self._layout.root,
            entries=self._cache.entries(),
            blob_bytes=count_bytes(layout.blobs),
            partial_bytes=layout.unfinished_bytes(),
            workspace_bytes=count_bytes(layout.workspaces),
            trash_bytes=count_bytes(layout.trash),
            free_bytes=layout.free_bytes(),
        )

    def list_compiled(self) -> tuple[CompiledCode, ...]:
        """What engines have compiled for this user, the largest first."""
        with disk_failures_in_words(self._layout.root):
            return list_compiled(self._layout)

    def list_held(self) -> tuple[HeldEntry, ...]:
        """Every entry, complete or not, with what speaks for keeping it."""
        with disk_failures_in_words(self._layout.root):
            return list_held(self._layout)

    def list_parts(self) -> tuple[HeldPart, ...]:
        """Every file that is not whole yet."""
        with disk_failures_in_words(self._layout.root):
            return list_parts(self._layout)

    def pin(self, key: str) -> None:
        """Keep an entry from being removed until it is unpinned.

        Raises:
            FetchError: the cache may not be written.
        """
        with disk_failures_in_words(self._layout.root):
            write_pin(self._layout, key)

    def unpin(self, key: str) -> None:
        """Let an entry be removed again.

        Raises:
            FetchError: the cache may not be written.
        """
        with disk_failures_in_words(self._layout.root):
            delete_pin(self._layout, key)

    def plan_removal(self, keys: Collection[str]) -> Removal:
        """What goes when entries are removed."""
        with disk_failures_in_words(self._layout.root):
            return plan_removal(self._layout, keys)

    def remove(self, keys: Collection[str]) -> Removal:
        """Remove entries and what only they held; one that a process has just opened stays.

        Whether they are pinned is not asked.

        Raises:
            FetchError: the cache may not be written, or a record cannot be read.
        """
        with disk_failures_in_words(self._layout.root):
            return remove_entries(self._layout, keys)

    def plan_pruning(self, request: PruneRequest) -> Pruning:
        """What goes to make room."""
        with disk_failures_in_words(self._layout.root):
            return plan_pruning(self._layout, request)

    def prune(self, request: PruneRequest) -> Pruning:
        """Make room; what is pinned or in use stays.

        Raises:
            FetchError: the cache may not be written, or a record cannot be read.
        """
        with disk_failures_in_words(self._layout.root):
            return prune(self._layout, request)

    def verify(
        self,
        keys: Collection[str] | None = None,
        on_progress: OnProgress = ignore_progress,
        *,
        deep: bool = False,
    ) -> Verification:
        """Look at every file of some entries, or of the whole cache; nobody is asked.

        Args:
            keys: The entries; None is everything, files without an entry too.
            deep: Hash every file, whatever its stamp says.

        Raises:
            InterruptedByUserError: Ctrl-C.
        """
        with disk_failures_in_words(self._layout.root):
            return verify(self._layout, keys, on_progress, deep=deep)

    def repair(
        self,
        faults: Collection[Fault],
        source: Source,
        on_progress: OnProgress = ignore_progress,
        *,
        offline: bool = False,
    ) -> None:
        """Mend one entry: bring its damaged files again, and put names right.

        Args:
            faults: What `verify` found, of one entry.
            source: Where it came from.

        Raises:
            FetchError: and its kinds, as for `fetch`.
        """
        record = next(fault.record for fault in faults)
        if record is None:
            raise ValueError("a blob without an entry has no source")
        lost = [one.file for one in faults if one.condition in LOST]
        with disk_failures_in_words(self._layout.root):
            set_aside(self._layout, record.entry, lost)
            helper = None
            if lost:
                request = request_again(record.entry, lost)
                helper = self._cache.fetch(request, source, on_progress, offline=offline)
            make_snapshot(self._layout, record.entry.path, record.entry.files)
            if helper is not None and helper.path != record.entry.path:
                remove_entries(self._layout, {key_of(self._layout, helper)})
