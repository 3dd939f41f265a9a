"""A source as a fetch sees it: under the user's limits, and looked at before it is used."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from nimctl.cache.rate import RateLimit
from nimctl.core.source import ByteStream, Listing, RemoteFile, Source, SourceUri

_LEAST_SHARE = 64 * 1024
"""Bytes a second under which one more connection under a limit is of no use."""


class GuardedSource:
    """Passes everything on to another source, which whoever made it closes.

    Attributes:
        connections: How many streams at once are wanted.
    """

    def __init__(
        self,
        source: Source,
        *,
        connections: int | None,
        rate_limit: RateLimit | None,
        look_at: Callable[[Source, Listing], None],
    ) -> None:
        """Guard `source`; every listing of it goes through `look_at` first."""
        self._source = source
        self._rate_limit = rate_limit
        self._look_at = look_at
        # A source with one stream has no ranges: more of them would send everything again.
        most = source.connections if connections is None else connections
        self.connections = most if source.connections > 1 else 1
        if rate_limit is not None:
            shares = max(rate_limit.bytes_per_s // _LEAST_SHARE, 1)
            self.connections = min(self.connections, shares)

    @property
    def listing_note(self) -> str | None:
        """What the source says before it lists."""
        return self._source.listing_note

    def list_files(self, uri: SourceUri) -> Listing:
        """The listing, once nothing speaks against it."""
        listing = self._source.list_files(uri)
        self._look_at(self._source, listing)
        return listing

    @contextmanager
    def open(
        self,
        listing: Listing,
        file: RemoteFile,
        start_bytes: int,
        end_bytes: int | None = None,
    ) -> Iterator[ByteStream]:
        """The stream, as fast as the limit allows."""
        with self._source.open(listing, file, start_bytes, end_bytes) as stream:
            if self._rate_limit is None:
                yield stream
            else:
                yield replace(stream, chunks=self._rate_limit.pace(stream.chunks))

    def close(self) -> None:
        """Nothing is held."""
