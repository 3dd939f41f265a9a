"""Files whose length no header tells: cut ones are found out wherever anything can tell."""

import hashlib
import random
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from faulty_server import FaultyServers, FileHandler

from nimctl.cache import Cache, FetchRequest, Note, Progress, RetryPolicy
from nimctl.core.source import Digest, PinnedFile, SourceUri, parse_source_uri
from nimctl.errors import DigestMismatchError, FetchError, UnreachableError
from nimctl.sources import SourceAccess, open_source

CONTENT = random.Random(8).randbytes(2_500_000)
CHUNK_BYTES = 100_000
QUICK = RetryPolicy(attempts=3, first_wait_s=0.01, longest_wait_s=0.02)


class Place(FaultyServers):
    """A web server that knows neither lengths nor ranges.

    Attributes:
        is_chunked: Each piece says how long it is, and the last one that it is the last.
        cut_at: Answers end before that byte, the next `cuts` times; the bytes alone are counted.
        is_reset: They end without a proper end (RST) then.
        encoding: What it says of its transfers in place of `chunked`.
        etag: What it calls this version.
    """

    def __init__(self) -> None:
        super().__init__()
        self.is_chunked = True
        self.cut_at: int | None = None
        self.cuts = 10_000
        self.is_reset = False
        self.encoding = "chunked"
        self.etag: str | None = None
        self.url = self.listen(_Unsized)


class _Unsized(FileHandler):
    origin = "web"
    place: Place

    def answer(self) -> None:
        place = self.place
        is_listing = self.headers.get("Range") == "bytes=0-0"
        is_cut = place.cut_at is not None and place.cuts > 0 and not is_listing
        place.cuts -= is_cut
        self.send_response(200)
        if place.etag is not None:
            self.send_header("ETag", place.etag)
        if place.is_chunked:
            self.send_header("Transfer-Encoding", place.encoding)
        self.send_header("Connection", "close")
        self.end_headers()
        end = place.cut_at if is_cut else None
        for start in range(0, len(CONTENT), CHUNK_BYTES):
            chunk = CONTENT[start : start + CHUNK_BYTES]
            head, tail = (b"%x\r\n" % len(chunk), b"\r\n") if place.is_chunked else (b"", b"")
            if end is not None and start + len(chunk) > end:
                self.wfile.write((head + chunk)[: end - start + len(head)] if end > start else b"")
                break
            self.wfile.write(head + chunk + tail)
        if is_cut and place.is_reset:
            self.reset()
        elif place.is_chunked and not is_cut:
            self.wfile.write(b"0\r\n\r\n")
        self.close_connection = True


@pytest.fixture
def place() -> Iterator[Place]:
    with Place() as place:
        yield place


def uri_of(place: Place) -> SourceUri:
    return parse_source_uri(f"{place.url}/model.gguf")


def fetch(
    place: Place, tmp_path: Path, *, pinned: tuple[PinnedFile, ...] = ()
) -> tuple[bytes, list[str]]:
    """The bytes under the final name, and the notes that were told."""
    cache, uri, events = Cache(tmp_path / "cache", patience=QUICK), uri_of(place), list[Progress]()
    access = SourceAccess(
        scratch_folder=cache.scratch_folder, python=Path(sys.executable), stall_timeout_s=2.0
    )
    with closing(open_source(uri, access)) as source:
        entry = cache.fetch(FetchRequest(uri=uri, pinned=pinned), source, events.append)
    notes = [event.text for event in events if isinstance(event, Note)]
    return (entry.path / "model.gguf").read_bytes(), notes


def check_nothing_shows(tmp_path: Path) -> None:
    for top in ("blobs", "snapshots", "models"):
        assert [p for p in (tmp_path / "cache" / top).rglob("*") if not p.is_dir()] == []


def pin(content: bytes) -> PinnedFile:
    digest = Digest(algorithm="sha256", hex=hashlib.sha256(content).hexdigest())
    return PinnedFile(path="model.gguf", size_bytes=len(content), digest=digest)


@pytest.mark.parametrize("etag", [None, '"one"'])
def test_chunks_tell_their_end(place: Place, tmp_path: Path, etag: str | None) -> None:
    place.etag = etag
    assert fetch(place, tmp_path) == (CONTENT, [])


CUTS = {
    "before all": 0,
    "in a chunk": 250_000,
    "after a chunk": 3 * CHUNK_BYTES,
    "before the last word": len(CONTENT),
}


@pytest.mark.parametrize("cut_at", CUTS.values(), ids=CUTS)
def test_chunks_that_are_cut_off_are_never_taken_for_a_whole_file(
    place: Place, tmp_path: Path, cut_at: int
) -> None:
    place.cut_at = cut_at
    with pytest.raises(UnreachableError, match="was lost"):
        fetch(place, tmp_path)
    check_nothing_shows(tmp_path)
    place.cuts = 1
    assert fetch(place, tmp_path) == (CONTENT, [])


def test_a_file_of_which_nothing_tells_the_end_is_brought_with_a_warning(
    place: Place, tmp_path: Path
) -> None:
    """As curl and pip do, and RFC 9112 (6.3) wants; but they do not tell."""
    place.is_chunked = False
    content, notes = fetch(place, tmp_path)
    assert content == CONTENT
    (note,) = notes
    assert "nothing tells whether model.gguf is whole" in note
    assert "2500000 bytes" in note


def test_a_cut_that_nothing_tells_is_warned_of_too(place: Place, tmp_path: Path) -> None:
    place.is_chunked, place.cut_at = False, 700_000
    content, notes = fetch(place, tmp_path)
    assert content == CONTENT[:700_000]
    assert "700000 bytes" in notes[0]


def test_a_connection_that_breaks_is_no_end(place: Place, tmp_path: Path) -> None:
    place.is_chunked, place.cut_at, place.is_reset = False, 700_000, True
    with pytest.raises(UnreachableError, match="was lost"):
        fetch(place, tmp_path)
    check_nothing_shows(tmp_path)


@pytest.mark.parametrize("is_chunked", [True, False])
@pytest.mark.parametrize("cut_at", [0, 700_000, len(CONTENT) - 1])
def test_a_cut_is_found_out_where_the_size_is_expected(
    place: Place, tmp_path: Path, is_chunked: bool, cut_at: int
) -> None:
    place.is_chunked, place.cut_at = is_chunked, cut_at
    with pytest.raises(UnreachableError, match=r"too early|was lost"):
        fetch(place, tmp_path, pinned=(pin(CONTENT),))
    check_nothing_shows(tmp_path)
    place.cut_at = None
    assert fetch(place, tmp_path, pinned=(pin(CONTENT),)) == (CONTENT, [])


@pytest.mark.parametrize("is_chunked", [True, False])
def test_other_bytes_are_found_out_where_a_digest_is_expected(
    place: Place, tmp_path: Path, is_chunked: bool
) -> None:
    place.is_chunked = is_chunked
    wrong = replace(pin(CONTENT[::-1]), size_bytes=len(CONTENT))
    with pytest.raises(DigestMismatchError):
        fetch(place, tmp_path, pinned=(wrong,))
    check_nothing_shows(tmp_path)


def test_a_transfer_that_is_coded_otherwise_is_refused(place: Place, tmp_path: Path) -> None:
    place.encoding = "gzip, chunked"
    with pytest.raises(FetchError, match="gzip, chunked"):
        fetch(place, tmp_path)
    check_nothing_shows(tmp_path)
