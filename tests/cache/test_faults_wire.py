"""Every fault of the wire against a file of many spans: the right bytes, or an error in words."""

import gc
import hashlib
import os
import random
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
from fake_hub import FakeHub, Fault

from nimctl.cache import (
    BLOCK_BYTES,
    Cache,
    FetchAdvanced,
    FetchRequest,
    FetchStarted,
    FileAdvanced,
    FileStarted,
    Progress,
    RetryPolicy,
)
from nimctl.core.source import parse_source_uri
from nimctl.errors import (
    AccessDeniedError,
    DigestMismatchError,
    FetchError,
    NotFoundError,
    UnreachableError,
)
from nimctl.sources import SourceAccess, open_source

SIZE_BYTES = 18 * BLOCK_BYTES + 777
WEIGHTS = random.Random(5).randbytes(SIZE_BYTES)
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()
NAME = "model.safetensors"
QUICK = RetryPolicy(
    attempts=4, first_wait_s=0.01, longest_wait_s=0.05, longest_asked_wait_s=2.0, trickle_s=0.4
)
ALWAYS = 10_000
MIDDLE = BLOCK_BYTES + 4321
TOKEN = "hf_secret"
CERTIFICATES = Path(__file__).parents[1] / "sources" / "certificates"


@pytest.fixture
def guarded_hub() -> Iterator[FakeHub]:
    """A hub that wants a token."""
    with FakeHub(token=TOKEN) as hub:
        hub.add_model("acme/toy", {NAME: WEIGHTS})
        yield hub


def address(hub: FakeHub, kind: str) -> str:
    if kind == "hub":
        return "hf://acme/toy"
    return f"{hub.storage_url}/acme/toy?path={NAME}"


def fetch(
    hub: FakeHub,
    tmp_path: Path,
    kind: str = "hub",
    *,
    stall_timeout_s: float = 1.0,
    events: list[Progress] | None = None,
) -> tuple[bytes, list[Progress]]:
    """The bytes under the final name, and all that was told: into `events` in any case."""
    cache, events = Cache(tmp_path / "cache", patience=QUICK), [] if events is None else events
    uri = parse_source_uri(address(hub, kind))
    access = SourceAccess(
        scratch_folder=cache.scratch_folder,
        python=Path(sys.executable),
        hf_endpoint=hub.url,
        hf_token=hub.token,
        stall_timeout_s=stall_timeout_s,
    )
    try:
        with closing(open_source(uri, access)) as source:
            entry = cache.fetch(FetchRequest(uri=uri), source, events.append)
    finally:
        check_counters(events)
    (file,) = entry.files
    return (entry.path / file.path).read_bytes(), events


def check_counters(events: list[Progress]) -> None:
    """After each beginning of a fetch no counter goes back, of all files and of each."""
    reached: dict[str | None, int] = {}
    for event in events:
        match event:
            case FetchStarted(done_bytes=done_bytes):
                reached = {None: done_bytes}
            case FetchAdvanced(done_bytes=done_bytes):
                assert done_bytes >= reached[None]
                reached[None] = done_bytes
            case FileStarted() | FileAdvanced():
                assert event.done_bytes >= reached.get(event.path, 0)
                reached[event.path] = event.done_bytes


def check_nothing_shows(tmp_path: Path) -> None:
    for top in ("blobs", "snapshots", "models"):
        assert [p for p in (tmp_path / "cache" / top).rglob("*") if not p.is_dir()] == []
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def at(kind: str, **more: object) -> Fault:
    return Fault(kind=kind, at_byte=MIDDLE, **more)  # type: ignore[arg-type]


def status(code: int, **more: object) -> Fault:
    return Fault(kind="status", status=code, **more)  # type: ignore[arg-type]


WAITED_OUT = {
    "corrupt once": at("corrupt"),
    "short": at("short"),
    "long": Fault(kind="long"),
    "overrun": Fault(kind="overrun"),
    "wrong total": Fault(kind="wrong-total"),
    "half a range, always": Fault(kind="half", times=ALWAYS),
    "half of every answer": Fault(kind="cut-half", times=ALWAYS),
    "no ranges, once": Fault(kind="ignore-range"),
    "no ranges, ever": Fault(kind="ignore-range", times=ALWAYS),
    "no length, ever": Fault(kind="no-length", times=ALWAYS),
    "drop": at("drop"),
    "drop three times": at("drop", times=3),
    "reset": at("reset"),
    "stall": at("stall"),
    "silent": Fault(kind="silent"),
    "500": status(500),
    "502": status(502, times=3),
    "503": status(503, headers={"Retry-After": "0"}),
    "429 without a word": status(429, times=3),
    "408": status(408),
    "403 of the storage": status(403),
}


