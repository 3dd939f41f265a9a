"""The hub source against a local hub that the official client accepts too."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from fake_hub import FakeHub, Fault, git_sha1

from nimctl.core.source import RemoteFile, Source, SourceUri, TemporaryFetchError, parse_source_uri
from nimctl.errors import AccessDeniedError, FetchError, InputError, UnreachableError
from nimctl.sources import SourceAccess, open_source

FILES = {"config.json": b"{}", "weights/a.safetensors": bytes(range(256)) * 400}
TOKEN = "hf_secret"
TOY = parse_source_uri("hf://acme/toy")
OFFICIAL = """
import sys
from huggingface_hub import snapshot_download
print(snapshot_download("acme/toy", token=sys.argv[1]))
"""


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub(token="hf_secret") as hub:
        hub.add_model("acme/toy", FILES)
        yield hub


def make_source(url: str, *, token: str | None = TOKEN) -> Source:
    access = SourceAccess(
        scratch_folder=Path("unused"),
        python=Path(sys.executable),
        hf_endpoint=url,
        hf_token=token,
        stall_timeout_s=2.0,
    )
    return open_source(TOY, access)


def read(source: Source, uri: SourceUri, path: str, offset_bytes: int = 0) -> bytes:
    listing = source.list_files(uri)
    file = next(file for file in listing.files if file.path == path)
    with source.open(listing, file, offset_bytes) as stream:
        assert stream.start_bytes == offset_bytes
        return b"".join(stream.chunks)


def test_the_official_client_accepts_the_local_hub(hub: FakeHub, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path),
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    child = subprocess.run(
        [sys.executable, "-c", OFFICIAL, "hf_secret"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    folder = Path(child.stdout.strip())
    assert {path: (folder / path).read_bytes() for path in FILES} == FILES


def test_files_are_listed_with_what_they_hash_to(hub: FakeHub) -> None:
    with closing(make_source(hub.url)) as source:
        listing = source.list_files(TOY)
    assert listing.revision == hub.models["acme/toy"].commit
    files = {file.path: file for file in listing.files}
    assert set(files) == set(FILES)
    assert str(files["config.json"].digest) == f"git-sha1:{git_sha1(b'{}')}"
    assert str(files["weights/a.safetensors"].digest).startswith("sha256:")
    assert files["weights/a.safetensors"].size_bytes == 102400


def test_bytes_come_from_any_offset(hub: FakeHub) -> None:
    content = FILES["weights/a.safetensors"]
    with closing(make_source(hub.url)) as source:
        assert read(source, TOY, "weights/a.safetensors") == content
        assert read(source, TOY, "weights/a.safetensors", 100_000) == content[100_000:]
        assert read(source, TOY, "config.json", 1) == b"}"


def test_the_token_reaches_the_hub_and_nobody_else(hub: FakeHub) -> None:
    with closing(make_source(hub.url)) as source:
        read(source, TOY, "weights/a.safetensors")
    assert all(seen.headers["authorization"] == "Bearer hf_secret" for seen in hub.requests("hub"))
    stored = hub.requests("storage")
    assert len(stored) == 1
    assert "authorization" not in stored[0].headers
    assert "hf_secret" not in str(stored)


def test_a_token_is_not_shown() -> None:
    access = SourceAccess(scratch_folder=Path(), python=Path(), hf_token="hf_secret", ngc_key="k3y")
    assert "hf_secret" not in repr(access)
    assert "k3y" not in repr(access)


def test_only_the_named_hub_is_asked(hub: FakeHub, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]);"
        "from test_huggingface_source import *;"
        "source = make_source(sys.argv[2]); read(source, TOY, 'config.json'); source.close()"
    )
    with FakeHub() as other:
        environment = {**os.environ, "HF_ENDPOINT": other.url, "HF_HOME": str(tmp_path)}
        environment["PYTHONPATH"] = str(Path(__file__).parents[1])
        subprocess.run(
            [sys.executable, "-c", program, str(Path(__file__).parent), hub.url],
            env=environment,
            check=True,
        )
        assert other.seen == []


@pytest.mark.parametrize(
    ("uri", "token", "error", "words"),
    [
        ("hf://acme/none", "hf_secret", AccessDeniedError, "shows no model acme/none"),
        ("hf://acme/toy", None, AccessDeniedError, "shows no model acme/toy"),
        ("hf://acme/toy:v9", "hf_secret", FetchError, "has no revision 'v9'"),
        ("hf://acme/toy/more", "hf_secret", InputError, "not a model of the form org/name"),
    ],
)
def test_what_cannot_be_had_is_named(
    hub: FakeHub, uri: str, token: str | None, error: type[Exception], words: str
) -> None:
    with (
        closing(make_source(hub.url, token=token)) as source,
        pytest.raises(error, match=words),
    ):
        source.list_files(parse_source_uri(uri))


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_busy_hub_is_temporary(hub: FakeHub, status: int) -> None:
    hub.api_faults.append(Fault(kind="status", status=status, headers={"Retry-After": "7"}))
    with closing(make_source(hub.url)) as source, pytest.raises(TemporaryFetchError) as caught:
        source.list_files(TOY)
    assert caught.value.retry_after_s == 7.0


def test_an_expired_signed_address_is_temporary(hub: FakeHub) -> None:
    hub.add_fault("weights/a.safetensors", Fault(kind="status", status=403))
    with closing(make_source(hub.url)) as source:
        with pytest.raises(TemporaryFetchError, match="signed address"):
            read(source, TOY, "weights/a.safetensors")
        assert read(source, TOY, "weights/a.safetensors") == FILES["weights/a.safetensors"]


def test_a_file_that_vanished_is_an_error(hub: FakeHub) -> None:
    with closing(make_source(hub.url)) as source:
        listing = source.list_files(TOY)
        gone = RemoteFile(path="gone.bin")
        with (
            pytest.raises(FetchError, match=r"gone.bin does not exist"),
            source.open(listing, gone, 0),
        ):
            pass


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://127.0.0.1:9", "no connection to 127.0.0.1"),
        ("http://no-such-host.invalid", "the name no-such-host.invalid cannot be found"),
    ],
)
def test_a_hub_that_cannot_be_reached_is_temporary(url: str, words: str) -> None:
    with closing(make_source(url)) as source, pytest.raises(TemporaryFetchError, match=words):
        source.list_files(TOY)


def test_who_was_told_to_be_offline_is_not_asked_either(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # read at its import
    with (
        closing(make_source(hub.url)) as source,
        pytest.raises(UnreachableError, match="HF_HUB_OFFLINE is set"),
    ):
        source.list_files(TOY)
    assert not hub.seen
