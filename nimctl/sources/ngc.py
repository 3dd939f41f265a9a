"""The `ngc://` source: NVIDIA's catalogue, through its REST interface and presigned addresses."""

import base64
import binascii
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from threading import Lock
from typing import Any
from urllib.parse import quote, urlencode

from nimctl.core.source import ByteStream, Digest, Listing, RemoteFile, SourceUri
from nimctl.errors import AccessDeniedError, FetchError, InputError
from nimctl.sources.access import SourceAccess
from nimctl.sources.http_transfer import HttpTransfer

PAGE_SIZE = 1000
TOKEN_LIFETIME_S = 600.0
"""Tokens live for about 15 minutes; they are renewed after 10."""


class NgcSource:
    """Models of NGC: `ngc://org[/team]/name[:version]`.

    The protocol is the one NVIDIA's own client speaks. Keys that begin with `nvapi-` are sent as
    they are; older ones are exchanged for a short-lived token. Neither ever reaches the storage
    that the presigned addresses point to.
    """

    connections = 16
    listing_note = None

    def __init__(self, access: SourceAccess) -> None:
        self._api = access.ngc_endpoint.rstrip("/")
        self._auth = access.ngc_auth_endpoint.rstrip("/")
        self._key = access.ngc_key
        self._transfer = HttpTransfer(
            stall_timeout_s=access.stall_timeout_s, ca_file=access.ca_file
        )
        self._lock = Lock()
        self._token: tuple[str, float] | None = None

    def list_files(self, uri: SourceUri) -> Listing:
        """The files of a version, or of the newest one where `uri` names none."""
        model = self._model_address(uri)
        version = uri.revision or self._latest_version(uri)
        address = f"{model}/versions/{quote(version, safe='')}"
        state = _member(self._read(uri, address), "modelVersion", dict).get("status")
        if state != "UPLOAD_COMPLETE":
            raise FetchError(f"version {version} of {uri.location} is not complete ({state})")
        files: list[RemoteFile] = []
        page, pages = 0, 1
        while page < pages:
            query = urlencode({"page-size": PAGE_SIZE, "page-number": page})
            document = self._read(uri, f"{address}/files?{query}")
            files += [_describe(entry, version) for entry in document.get("modelFiles") or ()]
            pages = int(_member(document, "paginationInfo", dict).get("totalPages", 1))
            page += 1
        return Listing(uri=uri, revision=version, files=tuple(files))

    @contextmanager
    def open(
        self,
        listing: Listing,
        file: RemoteFile,
        start_bytes: int,
        end_bytes: int | None = None,
    ) -> Iterator[ByteStream]:
        """Stream a file from a presigned address, asked for anew each time because they expire."""
        address = (
            f"{self._model_address(listing.uri)}/{quote(listing.revision, safe='')}/files?"
            + urlencode({"path": file.path})
        )
        urls = _member(self._read(listing.uri, address), "urls", list)
        if len(urls) != 1:
            raise FetchError(f"NGC gives {len(urls)} addresses for {file.path}, not one")
        with self._transfer.stream_file(str(urls[0]), file, start_bytes, end_bytes) as stream:
            yield stream

    def close(self) -> None:
        """Close every connection."""
        self._transfer.close()

    def _latest_version(self, uri: SourceUri) -> str:
        document = self._read(uri, f"{self._model_address(uri)}?resolve-labels=false")
        return str(_member(_member(document, "model", dict), "latestVersionIdStr", str))

    def _model_address(self, uri: SourceUri) -> str:
        org, team, name = _split(uri)
        teams = f"/team/{quote(team, safe='')}" if team else ""
        return f"{self._api}/v2/org/{quote(org, safe='')}{teams}/models/{quote(name, safe='')}"

    def _read(self, uri: SourceUri, address: str) -> dict[str, Any]:
        document = self._transfer.read_json(
            address,
            secrets={"Authorization": f"Bearer {self._bearer(uri)}"},
            explain=partial(_explain, uri),
        )
        if not isinstance(document, dict):
            raise FetchError(f"NGC's answer about {uri.location} is not understood")
        return document

    def _bearer(self, uri: SourceUri) -> str:
        if self._key is None:
            raise AccessDeniedError(
                f"{uri} needs a key of NGC", hint="set NGC_API_KEY to a key from your NGC account"
            )
        if self._key.startswith("nvapi-"):
            return self._key
        with self._lock:
            if self._token is None or time.monotonic() > self._token[1]:
                self._token = self._new_token(uri), time.monotonic() + TOKEN_LIFETIME_S
            return self._token[0]

    def _new_token(self, uri: SourceUri) -> str:
        org, team, _ = _split(uri)
        scopes = [f"group/ngc:{org}"] + ([f"group/ngc:{org}/{team}"] if team else [])
        query = urlencode([("service", "ngc"), *(("scope", scope) for scope in scopes)])
        key = base64.b64encode(f"$oauthtoken:{self._key}".encode()).decode()
        document = self._transfer.read_json(
            f"{self._auth}/token?{query}",
            secrets={"Authorization": f"Basic {key}"},
            explain=partial(_explain, uri),
        )
        return str(_member(document, "token", str))


def _split(uri: SourceUri) -> tuple[str, str | None, str]:
    parts = uri.location.split("/")
    if len(parts) == 2:
        return parts[0], None, parts[1]
    if len(parts) == 3:
        return parts[0], parts[1], parts[2]
    raise InputError(f"{uri} is not of the form ngc://org[/team]/name[:version]")


def _explain(uri: SourceUri, status: int, headers: Mapping[str, str]) -> FetchError | None:
    if status in (401, 403):
        return AccessDeniedError(
            f"NGC refuses access to {uri.location} (status {status})",
            hint="check that NGC_API_KEY is valid and that its organisation may use this model",
        )
    if status == 404:
        return FetchError(f"NGC has no {uri}")
    if status == 412:
        return AccessDeniedError(
            f"NGC gives {uri.location} only after its licence was accepted",
            hint="accept the licence on the model's page of the NGC catalogue, then run again",
        )
    return None


def _describe(entry: Mapping[str, Any], version: str) -> RemoteFile:
    encoded = entry.get("sha256_base64")
    return RemoteFile(
        path=str(_member(entry, "path", str)),
        size_bytes=int(_member(entry, "sizeInBytes", int)),
        digest=_sha256(encoded) if encoded else None,
        version=version,
    )


def _sha256(encoded: str) -> Digest:
    try:
        raw = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        raw = b""
    if len(raw) != 32:
        raise FetchError(f"NGC lists {encoded!r}, which is not a sha256")
    return Digest(algorithm="sha256", hex=raw.hex())


def _member(document: Mapping[str, Any], name: str, kind: type) -> Any:
    value = document.get(name)
    if not isinstance(value, kind):
        raise FetchError(f"NGC's answer is not understood: it has no {name!r}")
    return value
