"""Ranges over HTTP: exactly the bytes that were asked, over few connections, or an error."""

import random
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from fake_hub import FakeHub, Fault, StorageHandler
from faulty_server import FaultyServers, FileHandler

from nimctl.core.source import (
    Listing,
    RemoteFile,
    Source,
    SourceChangedError,
    TemporaryFetchError,
    parse_source_uri,
)
from nimctl.errors import FetchError, UnreachableError
from nimctl.sources import SourceAccess, open_source
from nimctl.sources.http_pools import trusting_context
from nimctl.sources.http_transfer import HttpTransfer
from nimctl.sources.reach import is_inside

CONTENT = random.Random(7).randbytes(300_000)
SIZE = len(CONTENT)
TOY = parse_source_uri("hf://acme/toy")
CERTIFICATES = Path(__file__).with_name("certificates")


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub(token="hf_secret") as hub:
        hub.add_model("acme/toy", {"a.bin": CONTENT})
        yield hub


@pytest.fixture
def source(hub: FakeHub) -> Iterator[Source]:
    access = SourceAccess(
        scratch_folder=Path("unused"),
        python=Path(sys.executable),
        hf_endpoint=hub.url,
        hf_token="hf_secret",
        stall_timeout_s=0.5,
    )
    with closing(open_source(TOY, access)) as source:
        yield source


@pytest.fixture
def listing(source: Source) -> Listing:
    return source.list_files(TOY)


def read(source: Source, listing: Listing, start: int, end: int | None = None) -> bytes:
    with source.open(listing, listing.files[0], start, end) as stream:
        assert stream.start_bytes == start
        return b"".join(stream.chunks)


def asked_hub(hub: FakeHub) -> int:
    return sum("/resolve/" in seen.path for seen in hub.requests("hub"))


@pytest.mark.parametrize(
    ("start", "end"),
    [(0, 1), (0, SIZE), (0, None), (1, 2), (70_000, 200_000), (SIZE - 1, SIZE), (9, None), (5, 5)],
)
def test_exactly_the_asked_bytes_come(
    source: Source, listing: Listing, start: int, end: int | None
) -> None:
    assert read(source, listing, start, end) == CONTENT[start:end]


def test_a_range_costs_no_more_than_its_bytes(
    hub: FakeHub, source: Source, listing: Listing
) -> None:
    read(source, listing, 1000, 2000)
    assert hub.served("acme/toy", "a.bin") == 1000


def test_sixteen_ranges_ask_the_hub_once_and_show_the_token_to_nobody_else(
    hub: FakeHub, source: Source, listing: Listing
) -> None:
    spans = [(start, min(start + 20_000, SIZE)) for start in range(0, SIZE, 20_000)]
    came: dict[int, bytes] = {}
    threads = [
        threading.Thread(target=lambda s, e: came.update({s: read(source, listing, s, e)}), args=s)
        for s in spans
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert b"".join(came[start] for start, _ in spans) == CONTENT
    assert asked_hub(hub) == 1
    assert len(hub.requests("storage")) == len(spans)
    assert "hf_secret" not in str(hub.requests("storage"))


def test_ranges_one_after_the_other_share_a_connection(
    hub: FakeHub, source: Source, listing: Listing
) -> None:
    for start in range(0, 100_000, 10_000):
        read(source, listing, start, start + 10_000)
    assert len({seen.port for seen in hub.requests("storage")}) == 1


def test_a_stream_left_early_is_closed(hub: FakeHub, source: Source, listing: Listing) -> None:
    hub.rate_bytes_s = 200_000
    with source.open(listing, listing.files[0], 0) as stream:
        next(iter(stream.chunks))
    hub.rate_bytes_s = None
    assert read(source, listing, 5, 9) == CONTENT[5:9]
    assert len({seen.port for seen in hub.requests("storage")}) == 2


def test_an_address_that_expired_is_asked_for_anew(
    hub: FakeHub, source: Source, listing: Listing
) -> None:
    read(source, listing, 0, 1000)
    hub.expire_addresses()
    with pytest.raises(TemporaryFetchError, match="no longer accepted"):
        read(source, listing, 1000, 2000)
    assert read(source, listing, 1000, 2000) == CONTENT[1000:2000]
    assert asked_hub(hub) == 2


def test_a_busy_storage_says_how_long_to_wait_and_its_address_is_kept(
    hub: FakeHub, source: Source, listing: Listing
) -> None:
    read(source, listing, 0, 1000)
    hub.add_fault("a.bin", Fault(kind="status", status=429, headers={"Retry-After": "7"}))
    with pytest.raises(TemporaryFetchError) as caught:
        read(source, listing, 0, 1000)
    assert caught.value.retry_after_s == 7.0
    read(source, listing, 0, 1000)
    assert asked_hub(hub) == 1


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        (Fault(kind="wrong-start"), FetchError, "other bytes"),
        (Fault(kind="wrong-end"), TemporaryFetchError, "and calls them"),
        (Fault(kind="wrong-total"), TemporaryFetchError, "announces 300001 bytes"),
        (Fault(kind="half"), TemporaryFetchError, "too early"),
        (Fault(kind="multipart"), FetchError, "several stretches"),
        (Fault(kind="compressed"), FetchError, "compressed"),
        (Fault(kind="short", at_byte=70_000), TemporaryFetchError, "announces 70000 bytes"),
        (Fault(kind="long"), FetchError, "sends 130004 bytes"),
        (Fault(kind="status", status=416), TemporaryFetchError, "fewer bytes"),
        (Fault(kind="drop", at_byte=100_000), TemporaryFetchError, "was lost"),
        (Fault(kind="drop", after_bytes=0), TemporaryFetchError, "was lost"),
        (Fault(kind="reset", at_byte=100_000), TemporaryFetchError, "was lost"),
        (Fault(kind="stall", at_byte=100_000), TemporaryFetchError, "silent for 0.5 s"),
    ],
    ids=lambda value: f"{value.kind}{value.after_bytes or ''}" if isinstance(value, Fault) else "",
)
def test_a_lie_or_a_loss_is_an_error(
    hub: FakeHub,
    source: Source,
    listing: Listing,
    fault: Fault,
    error: type[FetchError],
    words: str,
) -> None:
    hub.add_fault("a.bin", fault)
    taken = bytearray()
    with (
        pytest.raises(error, match=words),
        source.open(listing, listing.files[0], 70_000, 200_000) as stream,
    ):
        for chunk in stream.chunks:
            taken += chunk
    assert bytes(taken) == CONTENT[70_000 : 70_000 + len(taken)]
    if fault.at_byte == 100_000:
        assert len(taken) == 30_000


