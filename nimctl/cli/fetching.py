"""Bringing files into the cache: from where, as whom, with what, and how it is told."""

import contextlib
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from nimctl.cache import Cache, CacheEntry, FetchRequest, Note
from nimctl.cache.layout import Layout
from nimctl.cache.rate import RateLimit
from nimctl.cli.guarded_source import GuardedSource
from nimctl.cli.hub_login import read_hub_login
from nimctl.cli.known_listings import know_listings
from nimctl.cli.listing_check import ListingCheck
from nimctl.cli.mirroring import find_mirror, open_mirror
from nimctl.cli.pickle_scan import scan_pickles
from nimctl.cli.progress import show_progress
from nimctl.cli.terminal import print_note
from nimctl.core.source import Listing, Source, SourceUri
from nimctl.settings import Settings
from nimctl.sources import SourceAccess, open_source

if TYPE_CHECKING:
    from nimctl.cli.signed_files import SignatureCheck


def fetch_request(request: FetchRequest, settings: Settings) -> CacheEntry:
    """Bring the files of one request into the cache, telling how it goes.

    Raises:
        FetchError: they cannot be had.
        UnsafeFilesError: they may not come, or what came would do harm.
        SignatureError: the key that was named did not sign them.
    """
    cache = Cache(settings.cache_dir)
    with show_progress(settings.progress, request, cache.root) as on_progress:

        def tell(text: str) -> None:
            on_progress(Note(text=text))

        with opened_source(request.uri, settings, pinned=request, tell=tell) as source:
            check = ListingCheck(
                request=request, layout=Layout(root=cache.root), on_progress=on_progress
            )
            signature = _signature_check(settings)

            def look_at(source: Source, listing: Listing) -> None:
                if signature is not None:
                    signature.look_at(source, listing)
                check.look_at(source, listing)

            guarded = GuardedSource(
                source,
                connections=settings.connections,
                rate_limit=_limit(request, settings, tell),
                look_at=look_at,
            )
            asks_nobody = request.uri.scheme in ("file", "oci")
            offline = settings.offline and not asks_nobody
            entry = cache.fetch(request, guarded, on_progress, offline=offline)
            if signature is not None:
                signature.check(source, entry, offline=offline)
        scan_pickles(entry, tell)
    return entry


def _signature_check(settings: Settings) -> "SignatureCheck | None":
    if settings.require_signature is None:
        return None
    from nimctl.cli.signed_files import SignatureCheck

    return SignatureCheck(key_file=settings.require_signature, root=settings.cache_dir)


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
        hf_xet=settings.xet,
        ngc_endpoint=settings.ngc_endpoint,
        ngc_auth_endpoint=settings.ngc_auth_endpoint,
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
