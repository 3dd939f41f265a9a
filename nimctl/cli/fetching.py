"""Bringing a profile's files: which artifacts, from where, with what, and how it is told."""

import contextlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nimctl.cache import Cache, CacheEntry, FetchPlan, PlannedFile
from nimctl.cli.facts import Machine, judge
from nimctl.cli.progress import show_progress
from nimctl.cli.supplying import find_files, is_in_place, read_hub_login, request_files
from nimctl.cli.terminal import bold, print_json, print_line
from nimctl.cli.workspace import join_parts, workspace_folder
from nimctl.core.manifest import Artifact, Manifest
from nimctl.core.selection import require_choice
from nimctl.core.source import Source, SourceUri
from nimctl.core.units import format_file_bytes
from nimctl.core.wish import Wish
from nimctl.settings import Settings
from nimctl.sources import SourceAccess, open_source


def choose_artifacts(
    manifest: Manifest,
    machine: Machine,
    wish: Wish,
    settings: Settings,
    *,
    all_profiles: bool,
) -> tuple[Artifact, ...]:
    """The weights of the profile that would run; of every profile with `all_profiles`.

    A profile that is named may be for another machine: its files are brought all the same.

    Raises:
        NothingFitsError: no profile can run here and none was named.
    """
    if all_profiles:
        by_name = {profile.artifact.name: profile.artifact for profile in manifest.profiles}
        return tuple(by_name.values())
    selection = judge(manifest, machine, wish, settings)
    if wish.profile:
        named = min(selection.verdicts, key=lambda verdict: verdict.rank)
        return (named.profile.artifact,)
    return (require_choice(selection).profile.artifact,)


def fetch_artifact(artifact: Artifact, settings: Settings) -> CacheEntry:
    """Bring an artifact into the cache, telling how it goes; nothing is told if it is there.

    Files of this machine that nobody pinned are used where they lie.

    Raises:
        FetchError: it cannot be had.
    """
    if is_in_place(artifact):
        return CacheEntry(
            uri=artifact.source, revision="local", path=Path(artifact.source.location), files=()
        )
    cache, entries = Cache(settings.cache_dir), []
    for request in request_files(artifact):
        with opened_source(request.uri, settings) as source, show_progress() as on_progress:
            entry = cache.fetch(request, source, on_progress, offline=settings.offline)
            entries.append(entry)
    if artifact.parts:
        return join_parts(settings.cache_dir, artifact, tuple(entries))
    return entries[0]


@contextlib.contextmanager
def opened_source(uri: SourceUri, settings: Settings) -> Iterator[Source]:
    """The source that serves `uri`, with this user's addresses and keys; closed at the end.

    Raises:
        InputError: nimctl cannot fetch from such an address.
    """
    uv = shutil.which("uv", path=settings.environment.get("PATH", ""))
    access = SourceAccess(
        scratch_folder=Cache(settings.cache_dir).scratch_folder,
        python=Path(sys.executable),
        uv=Path(uv) if uv else None,
        hf_endpoint=settings.hf_endpoint,
        hf_token=settings.hf_token.reveal() or read_hub_login(),
        ngc_key=settings.ngc_api_key.reveal(),
    )
    source = open_source(uri, access)
    try:
        yield source
    finally:
        source.close()


def fetch_all(artifacts: tuple[Artifact, ...], settings: Settings, *, json: bool) -> None:
    """Bring artifacts one after the other, and say where they are."""
    entries = [fetch_artifact(artifact, settings) for artifact in artifacts]
    if json:
        print_json({"entries": [_entry_document(entry) for entry in entries]})
        return
    for entry in entries:
        print_line(f"{entry.path}")


def _entry_document(entry: CacheEntry) -> dict[str, Any]:
    return {
        "source": str(entry.uri),
        "revision": entry.revision,
        "path": str(entry.path),
        "size_bytes": entry.size_bytes,
        "files": [
            {"path": file.path, "size_bytes": file.size_bytes, "sha256": file.sha256}
            for file in entry.files
        ],
    }


def print_fetch_plans(artifacts: tuple[Artifact, ...], settings: Settings, *, json: bool) -> None:
    """What a download would bring, file by file, without bringing it.

    Raises:
        FetchError: the source has to be asked and cannot be.
    """
    plans = []
    for artifact in artifacts:
        if is_in_place(artifact):
            plans.append(_plan_in_place(artifact))
            continue
        cache = Cache(settings.cache_dir)
        for request in request_files(artifact):
            with opened_source(request.uri, settings) as source:
                plans.append(cache.plan_fetch(request, source, offline=settings.offline))
    if json:
        print_json({"plans": [_plan_document(plan) for plan in plans]})
        return
    for plan in plans:
        _print_plan(plan)


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


def find_weights_dir(artifact: Artifact, settings: Settings) -> Path:
    """Where the files of an artifact are, or will be once they are fetched."""
    if is_in_place(artifact):
        return Path(artifact.source.location)
    if artifact.parts:
        return workspace_folder(settings.cache_dir, artifact)
    cache, (request,) = Cache(settings.cache_dir), request_files(artifact)
    entry = cache.find(request)
    return entry.path if entry else cache.expected_path(request)


def describe_files(artifact: Artifact, settings: Settings) -> str:
    """Where the files of an artifact come from, and whether they are here."""
    size = format_file_bytes(artifact.download_bytes)
    if is_in_place(artifact):
        return f"{artifact.source} ({size}, used where it lies)"
    here = find_files(Cache(settings.cache_dir), artifact) is not None
    more = f" and {len(artifact.parts) - 1} more places" if len(artifact.parts) > 1 else ""
    return f"{artifact.source}{more} ({size}, {'in the cache' if here else 'to download'})"
