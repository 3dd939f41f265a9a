"""Where a hub or a web server leads on to: no token goes there, nothing goes from TLS to plain."""

import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from fake_hub import FakeHub, Fault, HubHandler, StorageHandler

from nimctl.core.source import Source, TemporaryFetchError, parse_source_uri
from nimctl.errors import AccessDeniedError, FetchError
from nimctl.sources import SourceAccess, open_source
from nimctl.sources.huggingface import HuggingFaceSource

FILES = {f"{number}.json": b"{}" for number in range(5)} | {"a.bin": bytes(range(256)) * 400}
TOY = parse_source_uri("hf://acme/toy")
TOKEN = "hf_secret"
CERTIFICATES = Path(__file__).with_name("certificates")
GOOD = CERTIFICATES / "good.pem"

OTHERS: dict[str, Callable[[str], str]] = {
    "another port": lambda url: url,
    "another name": lambda url: url.replace("127.0.0.1", "localhost"),
}


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub(token=TOKEN) as hub:
        hub.add_model("acme/toy", FILES)
        yield hub


@pytest.fixture
def elsewhere() -> Iterator[FakeHub]:
    """A hub that has the same and asks for no token."""
    with FakeHub() as other:
        other.add_model("acme/toy", FILES)
        yield other


def make_source(endpoint: str) -> HuggingFaceSource:
    access = SourceAccess(
        scratch_folder=Path("unused"),
        python=Path(sys.executable),
        hf_endpoint=endpoint,
        hf_token=TOKEN,
        ca_file=CERTIFICATES / "authority.pem",
        stall_timeout_s=2.0,
    )
    source = open_source(TOY, access)
    assert isinstance(source, HuggingFaceSource)
    return source


def read(source: Source, path: str) -> bytes:
    listing = source.list_files(TOY)
    file = next(file for file in listing.files if file.path == path)
    with source.open(listing, file, 0) as stream:
        return b"".join(stream.chunks)


def check_saw_no_token(hub: FakeHub) -> None:
    assert hub.seen
    assert all("authorization" not in seen.headers for seen in hub.seen)
    assert TOKEN not in str(hub.seen)


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("word", ["/api/", "/tree/", "/resolve/"])
def test_another_origin_sees_no_token(
    hub: FakeHub, elsewhere: FakeHub, word: str, other: Callable[[str], str]
) -> None:
    hub.moved = {word: other(elsewhere.url)}
    with closing(make_source(hub.url)) as source:
        assert read(source, "a.bin") == FILES["a.bin"]
        assert read(source, "1.json") == b"{}"
        assert source.find_commit(TOY) == hub.models["acme/toy"].commit
    check_saw_no_token(elsewhere)
    assert all(seen.headers["authorization"] == f"Bearer {TOKEN}" for seen in hub.requests("hub"))


def test_this_very_server_under_another_name_sees_no_token(hub: FakeHub) -> None:
    hub.moved = {"/tree/": hub.url.replace("127.0.0.1", "localhost")}
    with (
        closing(make_source(hub.url)) as source,
        pytest.raises(FetchError, match="8 times"),
    ):
        source.list_files(TOY)
    named = [seen for seen in hub.seen if seen.headers["host"].startswith("localhost")]
    assert len(named) == 8
    assert all("authorization" not in seen.headers for seen in named)


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_a_next_page_of_another_origin_sees_no_token(
    hub: FakeHub, elsewhere: FakeHub, other: Callable[[str], str]
) -> None:
    commit = hub.models["acme/toy"].commit
    hub.page_size = elsewhere.page_size = 2
    hub.next_page = other(f"{elsewhere.url}/api/models/acme/toy/tree/{commit}")
    with closing(make_source(hub.url)) as source:
        assert [file.path for file in source.list_files(TOY).files] == list(FILES)
    check_saw_no_token(elsewhere)
    assert len(elsewhere.seen) == 2


def test_a_model_that_was_renamed_is_found_with_the_token(hub: FakeHub) -> None:
    """The hub leads from the old name to the new one inside itself."""
    there = {"Location": "/api/models/acme/toy"}
    hub.api_faults.append(Fault(kind="status", status=307, headers=there))
    with closing(make_source(hub.url)) as source:
        assert [file.path for file in source.list_files(TOY).files] == list(FILES)


def test_a_stranger_that_wants_a_login_is_told_and_not_waited_for(
    hub: FakeHub, elsewhere: FakeHub
) -> None:
    elsewhere.token = "another"
    hub.moved = {"/api/": elsewhere.url}
    with closing(make_source(hub.url)) as source, pytest.raises(AccessDeniedError, match="403"):
        source.list_files(TOY)
    check_saw_no_token(elsewhere)


@pytest.mark.parametrize("word", ["/api/", "/tree/", "/resolve/"])
def test_nothing_leads_from_tls_to_a_plain_address(
    hub: FakeHub, elsewhere: FakeHub, word: str
) -> None:
    secure = hub.listen(HubHandler, certificate=GOOD)
    hub.moved = {word: elsewhere.url}
    with closing(make_source(secure)) as source, pytest.raises(FetchError) as caught:
        read(source, "a.bin")
    assert "insecure address on 127.0.0.1; refused" in caught.value.message
    assert not isinstance(caught.value, TemporaryFetchError)
    assert not elsewhere.seen


def test_no_next_page_leads_from_tls_to_a_plain_address(hub: FakeHub, elsewhere: FakeHub) -> None:
    secure = hub.listen(HubHandler, certificate=GOOD)
    hub.page_size, hub.next_page = 2, f"{elsewhere.url}/api/models/acme/toy"
    with closing(make_source(secure)) as source, pytest.raises(FetchError, match="insecure"):
        source.list_files(TOY)
    assert not elsewhere.seen


def test_a_plain_address_leads_to_tls_without_the_token(hub: FakeHub, elsewhere: FakeHub) -> None:
    hub.moved = {"/": elsewhere.listen(HubHandler, certificate=GOOD)}
    elsewhere.storage_url = elsewhere.listen(StorageHandler, certificate=GOOD)
    with closing(make_source(hub.url)) as source:
        assert read(source, "1.json") == b"{}"
        assert read(source, "a.bin") == FILES["a.bin"]
    check_saw_no_token(elsewhere)


def test_a_web_address_leads_from_plain_to_tls_and_never_back(hub: FakeHub) -> None:
    secure = hub.listen(StorageHandler, certificate=GOOD)
    access = SourceAccess(
        scratch_folder=Path("unused"),
        python=Path(sys.executable),
        ca_file=CERTIFICATES / "authority.pem",
    )
    path = "/acme/toy?path=a.bin"
    for first, second, is_refused in (
        (hub.storage_url, secure, False),
        (secure, hub.storage_url, True),
    ):
        there = {"Location": second + path}
        hub.faults.clear()
        hub.add_fault("a.bin", Fault(kind="status", status=302, headers=there))
        uri = parse_source_uri(first + path)
        with closing(open_source(uri, access)) as source:
            if is_refused:
                with pytest.raises(FetchError, match="insecure"):
                    source.list_files(uri)
            else:
                assert source.list_files(uri).files[0].size_bytes == len(FILES["a.bin"])
