"""`nimctl download --xet`: bytes out of a real Xet storage in a folder, hashed like all others."""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from fake_hub import FakeHub

from nimctl.core.source import TemporaryFetchError
from nimctl.errors import FetchError
from nimctl.sources.xet import XetStorage, check_storage_address

pytest.importorskip("hf_xet")

NAME = "weights.parquet"
WEIGHTS = random.Random(7).randbytes(3_000_000)
FILES = {"README.md": b"words", NAME: WEIGHTS}


UPLOAD = """
import sys, hf_xet
config = hf_xet.XetConfig().with_config({"telemetry.enabled": False})
commit = hf_xet.XetSession(config).new_upload_commit(endpoint=f"local://{sys.argv[1]}")
upload = commit.start_upload_bytes(sys.stdin.buffer.read())
commit.wait_to_finish()
print(upload.result().xet_info.hash)
"""


@pytest.fixture(scope="module")
def uploaded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A storage with the weights, and what it calls them; its database is one process's own."""
    home = tmp_path_factory.mktemp("home")
    told = subprocess.run(
        [sys.executable, "-c", UPLOAD, str(home / "cas")],
        input=WEIGHTS, capture_output=True, check=True, env=os.environ | {"HOME": str(home)},
    )  # fmt: skip
    return home / "cas", told.stdout.decode().strip()


@pytest.fixture
def storage(uploaded: tuple[Path, str], tmp_path: Path) -> Path:
    return shutil.copytree(uploaded[0], tmp_path / "cas")


@pytest.fixture
def hub(storage: Path, uploaded: tuple[Path, str]) -> Iterator[FakeHub]:
    with FakeHub(token="hub-secret") as hub:
        hub.add_model("acme/data", FILES)
        hub.xet_url = f"local://{storage}"
        hub.xet_hashes[NAME] = uploaded[1]
        yield hub


@pytest.fixture
def download(run, hub):
    token = {"HF_ENDPOINT": hub.url, "HF_TOKEN": "hub-secret"}
    return lambda *more, **other: run("download", "hf://acme/data", *more, **token | other)


def asked_for_tokens(hub: FakeHub) -> int:
    return sum("xet-read-token" in seen.path for seen in hub.requests("hub"))


def check_nothing_shows(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    blobs = [path for path in (cache / "blobs").rglob("*") if path.is_file()]
    assert all(path.read_bytes() in FILES.values() for path in blobs)
    assert [path for path in (cache / "snapshots").rglob("*") if path.name == NAME] == []


def xorb(storage: Path) -> Path:
    xorbs = (path for path in storage.rglob("xorbs/*") if path.is_file())
    return max(xorbs, key=lambda path: path.stat().st_size)


def flip(path: Path, at_byte: int) -> None:
    content = bytearray(path.read_bytes())
    content[at_byte] ^= 0xFF
    path.chmod(0o600)
    path.write_bytes(content)


def test_bytes_come_from_there_only_when_asked(download, hub, tmp_path) -> None:
    result = download("--xet")
    assert result.returncode == 0, result.stderr
    assert (Path(result.stdout.strip()) / NAME).read_bytes() == WEIGHTS
    assert hub.requests("storage") == []
    assert asked_for_tokens(hub) == 1
    assert download("--offline").returncode == 0
    plain = download(NIMCTL_CACHE_DIR=str(tmp_path / "other"))
    assert plain.returncode == 0, plain.stderr
    assert asked_for_tokens(hub) == 1


def test_the_official_client_takes_the_same_bytes(clean_environment, hub, tmp_path) -> None:
    program = (
        "import sys; from huggingface_hub import hf_hub_download as get;"
        f"print(get('acme/data', {NAME!r}, endpoint=sys.argv[1], token='hub-secret'))"
    )
    told = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, hub.url],
        env=clean_environment | {"HF_HUB_DISABLE_TELEMETRY": "1"},
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert Path(told.stdout.strip()).read_bytes() == WEIGHTS
    assert hub.requests("storage") == []


def test_a_listing_known_from_before_is_enough(download, hub) -> None:
    assert download("--exclude", NAME).returncode == 0
    assert download("--xet").returncode == 0
    assert hub.requests("storage") == []


