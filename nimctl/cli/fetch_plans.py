"""What a download would bring, file by file, without bringing it."""

import shutil
from functools import partial
from typing import Any

from nimctl.cache import Cache, FetchPlan, FetchRequest, PlannedFile
from nimctl.cache.request import sort_files
from nimctl.cache.safety import describe_left_out
from nimctl.cli.fetching import opened_source
from nimctl.cli.guarded_source import GuardedSource
from nimctl.cli.terminal import bold, print_json, print_line, print_note
from nimctl.cli.weights import is_in_place, request_files
from nimctl.core.manifest import Artifact
from nimctl.core.source import Listing, Source
from nimctl.core.units import format_file_bytes
from nimctl.settings import Settings


def print_fetch_plans(
    wanted: tuple[Artifact | FetchRequest, ...], settings: Settings, *, json: bool
) -> None:
    """Say what would be brought, and how much of it is here.

    Raises:
        FetchError: a source has to be asked and cannot be.
        UnsafeFilesError: files may not come.
    """
    plans = [plan for one in wanted for plan in _plan(one, settings)]
    if json:
        print_json({"plans": [_plan_document(plan) for plan in plans]})
        return
    for plan in plans:
        _print_plan(plan)


def _plan(wanted: Artifact | FetchRequest, settings: Settings) -> list[FetchPlan]:
    if isinstance(wanted, Artifact) and is_in_place(wanted):
        return [_plan_in_place(wanted)]
    requests = (wanted,) if isinstance(wanted, FetchRequest) else request_files(wanted, settings)
    cache, plans = Cache(settings.cache_dir), []
    for request in requests:
        with opened_source(request.uri, settings, pinned=request) as source:
            guarded = GuardedSource(
                source,
                connections=None,
                rate_limit=None,
                look_at=partial(_note_left_out, request),
            )
            plans.append(cache.plan_fetch(request, guarded, offline=settings.offline))
    return plans


def _note_left_out(request: FetchRequest, source: Source, listing: Listing) -> None:
    del source
    left_out = describe_left_out(sort_files(request, listing))
    if left_out is not None:
        print_note(left_out)


def _plan_in_place(artifact: Artifact) -> FetchPlan:
    """Nothing to bring: everything lies on this machine."""
    size_bytes = artifact.download_bytes
    name = artifact.single_file or artifact.source.location
    return FetchPlan(
        uri=artifact.source,
        revision=None,
        files=(
            PlannedFile(
                path=name, size_bytes=size_bytes, kept_bytes=size_bytes, room_bytes=size_bytes
            ),
        ),
        free_bytes=shutil.disk_usage(artifact.source.location).free,
    )


def _plan_document(plan: FetchPlan) -> dict[str, Any]:
    return {
        "source": str(plan.uri),
        "download_bytes": plan.download_bytes,
        "total_bytes": plan.total_bytes,
        "free_bytes": plan.free_bytes,
        "files": [
            {"path": file.path, "kept_bytes": file.kept_bytes}
            | ({} if file.size_bytes is None else {"size_bytes": file.size_bytes})
            for file in plan.files
        ],
    }


def _print_plan(plan: FetchPlan) -> None:
    print_line(bold(str(plan.uri)))
    for file in plan.files:
        size = "?" if file.size_bytes is None else format_file_bytes(file.size_bytes)
        print_line(f"  {size:>10}  {file.path}{_describe_kept(file)}")
    print_line(
        f"  {format_file_bytes(plan.download_bytes):>10}  to download of "
        f"{format_file_bytes(plan.total_bytes)}, {format_file_bytes(plan.free_bytes)} free"
    )


def _describe_kept(file: PlannedFile) -> str:
    if not file.kept_bytes:
        return ""
    if file.kept_bytes == file.size_bytes:
        return "  (in the cache)"
    return f"  ({format_file_bytes(file.kept_bytes)} kept)"
