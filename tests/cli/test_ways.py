"""`nimctl download` where the way to the source is closed: TLS, proxies, names; nothing is left."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from bare_weights import safetensors_file
from fake_hub import FakeHub, HubHandler, StorageHandler
from faulty_server import FaultyServers, FileHandler

CERTIFICATES = Path(__file__).parents[1] / "sources" / "certificates"
AUTHORITY = str(CERTIFICATES / "authority.pem")
WEIGHTS = safetensors_file({"a": ("BF16", (1000,))})
HUB = "hf://acme/toy"


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub() as hub:
        hub.add_model("acme/toy", {"model.safetensors": WEIGHTS})
        yield hub


class _Proxy(FileHandler):
    """Lets nobody through."""

    origin = "proxy"

    def do_CONNECT(self) -> None:  # noqa: N802 # the name that http.server calls
        self.send(int(self.path.partition(".")[0]), Proxy_Authenticate="Basic")

    def answer(self) -> None:
        self.send(407, Proxy_Authenticate="Basic")


@pytest.fixture
def proxy() -> Iterator[FaultyServers]:
    with FaultyServers() as servers:
        servers.url = servers.listen(_Proxy).replace("//", "//me:pa55word@")
        yield servers


@pytest.fixture
def refused(run, tmp_path):
    """The sentence and the hint of a download that must not get there, and leave nothing."""

    def refused(source: str, **environment: str) -> tuple[str, str]:
        asked = ("download", source, "--include", "*", "--progress", "json")
        result = run(*asked, timeout=110, **environment)
        assert (result.returncode, result.stdout) == (9, ""), result.stderr
        assert "Traceback" not in result.stderr
        assert "pa55word" not in result.stderr
        cache = tmp_path / "cache"
        left = [path for path in cache.rglob("*") if path.is_file()]
        assert {path.name for path in left} <= {"VERSION", "CACHEDIR.TAG"}
        lines = [line for line in result.stderr.splitlines() if not line.startswith("{")]
        error = next(line for line in lines if line.startswith("error:"))
        return error, next((line for line in lines if line.startswith("hint:")), "")

    return refused


@pytest.fixture(params=[HUB, "https"])
def source(request: pytest.FixtureRequest, hub: FakeHub):
    """The same file of the hub, or of its storage: what huggingface_hub asks, and what we ask."""

    def at(certificate: str) -> tuple[str, dict[str, str]]:
        secure = {"certificate": CERTIFICATES / f"{certificate}.pem"}
        hub.storage_url = hub.listen(StorageHandler, **secure)
        if request.param == HUB:
            return HUB, {"HF_ENDPOINT": hub.listen(HubHandler, **secure)}
        return f"{hub.storage_url}/acme/toy?path=model.safetensors", {}

    return at


def test_an_authority_nobody_knows(source, refused):
    address, environment = source("good")
    error, hint = refused(address, SSL_CERT_FILE="", **environment)
    assert "shows a certificate that is not accepted" in error
    assert "SSL_CERT_FILE" in hint


def test_a_certificate_that_is_over(source, refused):
    address, environment = source("expired")
    error, hint = refused(address, SSL_CERT_FILE=AUTHORITY, **environment)
    assert "has expired" in error and "clock" in hint


@pytest.mark.parametrize("source", [HUB, "https"])
@pytest.mark.parametrize(
    ("host", "words", "hints"),
    [
        ("407.example", "the proxy on the way to 407.example wants a login", "HTTPS_PROXY: http:"),
        ("403.example", "the proxy refuses the way to 403.example", "NO_PROXY"),
    ],
)
def test_a_proxy_that_lets_nobody_through(refused, proxy, source, host, words, hints):
    address = HUB if source == HUB else f"https://{host}/toy.gguf"
    error, hint = refused(address, HF_ENDPOINT=f"https://{host}", HTTPS_PROXY=proxy.url)
    assert words in error and hints in hint
    assert len(proxy.seen) <= 1  # CONNECT is not noted; nothing else is asked


def test_hosts_of_no_proxy_are_asked_directly(run, hub, proxy):
    around = {"HTTP_PROXY": proxy.url, "HTTPS_PROXY": proxy.url, "NO_PROXY": "127.0.0.1"}
    result = run("download", HUB, "--include", "*", HF_ENDPOINT=hub.url, **around)
    assert result.returncode == 0, result.stderr
    assert proxy.seen == []
    assert (Path(result.stdout.strip()) / "model.safetensors").read_bytes() == WEIGHTS


@pytest.mark.slow  # it is asked six times
@pytest.mark.parametrize("source", [HUB, "https://no-such-host.invalid/toy.gguf"])
def test_a_name_that_is_not_known(refused, source):
    error, _ = refused(source, HF_ENDPOINT="https://no-such-host.invalid")
    assert "the name no-such-host.invalid cannot be found; is this machine online?" in error


@pytest.mark.slow  # it is asked six times
def test_a_proxy_that_is_not_there(refused):
    error, _ = refused(HUB, HF_ENDPOINT="https://hub.example", HTTPS_PROXY="http://127.0.0.1:9")
    assert "on the way to hub.example: no connection to the proxy: Connection refused" in error