@pytest.mark.parametrize("fault", WAITED_OUT.values(), ids=WAITED_OUT)
def test_what_passes_ends_in_the_right_bytes(hub: FakeHub, tmp_path: Path, fault: Fault) -> None:
    hub.add_model("acme/toy", {NAME: WEIGHTS})
    hub.add_fault(NAME, replace(fault))
    assert fetch(hub, tmp_path)[0] == WEIGHTS
    assert list((tmp_path / "cache" / "partial").iterdir()) == []


SENT_TO_BE_READ = (
    *("corrupt once", "short", "long", "overrun", "half of every answer", "no ranges, once"),
    *("no length, ever", "drop three times", "reset", "stall", "503"),
)


@pytest.mark.parametrize("name", SENT_TO_BE_READ)
def test_over_tls_it_passes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATES / "authority.pem"))
    with FakeHub(certificate=CERTIFICATES / "good.pem") as hub:
        hub.add_model("acme/toy", {NAME: WEIGHTS})
        hub.add_fault(NAME, replace(WAITED_OUT[name]))
        assert fetch(hub, tmp_path)[0] == WEIGHTS
        assert hub.served("acme/toy", NAME) >= SIZE_BYTES


FINAL = {
    "the same bit twice": (at("corrupt", times=ALWAYS), DigestMismatchError, "it is .* each time"),
    "short, always": (at("short", times=ALWAYS), UnreachableError, "were published"),
    "long, always": (Fault(kind="long", times=ALWAYS), UnreachableError, "could not be fetched"),
    "another start": (Fault(kind="wrong-start", times=ALWAYS), FetchError, "bytes|ended"),
    "another total": (Fault(kind="wrong-total", times=ALWAYS), UnreachableError, "were published"),
    "gzip": (Fault(kind="compressed", times=ALWAYS), FetchError, "compressed"),
    "multipart": (Fault(kind="multipart", times=ALWAYS), FetchError, "several stretches"),
    "drop, always there": (at("drop", times=ALWAYS), UnreachableError, "too early|lost"),
    "reset, always there": (at("reset", times=ALWAYS), UnreachableError, "lost"),
    "500": (status(500, times=ALWAYS), UnreachableError, "500"),
    "502": (status(502, times=ALWAYS), UnreachableError, "502"),
    "503": (status(503, times=ALWAYS), UnreachableError, "503"),
    "429": (status(429, times=ALWAYS), UnreachableError, "429"),
    "429 for hours": (status(429, headers={"Retry-After": "7200"}), UnreachableError, "429"),
    "429 for aeons": (status(429, headers={"Retry-After": "9" * 5000}), UnreachableError, "429"),
    "401": (status(401, times=ALWAYS), UnreachableError, "no longer accepted .status 401"),
    "403": (status(403, times=ALWAYS), UnreachableError, "no longer accepted"),
    "404 after it was listed": (status(404, times=ALWAYS), NotFoundError, "404|changed"),
    "412": (status(412, times=ALWAYS), FetchError, "412|changed"),
    "trickle": (
        Fault(kind="trickle", after_bytes=0, times=ALWAYS, pause_s=0.1),
        UnreachableError,
        "fewer than 100 bytes a second",
    ),
}


@pytest.mark.parametrize(("fault", "kind", "words"), FINAL.values(), ids=FINAL)
def test_what_lasts_is_told_and_gone_on_with_later(
    hub: FakeHub, tmp_path: Path, fault: Fault, kind: type[FetchError], words: str
) -> None:
    hub.add_model("acme/toy", {NAME: WEIGHTS})
    hub.add_fault(NAME, replace(fault))
    with pytest.raises(kind, match=words) as caught:
        fetch(hub, tmp_path)
    assert caught.value.exit_code == kind.exit_code
    check_nothing_shows(tmp_path)
    hub.faults.clear()
    hub.release()
    assert fetch(hub, tmp_path)[0] == WEIGHTS


def test_one_slow_connection_of_many_does_not_hold_up_the_others(
    hub: FakeHub, tmp_path: Path
) -> None:
    hub.add_model("acme/toy", {NAME: WEIGHTS})
    hub.rate_bytes_s = 20 * BLOCK_BYTES
    hub.add_fault(NAME, at("trickle", pause_s=0.3))
    begun_s = time.monotonic()
    assert fetch(hub, tmp_path)[0] == WEIGHTS
    assert time.monotonic() - begun_s < 10


