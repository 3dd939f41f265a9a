"""What a fetch would bring, what of it is on this disk already, and whether it has room."""

from collections.abc import Iterable

from nimctl.cache.abandoned import count_kept_blocks, count_room, find_parts
from nimctl.cache.blocks import BLOCK_BYTES
from nimctl.cache.entry import CacheEntry, FetchPlan, PlannedFile
from nimctl.cache.known import content_key, find_blob
from nimctl.cache.layout import Layout
from nimctl.cache.request import FetchRequest
from nimctl.core.source import Listing, RemoteFile
from nimctl.core.units import format_file_bytes
from nimctl.errors import DiskFullError


def plan_listed(layout: Layout, listing: Listing, files: Iterable[RemoteFile]) -> FetchPlan:
    """The plan for chosen files of a listing."""
    return FetchPlan(
        uri=listing.uri,
        revision=listing.revision,
        files=tuple(_plan_file(layout, listing, file) for file in files),
        free_bytes=layout.free_bytes(),
    )


def plan_pinned(layout: Layout, request: FetchRequest) -> FetchPlan | None:
    """The plan where the pins alone tell the files, so that nobody has to be asked; or None."""
    files = request.pinned_only
    if files is None:
        return None
    listing = Listing(uri=request.uri, revision="", files=files)
    return FetchPlan(
        uri=request.uri,
        revision=request.uri.revision,
        files=tuple(_plan_file(layout, listing, file) for file in files),
        free_bytes=layout.free_bytes(),
    )


def plan_of_entry(layout: Layout, entry: CacheEntry) -> FetchPlan:
    """The plan where everything is here: nothing to bring."""
    return FetchPlan(
        uri=entry.uri,
        revision=entry.revision,
        files=tuple(
            PlannedFile(
                path=file.path,
                size_bytes=file.size_bytes,
                kept_bytes=file.size_bytes,
                room_bytes=file.size_bytes,
            )
            for file in entry.files
        ),
        free_bytes=layout.free_bytes(),
    )


def check_room(layout: Layout, plan: FetchPlan) -> None:
    """Refuse a fetch that cannot end well.

    Raises:
        DiskFullError: less is free than is still to bring.
    """
    says_size = layout.known_free_bytes() is not None
    if says_size and plan.lacking_bytes > plan.free_bytes:
        raise DiskFullError(
            f"{plan.uri} needs {format_file_bytes(plan.lacking_bytes)} more, but the disk of "
            f"{layout.root} has {format_file_bytes(plan.free_bytes)} free",
            hint="free some space there, or choose a cache folder on a larger disk",
        )


def _plan_file(layout: Layout, listing: Listing, file: RemoteFile) -> PlannedFile:
    blob = find_blob(layout, listing, file)
    if blob is not None:
        return PlannedFile(
            path=file.path,
            size_bytes=blob.size_bytes,
            kept_bytes=blob.size_bytes,
            room_bytes=blob.size_bytes,
        )
    key, size_bytes = content_key(listing, file), file.size_bytes or 0
    parts = find_parts(layout, key) if key else ()
    blocks = max((count_kept_blocks(part, size_bytes) for part in parts), default=0)
    return PlannedFile(
        path=file.path,
        size_bytes=file.size_bytes,
        kept_bytes=min(blocks * BLOCK_BYTES, size_bytes),
        room_bytes=max((count_room(part) for part in parts), default=0),
    )
