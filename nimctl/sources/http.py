"""The `https://` source: one file at an address; `http://` only where the user wrote it."""

import hashlib
from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import partial
from urllib.parse import unquote, urlsplit

from nimctl.core.source import ByteStream, Listing, RemoteFile, SourceUri
from nimctl.errors import AccessDeniedError, FetchError, InputError
from nimctl.sources.access import SourceAccess
from nimctl.sources.http_transfer import HttpTransfer


class HttpSource:
    """A web server; its ETag tells one version of the file from the next."""

    connections = 16
    listing_note = None

    def __init__(self, access: SourceAccess) -> None:
        self._transfer = HttpTransfer(
            stall_timeout_s=access.stall_timeout_s, ca_file=access.ca_file
        )

    def list_files(self, uri: SourceUri) -> Listing:
        """The one file, its size and version as a request for its first byte tells them."""
        name = _file_name(uri)
        explain = partial(_explain, uri)
        first_byte = {"Range": "bytes=0-0"}
        with self._transfer.get(str(uri), headers=first_byte, explain=explain) as answer:
            size_bytes = answer.stretch.size_bytes
            version = answer.version
        revision = hashlib.sha256((version or "").encode()).hexdigest()[:16]
        file = RemoteFile(path=name, size_bytes=size_bytes, version=version)
        return Listing(uri=uri, revision=revision if version else "unversioned", files=(file,))

    def open(
        self,
        listing: Listing,
        file: RemoteFile,
        start_bytes: int,
        end_bytes: int | None = None,
    ) -> AbstractContextManager[ByteStream]:
        """Stream the file, as long as it is still the listed version."""
        return self._transfer.stream_file(
            str(listing.uri),
            file,
            start_bytes,
            end_bytes,
            explain=partial(_explain, listing.uri),
            version=file.version,
        )

    def close(self) -> None:
        """Close every connection."""
        self._transfer.close()


def _file_name(uri: SourceUri) -> str:
    address = urlsplit(str(uri))
    if "@" in address.netloc:
        raise InputError("an address with a password in it is not used, for it would be recorded")
    name = unquote(address.path.rpartition("/")[2])
    if not name:
        raise FetchError(f"{uri} names a folder, not a file")
    return name


def _explain(uri: SourceUri, status: int, headers: Mapping[str, str]) -> FetchError | None:
    if status not in (401, 403):
        return None
    address = urlsplit(str(uri))
    return AccessDeniedError(
        f"{address.hostname}{address.path} refuses access (status {status})",
        hint="web addresses are shown no login; fetch it with another program, then name the file",
    )
