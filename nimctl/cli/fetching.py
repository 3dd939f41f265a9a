"""Bringing a profile's files: which artifacts, from where, with what, and how it is told."""

import contextlib
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from nimctl.cache import Cache, CacheEntry, FetchRequest, Note
from nimctl.cache.layout import Layout
from nimctl.cache.rate import RateLimit
from nimctl.cli.facts import Machine, judge
from nimctl.cli.guarded_source import GuardedSource
from nimctl.cli.known_listings import know_listings
from nimctl.cli.listing_check import ListingCheck
from nimctl.cli.mirroring import find_mirror, open_mirror
from nimctl.cli.pickle_scan import scan_pickles
from nimctl.cli.progress import show_progress
from nimctl.cli.supplying import find_files, is_in_place, read_hub_login, request_files
from nimctl.cli.terminal import print_note
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
    requests = request_files(artifact, settings)
    entries = tuple(fetch_request(request, settings) for request in requests)
    if artifact.parts:
        return join_parts(settings.cache_dir, artifact, entries)
    return entries[0]


def fetch_request(request: FetchRequest, settings: Settings) -> CacheEntry:
    """Bring the files of one request into the cache, telling how it goes.

    Raises:
        FetchError: they cannot be had.
        UnsafeFilesError: they may not come, or what came would do harm.
    """
    cache = Cache(settings.cache_dir)
    with show_progress(settings.progress, request, cache.root) as on_progress:

        def tell(text: str) -> None:
            on_progress(Note(text=text))

        with opened_source(request.uri, settings, pinned=request, tell=tell) as source:
            check = ListingCheck(
                request=request, layout=Layout(root=cache.root), on_progress=on_progress
            )
            guarded = GuardedSource(
                source,
                connections=settings.connections,
                rate_limit=_limit(request, settings, tell),
                look_at=check.look_at,
            )
            asks_nobody = request.uri.scheme in ("file", "oci")
            offline = settings.offline and not asks_nobody
            entry = cache.fetch(request, guarded, on_progress, offline=offline)
        scan_pickles(entry, tell)
    return entry


def _limit(
    request: FetchRequest, settings: Settings, tell: Callable[[str], None]
) -> RateLimit | None:
    """The rate that was asked for, where nimctl itself brings the bytes."""
    if settings.limit_rate is None:
        return None
    if request.uri.scheme == "pypi":
        tell("the package is fetched by pip, which knows no limit of its rate")
        return None
    return RateLimit(settings.limit_rate)


@contextlib.contextmanager
def opened_source(
    uri: SourceUri,
    settings: Settings,
    *,
    pinned: FetchRequest | None = None,
    tell: Callable[[str], None] = print_note,
) -> Iterator[Source]:
    """The source that serves `uri`, with this user's addresses, keys and mirrors; closed at the
    end.

    Args:
        pinned: What will be asked of it, where that is known.
        tell: Takes a sentence about what a mirror leaves unchecked.

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
        ca_file=find_authorities(settings.environment),
    )
    mirror = find_mirror(uri, settings.mirrors)
    if mirror is None:
        source = know_listings(open_source(uri, access), settings.cache_dir)
    else:
        source = open_mirror(uri, mirror, access, pinned, tell)
    try:
        yield source
    finally:
        source.close()


def find_authorities(environment: Mapping[str, str]) -> Path | None:
    """The file or folder of certificates that `REQUESTS_CA_BUNDLE` names.

    `SSL_CERT_FILE`, which is stronger, is obeyed by Python's own TLS without being told.
    """
    if environment.get("SSL_CERT_FILE") or not environment.get("REQUESTS_CA_BUNDLE"):
        return None
    return Path(environment["REQUESTS_CA_BUNDLE"])


def find_weights_dir(artifact: Artifact, settings: Settings) -> Path:
    """Where the files of an artifact are, or will be once they are fetched."""
    if is_in_place(artifact):
        return Path(artifact.source.location)
    if artifact.parts:
        return workspace_folder(settings.cache_dir, artifact)
    cache, (request,) = Cache(settings.cache_dir), request_files(artifact, settings)
    entry = cache.find(request)
    return entry.path if entry else cache.expected_path(request)


def describe_files(artifact: Artifact, settings: Settings) -> str:
    """Where the files of an artifact come from, and whether they are here."""
    size = format_file_bytes(artifact.download_bytes)
    if is_in_place(artifact):
        return f"{artifact.source} ({size}, used where it lies)"
    here = find_files(artifact, settings) is not None
    more = f" and {len(artifact.parts) - 1} more places" if len(artifact.parts) > 1 else ""
    return f"{artifact.source}{more} ({size}, {'in the cache' if here else 'to download'})"
