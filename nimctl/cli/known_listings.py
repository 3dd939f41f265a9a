"""What a Hugging Face repository held when it was last listed, so that it is not listed again."""

import json
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

from nimctl.cache.layout import Layout, read_text
from nimctl.core.source import (
    ByteStream,
    Listing,
    RemoteFile,
    Source,
    SourceSyntaxError,
    SourceUri,
    TemporaryFetchError,
    check_relative_path,
    parse_digest,
)
from nimctl.errors import FetchError
from nimctl.sources.huggingface import HuggingFaceSource

SCHEMA = "nimctl-listing/1"
_COMMIT_DIGITS = 40


def know_listings(source: Source, cache_dir: Path) -> Source:
    """The source, spared from listing again what cannot have changed."""
    if isinstance(source, HuggingFaceSource):
        return KnownListings(source, cache_dir)
    return source


class KnownListings:
    """A hub that is asked for one commit, and for what that holds only where it is not known.

    A commit never changes, so what was listed of it once is what it holds. Streams are the
    hub's.
    """

    listing_note = None

    def __init__(self, hub: HuggingFaceSource, cache_dir: Path) -> None:
        """Keep the last listing of each repository below `cache_dir`, once that is there."""
        self._hub = hub
        self._layout = Layout(root=cache_dir)
        self.connections = hub.connections

    def list_files(self, uri: SourceUri) -> Listing:
        """The files at the commit that the revision names now: one small request if it is known."""
        known = self._read(uri)
        if known is not None and self._is_still(known, uri):
            return known
        listing = self._hub.list_files(uri)
        self._write(listing)
        return listing

    def open(
        self,
        listing: Listing,
        file: RemoteFile,
        start_bytes: int,
        end_bytes: int | None = None,
    ) -> AbstractContextManager[ByteStream]:
        """Stream a file of the listed commit."""
        return self._hub.open(listing, file, start_bytes, end_bytes)

    def close(self) -> None:
        """Close the hub's connections."""
        self._hub.close()

    def _is_still(self, known: Listing, uri: SourceUri) -> bool:
        if uri.revision == known.revision and len(known.revision) == _COMMIT_DIGITS:
            return True
        try:
            return self._hub.find_commit(uri) == known.revision
        except TemporaryFetchError:
            raise
        except FetchError:
            # The real listing says in full what is wrong.
            return False

    def _read(self, uri: SourceUri) -> Listing | None:
        try:
            document = json.loads(read_text(self._layout.listing(uri)) or "null")
            if (document["schema"], document["endpoint"]) != (SCHEMA, self._hub.endpoint):
                return None
            files = tuple(_parse_file(*facts) for facts in document["files"])
            return Listing(uri=uri, revision=str(document["revision"]), files=files)
        except (ValueError, KeyError, TypeError, AttributeError, SourceSyntaxError):
            return None

    def _write(self, listing: Listing) -> None:
        """Keep a listing, where there is a cache that may be written."""
        if not self._layout.root.is_dir():
            return
        document = {
            "schema": SCHEMA,
            "endpoint": self._hub.endpoint,
            "revision": listing.revision,
            "files": [[file.path, file.size_bytes, str(file.digest)] for file in listing.files],
        }
        with suppress(OSError, UnicodeEncodeError):
            self._layout.write_note(self._layout.listing(listing.uri), json.dumps(document))


def _parse_file(path: str, size_bytes: Any, digest: str) -> RemoteFile:
    if not isinstance(size_bytes, int):
        raise TypeError(size_bytes)
    return RemoteFile(
        path=check_relative_path(path), size_bytes=size_bytes, digest=parse_digest(digest)
    )
