"""The `ngc://` source: NVIDIA's catalogue, through its REST interface and presigned addresses."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from nimctl.core.source import ByteStream, Listing, RemoteFile, SourceUri, limit_listing
from nimctl.errors import AccessDeniedError, FetchError, InputError, NotFoundError
from nimctl.sources.access import SourceAccess
from nimctl.sources.address_book import AddressBook, Place
from nimctl.sources.http_failures import Explain, explain_expiry, explain_nothing
from nimctl.sources.http_transfer import HttpTransfer
from nimctl.sources.ngc_account import NgcAccount
from nimctl.sources.ngc_answers import (
    CHECKSUMS,
    count_pages,
    describe_file,
    list_addresses,
    list_files,
    member,
    with_checksums,
)
from nimctl.sources.peek import read_text

PAGE_SIZE = 1000

_Entry = TypeVar("_Entry")


class _KeyRefusedError(AccessDeniedError):
    """Status 401: the key is wrong, or its token is too old."""


class NgcSource:
    """Models of NGC: `ngc://org[/team]/name[:version]`.

    The protocol is the one NVIDIA's own client speaks; without a key it asks as a guest, which
    is enough for public models. No key ever reaches the storage behind the presigned addresses.
    """

    connections = 16
    listing_note = None

    def __init__(self, access: SourceAccess) -> None:
        self._api = access.ngc_endpoint.rstrip("/")
        self._transfer = HttpTransfer(
            stall_timeout_s=access.stall_timeout_s, ca_file=access.ca_file
        )
        self._account = NgcAccount(
            access.ngc_key, auth_endpoint=access.ngc_auth_endpoint, transfer=self._transfer
        )
        self._book = AddressBook()
        self._paged: set[str] = set()

    def list_files(self, uri: SourceUri) -> Listing:
        """The files of a version, or of the newest one where `uri` names none."""
        model = self._model_address(uri)
        version = uri.revision or self._latest_version(uri)
        address = f"{model}/versions/{quote(version, safe='')}"
        state = member(self._read(uri, address), "modelVersion", dict).get("status")
        if state != "UPLOAD_COMPLETE":
            raise FetchError(f"version {version} of {uri.location} is not complete ({state})")
        entries = self._read_pages(uri, f"{address}/files", {"page-size": PAGE_SIZE}, list_files)
        files = tuple(describe_file(entry, version) for entry in entries)
        return self._with_digests(Listing(uri=uri, revision=version, files=files))

    @contextmanager
    def open(
        self,
        listing: Listing,
        file: RemoteFile,
        start_bytes: int,
        end_bytes: int | None = None,
    ) -> Iterator[ByteStream]:
        """Stream a file from its presigned address, which is kept until it is refused."""
        key = f"{listing.uri.location}:{listing.revision}/{file.path}"
        place = self._place(listing, file, key)

        def explain(status: int, headers: Mapping[str, str]) -> FetchError | None:
            expiry = explain_expiry(status, headers)
            if expiry is not None:
                self._book.forget(key, place)
            return expiry

        with self._transfer.stream_file(
            place.address, file, start_bytes, end_bytes, explain=explain
        ) as stream:
            yield stream

    def read_signature(self, listing: Listing) -> bytes | None:
        """The signature NVIDIA made of that version; None where it is not signed."""
        model = self._model_address(listing.uri)
        address = f"{model}/versions/{quote(listing.revision, safe='')}/signature"
        try:
            document = self._read(listing.uri, address, _explain_signature)
        except NotFoundError:
            return None
        signature = self._transfer.read_object(str(member(document, "url", str)))
        return json.dumps(signature).encode()

    def close(self) -> None:
        """Close every connection."""
        self._transfer.close()

    def _with_digests(self, listing: Listing) -> Listing:
        """The listing, with digests out of the version's own list where NGC gives none."""
        by_path = {file.path: file for file in listing.files}
        unhashed = by_path.keys() - {CHECKSUMS}
        if CHECKSUMS not in by_path or all(by_path[path].digest for path in unhashed):
            return listing
        text = read_text(self, listing, by_path[CHECKSUMS])
        return Listing(
            uri=listing.uri, revision=listing.revision, files=with_checksums(listing.files, text)
        )

    def _place(self, listing: Listing, file: RemoteFile, key: str) -> Place:
        """Where the file lies; the first question is for all files, later ones for one."""
        known = self._book.find(key)
        if known is not None:
            return known
        version = key.removesuffix(file.path)
        with self._book.turn(version):
            known = self._book.find(key)
            if known is None and version not in self._paged:
                self._paged.add(version)
                self._note_addresses(listing, version, {})
                known = self._book.find(key)
            if known is None:
                self._note_addresses(listing, version, {"path": file.path})
                known = self._book.find(key)
        if known is None:
            raise FetchError(f"NGC gives no address for {file.path}")
        return known

    def _note_addresses(self, listing: Listing, version: str, query: Mapping[str, str]) -> None:
        address = self._files_address(listing)
        for path, url in self._read_pages(listing.uri, address, query, list_addresses):
            self._book.note(version + path, Place(address=url, is_trusted=False))

    def _latest_version(self, uri: SourceUri) -> str:
        document = self._read(uri, f"{self._model_address(uri)}?resolve-labels=false")
        return str(member(member(document, "model", dict), "latestVersionIdStr", str))

    def _model_address(self, uri: SourceUri) -> str:
        org, team, name = (quote(part or "", safe="") for part in _split(uri))
        if self._account.is_guest:
            return "/".join(part for part in (self._api, "v2/models", org, team, name) if part)
        return f"{self._api}/v2/org/{org}{f'/team/{team}' if team else ''}/models/{name}"

    def _files_address(self, listing: Listing) -> str:
        """Where presigned addresses of a version's files are given out."""
        org, team, name = (quote(part or "", safe="") for part in _split(listing.uri))
        place = f"org/{org}{f'/team/{team}' if team else ''}"
        kind = f"models/{place}" if self._account.is_guest else f"{place}/models"
        return f"{self._api}/v2/{kind}/{name}/{quote(listing.revision, safe='')}/files"

    def _read_pages(
        self,
        uri: SourceUri,
        address: str,
        query: Mapping[str, object],
        read_entries: Callable[[Mapping[str, Any]], Iterable[_Entry]],
    ) -> Iterator[_Entry]:
        """The entries of one page after the other, as many as NGC says there are."""

        def read_all() -> Iterator[_Entry]:
            page, pages = 0, 1
            while page < pages:
                number = {"page-number": page} if page else {}
                asked = urlencode({**query, **number})
                document = self._read(uri, f"{address}?{asked}" if asked else address)
                entries = tuple(read_entries(document))
                yield from entries
                page, pages = page + 1, count_pages(document)
                if page < pages and not entries:
                    raise FetchError(f"NGC promises {pages} pages of {uri}, but one holds no files")

        return limit_listing(uri, read_all())

    def _read(
        self, uri: SourceUri, address: str, explain_first: Explain = explain_nothing
    ) -> dict[str, Any]:
        try:
            return self._ask(uri, address, explain_first)
        except _KeyRefusedError:
            if not self._account.forget_tokens():
                raise
            return self._ask(uri, address, explain_first)

    def _ask(self, uri: SourceUri, address: str, explain_first: Explain) -> dict[str, Any]:
        org, team, _ = _split(uri)

        def explain(status: int, headers: Mapping[str, str]) -> FetchError | None:
            first = explain_first(status, headers)
            return first or _explain(uri, self._account.is_guest, status, headers)

        secrets = self._account.secrets(org, team, explain)
        return self._transfer.read_object(address, secrets=secrets, explain=explain)