def test_bytes_after_the_announced_ones_reach_nobody(
    hub: FakeHub, source: Source, listing: Listing
) -> None:
    hub.add_fault("a.bin", Fault(kind="overrun"))
    assert read(source, listing, 0, 1000) == CONTENT[:1000]
    assert read(source, listing, 1000, 2000) == CONTENT[1000:2000]


def test_a_body_without_length_must_have_the_asked_one(
    hub: FakeHub, source: Source, listing: Listing
) -> None:
    hub.add_fault("a.bin", Fault(kind="no-length"))
    assert read(source, listing, 10, 2000) == CONTENT[10:2000]


def test_a_server_without_ranges_starts_anew_and_says_so(
    hub: FakeHub, source: Source, listing: Listing
) -> None:
    hub.add_fault("a.bin", Fault(kind="ignore-range", times=2))
    with source.open(listing, listing.files[0], 70_000, 80_000) as stream:
        assert stream.start_bytes == 0
        assert b"".join(stream.chunks) == CONTENT
    assert read(source, listing, 0, 80_000) == CONTENT[:80_000]


def test_another_version_is_told(hub: FakeHub) -> None:
    uri = parse_source_uri(f"{hub.storage_url}/acme/toy?path=a.bin")
    access = SourceAccess(scratch_folder=Path("unused"), python=Path(sys.executable))
    with closing(open_source(uri, access)) as source:
        listing = source.list_files(uri)
        hub.add_fault("a.bin", Fault(kind="changed"))
        with pytest.raises(SourceChangedError):
            read(source, listing, 10, 20)


def test_a_read_that_waits_is_woken(hub: FakeHub) -> None:
    hub.add_fault("a.bin", Fault(kind="stall", at_byte=100_000))
    transfer = HttpTransfer(stall_timeout_s=60)
    file = RemoteFile(path="a.bin", size_bytes=SIZE)
    url = f"{hub.storage_url}/acme/toy?path=a.bin"
    taken = bytearray()
    with closing(transfer), transfer.stream_file(url, file, 0, SIZE) as stream:
        begun_s = time.monotonic()
        waker = threading.Thread(target=lambda: hub.stalled.wait(30) and stream.cancel())
        waker.start()
        with pytest.raises(TemporaryFetchError):
            for chunk in stream.chunks:
                taken += chunk
        waker.join()
        assert time.monotonic() - begun_s < 30
        stream.cancel()
    assert bytes(taken) == CONTENT[: len(taken)]


