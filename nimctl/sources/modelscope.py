"""The `modelscope://` source: public models of ModelScope, through its files interface."""

import hashlib
from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Any
from urllib.parse import quote, urlencode

from nimctl.core.source import (
    ByteStream,
    Listing,
    RemoteFile,
    SourceSyntaxError,
    SourceUri,
    parse_digest,
)
from nimctl.errors import AccessDeniedError, FetchError, InputError, NotFoundError
from nimctl.sources.access import SourceAccess
from nimctl.sources.http_transfer import HttpTransfer

DEFAULT_REVISION = "master"
MOST_LISTED = 3000
"""ModelScope cuts longer listings off and does not say so."""


class ModelScopeSource:
    """Models of ModelScope: `modelscope://org/name[:revision]`; no login is used.

    A listing does not name the commit it shows, so its revision is told by what it holds.
    """

    connections = 16
    listing_note = None

    def __init__(self, access: SourceAccess) -> None:
        self._endpoint = access.modelscope_endpoint.rstrip("/")
        self._transfer = HttpTransfer(
            stall_timeout_s=access.stall_timeout_s, ca_file=access.ca_file
        )

    def list_files(self, uri: SourceUri) -> Listing:
        """The files that the revision names now, with their sizes and sha256."""
        query = urlencode({"Revision": uri.revision or DEFAULT_REVISION, "Recursive": "True"})
        document = self._transfer.read_object(
            f"{self._address(uri)}/repo/files?{query}", explain=partial(_explain, uri)
        )
        data = document.get("Data")
        entries = data.get("Files") if isinstance(data, dict) else None
        if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
            raise FetchError(f"ModelScope's answer about {uri} is not understood")
        if len(entries) >= MOST_LISTED:
            raise FetchError(
                f"{uri} has more files than ModelScope lists at once ({MOST_LISTED}); not read"
            )
        files = tuple(_describe(entry) for entry in entries if entry.get("Type") != "tree")
        facts = "\n".join(f"{file.path}\0{file.size_bytes}\0{file.digest}" for file in files)
        revision = hashlib.sha256(facts.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        return Listing(uri=uri, revision=revision, files=files)

    def open(
        self,
        listing: Listing,
        file: RemoteFile,
        start_bytes: int,
        end_bytes: int | None = None,
    ) -> AbstractContextManager[ByteStream]:
        """Stream a file as the revision holds it now; its digest tells whether it is the same."""
        query = urlencode(
            {"Revision": listing.uri.revision or DEFAULT_REVISION, "FilePath": file.path}
        )
        return self._transfer.stream_file(
            f"{self._address(listing.uri)}/repo?{query}",
            file,
            start_bytes,
            end_bytes,
            explain=partial(_explain, listing.uri),
        )

    def close(self) -> None:
        """Close every connection."""
        self._transfer.close()

    def _address(self, uri: SourceUri) -> str:
        if uri.location.count("/") != 1:
            raise InputError(f"{uri.location!r} is not a model of the form org/name")
        return f"{self._endpoint}/api/v1/models/{quote(uri.location)}"


def _describe(entry: Mapping[str, Any]) -> RemoteFile:
    path, size, sha256 = entry.get("Path"), entry.get("Size"), entry.get("Sha256")
    if not isinstance(path, str) or not isinstance(size, int):
        raise FetchError("ModelScope's listing is not understood")
    try:
        digest = parse_digest(f"sha256:{sha256}") if sha256 else None
    except SourceSyntaxError as error:
        raise FetchError(f"ModelScope lists {sha256!r}, which is not a sha256") from error
    return RemoteFile(path=path, size_bytes=size, digest=digest)


def _explain(uri: SourceUri, status: int, headers: Mapping[str, str]) -> FetchError | None:
    if status in (401, 403):
        return AccessDeniedError(f"ModelScope shows {uri} only to some accounts; not supported")
    if status == 404:
        return NotFoundError(f"ModelScope has no {uri}")
    return None