def _split(uri: SourceUri) -> tuple[str, str | None, str]:
    parts = uri.location.split("/")
    if len(parts) == 2:
        return parts[0], None, parts[1]
    if len(parts) == 3:
        return parts[0], parts[1], parts[2]
    raise InputError(f"{uri} is not of the form ngc://org[/team]/name[:version]")


def _explain(
    uri: SourceUri, is_guest: bool, status: int, headers: Mapping[str, str]
) -> FetchError | None:
    if is_guest and status in (401, 403, 404):
        return AccessDeniedError(
            f"NGC shows no {uri} to guests (status {status})",
            hint="check the name; if the model is not public, set NGC_API_KEY to a key from your "
            "NGC account",
        )
    if status in (401, 403):
        refused = _KeyRefusedError if status == 401 else AccessDeniedError
        return refused(
            f"NGC refuses access to {uri.location} (status {status})",
            hint="check that NGC_API_KEY is valid and that its organisation may use this model",
        )
    if status == 404:
        return NotFoundError(f"NGC has no {uri}")
    if status == 412:
        return AccessDeniedError(
            f"NGC gives {uri.location} only after its licence was accepted",
            hint=f"accept the licence at {_catalogue_page(uri)}, then run again",
        )
    return None


def _explain_signature(status: int, headers: Mapping[str, str]) -> FetchError | None:
    """Guests, too, are told here that there is none."""
    return NotFoundError("NGC has no signature of it") if status == 404 else None


def _catalogue_page(uri: SourceUri) -> str:
    org, team, name = _split(uri)
    teams = f"/teams/{team}" if team else ""
    return f"https://catalog.ngc.nvidia.com/orgs/{org}{teams}/models/{name}"
