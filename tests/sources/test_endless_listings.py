"""Listings without end, of whatever kind: refused soon, and never collected."""

import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from fake_hub import FakeHub, Fault
from fake_ngc import FakeNgc
from faulty_server import FaultyServers, FileHandler

from nimctl.core.source import MAX_FILES, Source, TemporaryFetchError, parse_source_uri
from nimctl.errors import FetchError
from nimctl.sources import SourceAccess, open_source
from nimctl.sources.http_transfer import MOST_PAGES
from nimctl.sources.leads import find_next_page

TOY = parse_source_uri("hf://acme/toy")
LLAMA = parse_source_uri("ngc://nim/meta/llama3-8b-instruct:hf")
PAGE = MAX_FILES // 10


def hub_source(hub: FakeHub) -> Source:
    access = SourceAccess(
        scratch_folder=Path("unused"),
        python=Path(sys.executable),
        hf_endpoint=hub.url,
        stall_timeout_s=1.0,
    )
    return open_source(TOY, access)


def list_files_of(page: int) -> list[dict[str, object]]:
    names = (f"{page}/{number}.bin" for number in range(PAGE))
    return [{"type": "file", "path": name, "size": 1, "oid": "a" * 40} for name in names]


def list_folders_of(page: int) -> list[dict[str, object]]:
    names = (f"{page}/{number}" for number in range(PAGE))
    return [{"type": "directory", "path": name, "oid": "a" * 40} for name in names]


def list_nothing_of(page: int) -> list[dict[str, object]]:
    return []


@pytest.fixture
def hub():
    with FakeHub() as hub:
        hub.add_model("acme/toy", {f"{number}.json": b"{}" for number in range(7)})
        yield hub


@pytest.mark.parametrize(
    ("pages", "most_pages", "words"),
    [
        (list_files_of, 11, f"lists over {MAX_FILES} files"),
        (list_folders_of, 11, f"lists over {MAX_FILES} files"),
        (list_nothing_of, MOST_PAGES, "page after page"),
    ],
)
def test_a_hub_that_always_promises_one_more_page_is_refused(
    hub: FakeHub,
    pages: Callable[[int], list[dict[str, object]]],
    most_pages: int,
    words: str,
) -> None:
    hub.endless_tree = pages
    with closing(hub_source(hub)) as source, pytest.raises(FetchError, match=words) as caught:
        source.list_files(TOY)
    assert not isinstance(caught.value, TemporaryFetchError)
    asked = [seen for seen in hub.requests("hub") if "/tree/" in seen.path]
    assert len(asked) <= most_pages