@pytest.mark.parametrize("headers", [{}, {"Content-Length": "9" * 5000}])
def test_a_proxy_that_answers_nonsense_is_an_error(
    hub: FakeHub, tmp_path: Path, headers: dict[str, str]
) -> None:
    hub.add_model("acme/toy", {NAME: WEIGHTS})
    hub.add_fault(NAME, Fault(kind="status", status=206, headers=headers, times=ALWAYS))
    with pytest.raises(FetchError):
        fetch(hub, tmp_path)
    check_nothing_shows(tmp_path)


def test_a_file_that_changes_on_the_way_is_brought_as_it_is_now(
    hub: FakeHub, tmp_path: Path
) -> None:
    """Without digests: the first half of one file must not meet the second of another."""
    hub.add_model("acme/toy", {NAME: WEIGHTS})
    other = bytes(WEIGHTS[:MIDDLE]) + random.Random(6).randbytes(SIZE_BYTES - MIDDLE)
    hub.add_fault(NAME, Fault(kind="stall", at_byte=1000))

    def change() -> None:
        assert hub.stalled.wait(20)
        hub.models["acme/toy"].files[NAME] = other
        hub.release()

    changing = threading.Thread(target=change)
    changing.start()
    try:
        found = fetch(hub, tmp_path, "web")[0]
    finally:
        changing.join()
    assert found == other


@pytest.mark.parametrize("times", [1, ALWAYS])
def test_the_counter_of_a_damaged_file_waits_until_as_much_is_here_again(
    hub: FakeHub, tmp_path: Path, times: int
) -> None:
    """Slowly enough to be told several times."""
    hub.add_model("acme/toy", {NAME: WEIGHTS})
    hub.rate_bytes_s = 3 * BLOCK_BYTES
    hub.add_fault(NAME, Fault(kind="corrupt", at_byte=SIZE_BYTES - 9, times=times))
    events: list[Progress] = []
    with nullcontext() if times == 1 else pytest.raises(DigestMismatchError):
        fetch(hub, tmp_path, events=events)
    reached = [event.done_bytes for event in events if isinstance(event, FileAdvanced)]
    assert len(reached) > 2
    assert sum(isinstance(event, FileStarted) for event in events) == 1


def test_a_place_that_asks_for_silence_is_asked_once_in_each_window(
    hub: FakeHub, tmp_path: Path
) -> None:
    files = {f"{n}.safetensors": random.Random(n).randbytes(50_000) for n in range(5)}
    hub.add_model("acme/toy", files)
    for path in files:
        hub.add_fault(path, status(429, headers={"Retry-After": "1"}))
    hub.add_fault("0.safetensors", status(429, headers={"Retry-After": "1"}))
    cache = Cache(tmp_path / "cache", patience=QUICK)
    uri = parse_source_uri("hf://acme/toy")
    access = SourceAccess(scratch_folder=tmp_path, python=Path(sys.executable), hf_endpoint=hub.url)
    with closing(open_source(uri, access)) as source:
        entry = cache.fetch(FetchRequest(uri=uri), source)
    assert {f.path: (entry.path / f.path).read_bytes() for f in entry.files} == files
    assert len(hub.refused_s) == len(files) + 1
    asked_s = [seen.at_s for seen in hub.requests("storage")]
    for refused_s in hub.refused_s:
        # Connections that had asked before the first refusal came may follow at once.
        assert not [at_s for at_s in asked_s if refused_s + 0.3 < at_s < refused_s + 0.95]


LEADS = {
    "in a circle": ("{storage}/acme/toy?path=" + NAME, "more than 8 times|address"),
    "to a neighbour of a cloud": ("http://169.254.169.254/latest/meta-data", "link-local"),
    "to another link-local one": ("http://[fe80::1]/", "link-local"),
    "to a file": ("file:///etc/passwd", "web address|insecure"),
    "to nowhere": ("http://127.0.0.1:1/", "connection|address|silent"),
    "to nonsense": ("http://[", "web address"),
}


@pytest.mark.parametrize(("location", "words"), LEADS.values(), ids=LEADS)
def test_a_redirect_that_leads_astray_is_an_error_and_sees_no_token(
    guarded_hub: FakeHub, tmp_path: Path, location: str, words: str
) -> None:
    hub = guarded_hub
    target = location.replace("{storage}", hub.storage_url)
    hub.add_fault(NAME, status(302, headers={"Location": target}, times=ALWAYS))
    with pytest.raises(FetchError, match=words) as caught:
        fetch(hub, tmp_path)
    assert TOKEN not in str(caught.value)
    check_nothing_shows(tmp_path)
    assert hub.requests("storage")
    assert all("authorization" not in seen.headers for seen in hub.requests("storage"))
    hub.faults.clear()
    assert fetch(hub, tmp_path)[0] == WEIGHTS


