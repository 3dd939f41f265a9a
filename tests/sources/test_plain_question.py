"""The one question about a revision: a plain answer is taken, everything else is asked in full."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from faulty_server import FaultyServers, FileHandler

from nimctl.core.source import TemporaryFetchError
from nimctl.sources import plain_question
from nimctl.sources.plain_question import ask_plainly

SECRETS = {"Authorization": "Bearer hf_secret"}
CERTIFICATES = Path(__file__).with_name("certificates")


class Handler(FileHandler):
    origin = "place"
    place: "Place"

    def answer(self) -> None:
        self.place.answer(self)


class Place(FaultyServers):
    """A server whose answers a test gives."""

    def __init__(self, certificate: Path | None = None) -> None:
        super().__init__()
        self.answer: Callable[[FileHandler], None] = lambda handler: handler.send_json({"sha": "a"})
        self.url = self.listen(Handler, certificate=certificate)

    def ask(self, ca_file: Path | None = None) -> dict[str, object] | None:
        return ask_plainly(f"{self.url}/api?expand=sha", secrets=SECRETS, ca_file=ca_file)


@pytest.fixture
def place() -> Iterator[Place]:
    with Place() as place:
        yield place


def test_an_object_is_the_answer(place: Place) -> None:
    assert place.ask() == {"sha": "a"}
    (seen,) = place.seen
    assert seen.path == "/api?expand=sha"
    assert seen.headers["authorization"] == "Bearer hf_secret"
    assert seen.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(lambda handler: handler.send(404), id="no such thing"),
        pytest.param(lambda handler: handler.send(200, b"<html>"), id="no JSON"),
        pytest.param(lambda handler: handler.send(200, b"\xff\xfe"), id="no text"),
        pytest.param(lambda handler: handler.send_json(["sha"]), id="a list"),
        pytest.param(lambda handler: handler.send(200, b"", Content_Encoding="gzip"), id="empty"),
        pytest.param(lambda handler: handler.send_json({"sha": "a" * 65536}), id="large"),
        pytest.param(lambda handler: handler.send(200, b"[" * 60_000), id="nested"),
        pytest.param(lambda handler: handler.wfile.write(b"SSH-2.0\r\n"), id="no HTTP"),
        pytest.param(lambda handler: handler.connection.close(), id="a lost connection"),
    ],
)
def test_any_other_answer_is_none(place: Place, answer: Callable[[FileHandler], None]) -> None:
    place.answer = answer
    assert place.ask() is None


def test_a_busy_server_is_not_asked_again_at_once(place: Place) -> None:
    place.answer = lambda handler: handler.send(429, Retry_After="7")
    with pytest.raises(TemporaryFetchError, match="/api answers with status 429") as caught:
        place.ask()
    assert caught.value.retry_after_s == 7
    place.answer = lambda handler: handler.send(503)
    with pytest.raises(TemporaryFetchError):
        place.ask()
    assert len(place.seen) == 2


def test_a_redirect_is_not_followed(place: Place) -> None:
    with Place() as other:
        place.answer = lambda handler: handler.send(307, Location=f"{other.url}/api")
        assert place.ask() is None
        assert not other.seen


def test_a_silent_server_is_not_waited_for(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_question, "ANSWER_TIMEOUT_S", 0.1)
    place.answer = lambda handler: place.released.wait(5) and None
    assert place.ask() is None
    place.release()


def test_what_a_proxy_must_carry_is_left_to_the_full_client(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert place.ask() is None
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert place.ask() == {"sha": "a"}
    assert len(place.seen) == 1


@pytest.mark.parametrize("url", ["http://", "http://[::1", "http://a:b/c", "http://a b/c", "x"])
def test_what_is_no_address_is_left_to_the_full_client(url: str) -> None:
    assert ask_plainly(url, secrets=SECRETS, ca_file=None) is None


def test_a_scheme_that_is_mistyped_does_not_carry_the_key_openly(place: Place) -> None:
    url = place.url.replace("http:", "htps:")
    assert ask_plainly(f"{url}/api", secrets=SECRETS, ca_file=None) is None
    assert not place.seen


def test_a_key_that_is_no_header_is_not_sent(place: Place) -> None:
    bad = {"Authorization": "Bearer a\r\nX-Evil: 1"}
    assert ask_plainly(f"{place.url}/api", secrets=bad, ca_file=None) is None
    assert not place.seen


def test_certificates_are_checked() -> None:
    with Place(certificate=CERTIFICATES / "good.pem") as place:
        assert place.ask() is None
        assert not place.seen
        assert place.ask(CERTIFICATES / "authority.pem") == {"sha": "a"}
    with Place(certificate=CERTIFICATES / "expired.pem") as place:
        assert place.ask(CERTIFICATES / "authority.pem") is None


def test_it_does_without_urllib3(place: Place) -> None:
    program = (
        "import sys; from nimctl.sources.plain_question import ask_plainly;"
        f"assert ask_plainly({place.url + '/api'!r}, secrets={{}}, ca_file=None);"
        "assert 'urllib3' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