class _Proxy(FileHandler):
    """Refuses, or sends whoever asks for `http://public.example` to this machine."""

    origin = "proxy"

    def answer(self) -> None:
        status = 407 if "login" in self.path else 302
        self.send(status, Location="http://127.0.0.1:1/secrets", Proxy_Authenticate="Basic")

    def do_CONNECT(self) -> None:  # noqa: N802 # the name that http.server calls
        status = {"login.example:443": 407, "no.example:443": 403}.get(self.path, 503)
        self.send(status)


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyServers]:
    with FaultyServers() as servers:
        address = servers.listen(_Proxy).replace("//", "//me:pass%20word@")
        for name in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(name, address)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield servers


@pytest.mark.parametrize(
    ("url", "error", "words"),
    [
        ("http://public.example/a", FetchError, "not in the internet"),
        ("http://login.example/a", UnreachableError, "wants a login"),
        ("https://login.example/a", UnreachableError, "wants a login"),
        ("https://no.example/a", UnreachableError, "refuses the way to no.example"),
        ("https://busy.example/a", TemporaryFetchError, "no way to busy.example now"),
    ],
)
def test_what_a_proxy_refuses_is_told(
    proxy: FaultyServers, url: str, error: type[FetchError], words: str
) -> None:
    with (
        closing(HttpTransfer(stall_timeout_s=5)) as transfer,
        pytest.raises(error, match=words) as caught,
        transfer.get(url),
    ):
        pass
    assert "pass" not in caught.value.message
    for seen in proxy.requests("proxy"):
        assert seen.headers["proxy-authorization"] == "Basic bWU6cGFzcyB3b3Jk"


def test_hosts_that_need_no_proxy_are_asked_directly(hub: FakeHub, proxy: FaultyServers) -> None:
    transfer = HttpTransfer(stall_timeout_s=5)
    with closing(transfer), transfer.get(f"{hub.storage_url}/acme/toy?path=a.bin") as answer:
        assert answer.stretch.size_bytes == SIZE
    assert proxy.seen == []


def test_a_proxy_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "127.0.0.1:9")
    with (
        closing(HttpTransfer(stall_timeout_s=5)) as transfer,
        pytest.raises(TemporaryFetchError, match="no connection to the proxy"),
        transfer.get("http://public.example/a"),
    ):
        pass


@pytest.fixture
def secure(request: pytest.FixtureRequest, hub: FakeHub) -> str:
    """The storage of the hub over TLS, with the certificate that the test names."""
    address = hub.listen(StorageHandler, certificate=CERTIFICATES / f"{request.param}.pem")
    return f"{address}/acme/toy?path=a.bin"


@pytest.mark.parametrize("secure", ["good"], indirect=True)
def test_a_file_comes_over_tls(hub: FakeHub, secure: str) -> None:
    transfer = HttpTransfer(stall_timeout_s=5, ca_file=CERTIFICATES / "authority.pem")
    file = RemoteFile(path="a.bin", size_bytes=SIZE)
    with closing(transfer):
        for start, end in ((0, SIZE), (1000, 200_000)):
            with transfer.stream_file(secure, file, start, end) as stream:
                assert b"".join(stream.chunks) == CONTENT[start:end]
    assert len({seen.port for seen in hub.requests("storage")}) == 1


@pytest.mark.parametrize(
    ("secure", "ca_file", "words"),
    [
        ("good", None, "self-signed certificate in|unable to get local issuer"),
        ("expired", CERTIFICATES / "authority.pem", "has expired"),
    ],
    indirect=["secure"],
)
def test_a_certificate_that_is_not_accepted_is_told_and_not_tried_again(
    secure: str, ca_file: Path | None, words: str
) -> None:
    with (
        closing(HttpTransfer(stall_timeout_s=5, ca_file=ca_file)) as transfer,
        pytest.raises(FetchError, match=words) as caught,
        transfer.get(secure),
    ):
        pass
    assert not isinstance(caught.value, TemporaryFetchError)


def test_certificates_are_read_once_and_again_when_they_change(tmp_path: Path) -> None:
    file = tmp_path / "authority.pem"
    shutil.copy(CERTIFICATES / "authority.pem", file)
    first = trusting_context(file)
    assert trusting_context(file) is first
    with file.open("a") as more:
        more.write((CERTIFICATES / "good.pem").read_text())
    assert trusting_context(file) is not first
    with pytest.raises(FetchError, match=r"gone.pem cannot be used as certificates"):
        trusting_context(tmp_path / "gone.pem")


@pytest.mark.parametrize(
    ("host", "inside"),
    [
        ("127.0.0.1", True),
        ("169.254.169.254", True),
        ("10.1.2.3", True),
        ("[::1]", True),
        ("fe80::1%eth0", True),
        ("localhost", True),
        ("metadata.google.internal", True),
        ("8.8.8.8", False),
        ("huggingface.co", False),
    ],
)
def test_addresses_of_this_network_are_known(host: str, inside: bool) -> None:
    assert is_inside(host, look_up=False) is inside
