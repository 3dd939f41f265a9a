"""Where an answer leads on to, by a redirect or to its next page: how far that is followed."""

import re
from collections.abc import Mapping
from threading import Lock
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from nimctl.errors import FetchError
from nimctl.sources.address_book import Place
from nimctl.sources.http_pools import proxy_for
from nimctl.sources.reach import is_inside, is_of_one_wire

if TYPE_CHECKING:
    from urllib3.util import Url

_NEXT_PAGE = re.compile(r"<([^<>]*)>(?:\s*;[^,<]*)?;\s*rel=\"?next\"?\s*(?:[;,]|$)")

_IMPORTING = Lock()
"""Two threads that import one package at once may each wait for what the other has begun."""


def find_next_page(headers: Mapping[str, str]) -> str | None:
    """Where the header `Link` says that the next page is (RFC 8288); None on the last one."""
    found = _NEXT_PAGE.search(headers.get("Link", ""))
    return found[1] if found else None


def parse_address(address: str) -> "Url":
    """A web address in its parts.

    Raises:
        FetchError: it is none.
    """
    with _IMPORTING:
        from urllib3.exceptions import LocationParseError
        from urllib3.util import parse_url

    try:
        url = parse_url(address)
    except LocationParseError as error:
        raise FetchError(f"{address.partition('?')[0]!r} is no web address") from error
    if url.scheme is None or url.host is None:
        raise FetchError(f"{address.partition('?')[0]!r} is no web address")
    return url


def lead_on(first: "Url", place: Place, location: str) -> Place:
    """Where `place`, that was reached from `first`, leads to; it is trusted only in its origin.

    Raises:
        FetchError: that is no web address, a less secure one, or one that must not be asked.
    """
    url = parse_address(place.address)
    try:
        address = urljoin(url.url, location)
    except ValueError as error:
        raise FetchError(f"{url.host} leads to what is no web address") from error
    target = parse_address(address)
    if target.scheme not in ("https", url.scheme):
        raise FetchError(f"{url.host} leads to an insecure address on {target.host}; refused")
    _check_reach(first, target)
    is_trusted = place.is_trusted and _origin(target) == _origin(first)
    return Place(address=target.url, is_trusted=is_trusted)


def _origin(url: "Url") -> tuple[str | None, str | None, int | None]:
    return url.scheme, url.host, url.port or {"https": 443, "http": 80}.get(url.scheme or "")


def _check_reach(first: "Url", target: "Url") -> None:
    """A place in the internet must not lead requests to this machine or into its networks."""
    if target.host == first.host:
        return
    if is_of_one_wire(target.host or ""):
        raise FetchError(f"{first.host} leads to {target.host}, a link-local address; refused")
    look_up = proxy_for(target.scheme or "", target.netloc or "") is None
    if is_inside(target.host or "", look_up=look_up) and not is_inside(
        first.host or "", look_up=look_up
    ):
        raise FetchError(
            f"{first.host} leads to {target.host}, which is not in the internet; refused"
        )