def test_a_token_that_expires_on_the_way_is_told(guarded_hub: FakeHub, tmp_path: Path) -> None:
    hub = guarded_hub
    hub.add_fault(NAME, at("stall"))

    def expire() -> None:
        assert hub.stalled.wait(20)
        hub.token = "another"
        hub.expire_addresses()
        hub.release()

    expiring = threading.Thread(target=expire)
    expiring.start()
    with pytest.raises(AccessDeniedError, match="shows no model"):
        fetch(hub, tmp_path)
    expiring.join()
    check_nothing_shows(tmp_path)


@pytest.mark.parametrize("code", [401, 403])
def test_a_web_server_that_wants_a_login_for_the_bytes_is_told_at_once(
    hub: FakeHub, tmp_path: Path, code: int
) -> None:
    hub.add_model("acme/toy", {NAME: WEIGHTS})
    hub.add_fault(NAME, at("status", status=code, times=ALWAYS))
    with pytest.raises(AccessDeniedError, match=f"refuses access .status {code}"):
        fetch(hub, tmp_path, "web")
    check_nothing_shows(tmp_path)
    assert len(hub.refused_s) < 20


def test_a_small_file_that_the_hub_itself_refuses_is_told(hub: FakeHub, tmp_path: Path) -> None:
    hub.add_model("acme/toy", {NAME: b"{}"})
    hub.add_fault(NAME, status(401, times=ALWAYS))
    with pytest.raises(AccessDeniedError, match="shows no model acme/toy"):
        fetch(hub, tmp_path)
    check_nothing_shows(tmp_path)


def test_addresses_that_expire_on_the_way_are_asked_for_anew(hub: FakeHub, tmp_path: Path) -> None:
    hub.add_model("acme/toy", {NAME: WEIGHTS})
    hub.add_fault(NAME, at("stall"))

    def expire() -> None:
        assert hub.stalled.wait(20)
        hub.expire_addresses()
        hub.release()

    expiring = threading.Thread(target=expire)
    expiring.start()
    assert fetch(hub, tmp_path)[0] == WEIGHTS
    expiring.join()


def count_open() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_failed_fetches_leave_no_threads_and_no_descriptors(hub: FakeHub, tmp_path: Path) -> None:
    hub.add_model("acme/toy", {NAME: WEIGHTS})
    kinds = ("drop", "reset", "status", "compressed", "wrong-start")
    ours = {"work", "connect", "watch", "_beat"}

    def fail(kind: str) -> None:
        hub.faults.clear()
        hub.add_fault(NAME, Fault(kind=kind, at_byte=5, times=ALWAYS))
        with pytest.raises(FetchError):
            fetch(hub, tmp_path)

    def list_ours() -> list[str]:
        return [t.name for t in threading.enumerate() if any(name in t.name for name in ours)]

    fail("drop")
    before = count_open()
    for turn in range(10):
        fail(kinds[turn % len(kinds)])
    end_s = time.monotonic() + 10
    while (list_ours() or count_open() > before + 2) and time.monotonic() < end_s:
        gc.collect()  # connections that a thread held when the others were closed
        time.sleep(0.05)
    assert list_ours() == []
    assert count_open() <= before + 2
    assert not os.path.lexists(tmp_path / "cache" / "partial" / f"sha256-{SHA256}.lock")


def test_the_counter_of_a_file_whose_kept_blocks_are_lost_waits_too(
    hub: FakeHub, tmp_path: Path
) -> None:
    """As a power cut leaves them: noted, and empty."""
    hub.add_model("acme/toy", {NAME: WEIGHTS})
    hub.add_fault(NAME, Fault(kind="drop", at_byte=SIZE_BYTES - 5, times=ALWAYS))
    with pytest.raises(UnreachableError):
        fetch(hub, tmp_path)
    hub.faults.clear()
    (part,) = (tmp_path / "cache" / "partial").glob("*.part")
    assert part.stat().st_size == SIZE_BYTES
    with part.open("r+b") as stream:
        stream.write(bytes(BLOCK_BYTES))
    hub.rate_bytes_s = BLOCK_BYTES
    assert fetch(hub, tmp_path)[0] == WEIGHTS