@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_all_pages_of_a_hub_are_read(hub: FakeHub, size: int) -> None:
    hub.page_size = size
    with closing(hub_source(hub)) as source:
        listing = source.list_files(TOY)
    assert [file.path for file in listing.files] == list(hub.models["acme/toy"].files)
    asked = [seen for seen in hub.requests("hub") if "/tree/" in seen.path]
    assert len(asked) == -(-7 // size)


def test_a_hub_that_is_silent_in_the_middle_of_its_listing_is_not_waited_for(hub: FakeHub) -> None:
    hub.page_size = 3

    def fall_silent(page: int) -> list[dict[str, object]]:
        hub.api_faults.append(Fault(kind="silent"))
        return list_files_of(page)

    hub.endless_tree = fall_silent
    with (
        closing(hub_source(hub)) as source,
        pytest.raises(TemporaryFetchError, match="silent for 1 s"),
    ):
        source.list_files(TOY)


def test_a_busy_hub_is_left_to_the_cache_to_wait_for(hub: FakeHub) -> None:
    """Nobody sleeps for two hours without a word."""

    def be_busy(page: int) -> list[dict[str, object]]:
        hub.api_faults.append(Fault(kind="status", status=429, headers={"Retry-After": "7200"}))
        return list_files_of(page)

    hub.endless_tree = be_busy
    with closing(hub_source(hub)) as source, pytest.raises(TemporaryFetchError) as caught:
        source.list_files(TOY)
    assert caught.value.retry_after_s == 7200


@pytest.mark.parametrize(
    ("link", "place"),
    [
        ("", None),
        ('<https://a/b?c=d,e&f=%3D>; rel="next"', "https://a/b?c=d,e&f=%3D"),
        ("</b>; rel=next", "/b"),
        ('</a>; rel="prev", </b>; title="x"; rel="next"; type="y"', "/b"),
        ('</a>; rel="prev"', None),
        ('</a>; rel="nextish"', None),
        ("next", None),
        pytest.param("<" * 60_000, None, id="angles"),
        pytest.param("</a>" + "; " * 30_000, None, id="semicolons"),
    ],
)
def test_the_next_page_is_read_from_its_header(link: str, place: str | None) -> None:
    begun_s = time.monotonic()
    assert find_next_page({"Link": link}) == place
    assert time.monotonic() - begun_s < 1


class _Bottomless(FileHandler):
    """One answer that does not end, or that is nested without end."""

    origin = "bottomless"

    def answer(self) -> None:
        if "nested" in self.path:
            self.send(200, b"[" * 100_000, Content_Type="application/json")
            return
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(b'{"sha": "')
        while True:
            self.wfile.write(b"a" * 2**20)


@pytest.mark.parametrize(
    ("name", "words"), [("acme/long", "answers without end"), ("acme/nested", "JSON")]
)
def test_an_answer_without_end_is_refused(name: str, words: str) -> None:
    uri = parse_source_uri(f"hf://{name}")
    with FaultyServers() as servers:
        access = SourceAccess(
            scratch_folder=Path("unused"),
            python=Path(sys.executable),
            hf_endpoint=servers.listen(_Bottomless),
        )
        with closing(open_source(uri, access)) as source, pytest.raises(FetchError, match=words):
            source.list_files(uri)


def ngc_source(ngc: FakeNgc) -> Source:
    access = SourceAccess(
        scratch_folder=Path("unused"),
        python=Path(sys.executable),
        ngc_endpoint=ngc.api_url,
        ngc_auth_endpoint=ngc.auth_url,
        ngc_key="nvapi-new",
    )
    return open_source(LLAMA, access)


class _EndlessNgc(FakeNgc):
    """Its pages keep coming: full, or empty where `is_empty` says so."""

    pages = 10**9
    is_empty = False

    def page(self, number: int) -> tuple[list[str], dict[str, object]]:
        names = [] if self.is_empty else [f"{number}/{one}" for one in range(PAGE)]
        sizes = {"size": PAGE, "totalResults": self.pages * PAGE}
        return names, {"index": number, "totalPages": self.pages, **sizes}

    def describe(self, path: str) -> dict[str, object]:
        return {"path": path, "sizeInBytes": 1}


@pytest.mark.parametrize(
    ("pages", "is_empty", "words"),
    [
        (10**9, False, f"lists over {MAX_FILES} files"),
        (1000, False, f"lists over {MAX_FILES} files"),
        (1000, True, "holds no files"),
    ],
)
def test_an_ngc_whose_pages_keep_coming_is_refused(pages: int, is_empty: bool, words: str) -> None:
    with _EndlessNgc({}) as ngc:
        ngc.pages, ngc.is_empty = pages, is_empty
        with closing(ngc_source(ngc)) as source, pytest.raises(FetchError, match=words):
            source.list_files(LLAMA)
        assert len([seen for seen in ngc.requests("api") if "/files" in seen.path]) <= 11


def test_addresses_of_ngc_that_keep_coming_are_refused() -> None:
    with _EndlessNgc({}) as ngc:
        ngc.pages = 1
        with closing(ngc_source(ngc)) as source:
            listing = source.list_files(LLAMA)
            ngc.pages = 1000
            with (
                pytest.raises(FetchError, match=f"lists over {MAX_FILES} files"),
                source.open(listing, listing.files[0], 0),
            ):
                pass
        asked = [
            seen for seen in ngc.requests("api") if seen.path.partition("?")[0].endswith("hf/files")
        ]
        assert len(asked) <= 13


SHAPES = [[None], ["a"], [{}], [{"type": "file"}], [[["a"]]], {"error": "a"}, "a", 1, None]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_tree_of_another_shape_is_an_error(hub: FakeHub, shape: object) -> None:
    hub.endless_tree = lambda page: shape  # type: ignore[assignment,return-value]
    with closing(hub_source(hub)) as source, pytest.raises(FetchError):
        source.list_files(TOY)