@pytest.mark.parametrize("at", ["chunk", "header"])
def test_a_damaged_chunk_is_found_out(download, hub, storage, tmp_path, at) -> None:
    flip(xorb(storage), len(WEIGHTS) // 2 if at == "chunk" else 0)
    result = download("--xet")
    assert result.returncode == 11, result.stderr
    assert "Traceback" not in result.stderr
    check_nothing_shows(tmp_path)


@pytest.mark.slow  # it is asked six times
def test_a_storage_without_the_file_ends_in_words(download, hub, tmp_path) -> None:
    hub.xet_hashes[NAME] = "0" * 64
    result = download("--xet", timeout=90)
    assert (result.returncode, "Xet storage" in result.stderr) == (9, True), result.stderr


@pytest.mark.parametrize(("life_s", "tokens"), [(5, 2), (3600, 1)])
def test_a_token_near_its_end_is_renewed(storage, uploaded, life_s, tokens) -> None:
    asked = []

    def read_token(repository: str) -> dict[str, object]:
        asked.append(repository)
        until_s = int(time.time()) + life_s
        return {"casUrl": f"local://{storage}", "accessToken": "t", "exp": until_s}

    there = XetStorage("http://127.0.0.1:9", stall_timeout_s=5, read_token=read_token)
    for start in (0, 2_000_000):
        with there.stream("acme/data", uploaded[1], len(WEIGHTS), start, start + 9) as stream:
            assert b"".join(stream.chunks) == WEIGHTS[start : start + 9]
    assert asked == ["acme/data"] * tokens


def test_a_read_that_waits_is_ended_by_another_thread(uploaded) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, ThreadPoolExecutor() as threads:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        login = {"casUrl": address, "accessToken": "t", "exp": int(time.time()) + 3600}
        there = XetStorage(address, stall_timeout_s=600, read_token=lambda _: login)
        with there.stream("acme/data", uploaded[1], len(WEIGHTS), 0, 9) as stream:
            reading = threads.submit(b"".join, stream.chunks)
            with silent.accept()[0]:  # it asks, so the read waits for an answer
                stream.cancel()
                with pytest.raises(TemporaryFetchError):
                    reading.result(timeout=30)


def test_a_killed_download_goes_on(program, clean_environment, download, hub, tmp_path) -> None:
    settings = {"HF_ENDPOINT": hub.url, "HF_TOKEN": "hub-secret", "NIMCTL_PROGRESS": "json"}
    words = ["nimctl", "download", "hf://acme/data", "--xet", "--limit-rate", "1MB/s"]
    child = program.start(words, clean_environment | settings, tmp_path)
    with closing(child):
        for line in child.stderr:
            event = json.loads(line) if line.startswith("{") else {"event": None}
            if event["event"] == "advanced" and event["done_bytes"] > 1_200_000:
                break
        child.send_signal(signal.SIGKILL)
        child.wait()
    check_nothing_shows(tmp_path)
    plan = download("--xet", "--dry-run", "--json")
    (document,) = json.loads(plan.stdout)["plans"]
    assert document["download_bytes"] < document["total_bytes"]
    result = download("--xet")
    assert (Path(result.stdout.strip()) / NAME).read_bytes() == WEIGHTS


@pytest.mark.parametrize("url", ["http://169.254.169.254/", "http://storage.example", "ftp://x"])
def test_a_hub_that_leads_elsewhere_is_refused(download, hub, tmp_path, url) -> None:
    hub.xet_url = url
    result = download("--xet")
    assert (result.returncode, "refused" in result.stderr) == (4, True), result.stderr
    assert hub.requests("storage") == []
    assert not any(path.name == NAME for path in tmp_path.rglob("*"))


@pytest.mark.parametrize(
    ("hub", "storage", "is_let"),
    [
        ("https://hub.example", "https://203.0.114.9/cas", True),
        ("https://hub.example", "local:///etc", False),
        ("https://hub.example", "http://203.0.114.9/cas", False),
        ("https://8.8.8.8", "https://127.0.0.1/cas", False),
        ("https://8.8.8.8", "https://10.0.0.1/cas", False),
        ("https://10.0.0.2", "https://10.0.0.1/cas", True),
        ("https://10.0.0.2", "http://10.0.0.2/cas", False),
        ("https://10.0.0.2", "local:///var/cas", False),
        ("https://8.8.8.8", "https://[fe80::1]/cas", False),
        ("https://8.8.8.8", "https:///cas", False),
        ("http://127.0.0.1:9", "http://127.0.0.1:10/cas", True),
        ("http://127.0.0.1:9", "http://8.8.8.8/cas", False),
        ("http://[::1]:9", "local:///var/cas", True),
    ],
)
def test_which_storages_a_hub_may_name(hub, storage, is_let) -> None:
    if is_let:
        check_storage_address(hub, storage)
    else:
        with pytest.raises(FetchError, match="refused"):
            check_storage_address(hub, storage)


def test_without_the_package_its_name_is_told(run_anew, tmp_path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "hf_xet.py").touch()
    old = os.fspath(tmp_path / "old")
    result = run_anew("download", "hf://acme/data", "--xet", PYTHONPATH=old)
    assert (result.returncode, "pip install 'hf-xet" in result.stderr) == (2, True), result.stderr
