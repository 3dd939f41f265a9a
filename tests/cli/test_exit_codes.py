"""Each kind of failure ends `nimctl` with a code of its own, which scripts can act on."""

import json
import re
from pathlib import Path

import pytest
from bare_weights import SMALL, llama_tensors, safetensors_file
from fake_hub import FakeHub, Fault

from nimctl import errors
from nimctl.cache import Cache

WEIGHTS = "model.safetensors"
FILES = {
    "config.json": json.dumps(SMALL).encode(),
    WEIGHTS: safetensors_file(llama_tensors(SMALL)),
}


@pytest.fixture
def run(run_here):
    """A child for each of so many calls would take a minute."""
    return run_here


@pytest.fixture
def hub():
    with FakeHub() as hub:
        hub.add_model("acme/toy", FILES)
        yield hub


@pytest.fixture
def download(run, hub):
    return lambda *asked, **more: run(
        "download", "--include", "*", *asked, **{"HF_ENDPOINT": hub.url} | more
    )


def test_each_code_has_one_meaning_and_the_readme_tells_it():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    own = {kind: kind.exit_code for kind in kinds if "exit_code" in vars(kind)}
    assert len(set(own.values())) == len(own)
    readme = Path(__file__).parents[2].joinpath("README.md").read_text()
    table = readme.partition("### Exit codes")[2].partition("###")[0]
    told = {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)}
    assert {code for kind, code in own.items() if kind is not errors.NimctlError} | {0} == told


def test_a_licence_to_accept(download, hub):
    hub.models["acme/toy"].gated = True
    result = download("hf://acme/toy")
    assert (result.returncode, "accept the licence" in result.stderr) == (7, True)


@pytest.mark.parametrize("code", [401, 403])
def test_a_web_address_that_wants_a_login(download, hub, code):
    address = f"{hub.storage_url}/acme/toy?path={WEIGHTS}"
    hub.add_fault(WEIGHTS, Fault(kind="status", status=code, times=99))
    result = download(address)
    assert result.returncode == 7
    assert f"127.0.0.1/acme/toy refuses access (status {code})" in result.stderr
    assert "name the file" in result.stderr
    assert len(hub.refused_s) == 1


def test_a_web_address_that_leads_to_a_login(download, hub):
    address = f"{hub.storage_url}/acme/toy?path={WEIGHTS}"
    there = {"Location": address.replace("127.0.0.1", "localhost")}
    hub.add_fault(WEIGHTS, Fault(kind="status", status=302, headers=there))
    hub.add_fault(WEIGHTS, Fault(kind="status", status=401, times=99))
    result = download(address)
    assert (result.returncode, "localhost/acme/toy refuses access" in result.stderr) == (7, True)
    assert len(hub.refused_s) == 2


@pytest.mark.parametrize(
    "missing", ["hf://acme/toy:v2", "hf://acme/toy?file=nothing.bin", "/nowhere/at/all"]
)
def test_what_is_not_there(download, missing):
    assert download(missing).returncode == 8


def test_a_busy_server(download, hub):
    hub.add_fault(WEIGHTS, Fault(kind="status", status=503, headers={"Retry-After": "4000"}))
    result = download("hf://acme/toy")
    assert (result.returncode, "503" in result.stderr) == (9, True)


def test_offline_and_not_here(download):
    assert download("hf://acme/toy", "--offline").returncode == 9


def test_too_little_room(download, hub):
    hub.tree = [
        {"type": "file", "path": "a.bin", "size": 2**60, "oid": "0" * 40,
         "lfs": {"oid": "0" * 64, "size": 2**60, "pointerSize": 134}}
    ]  # fmt: skip
    result = download("hf://acme/toy", "--allow-pickle")
    assert (result.returncode, "room" in result.stderr) == (10, True), result.stderr


def test_bytes_that_are_not_the_published_ones(download, hub):
    hub.add_fault(WEIGHTS, Fault(kind="corrupt", after_bytes=70_000, times=99))
    result = download("hf://acme/toy")
    assert (result.returncode, "is not the published file" in result.stderr) == (11, True)


def test_damage_that_verify_finds_and_what_is_pinned(download, run):
    folder = Path(download("hf://acme/toy").stdout.strip())
    assert run("cache", "verify").returncode == 0
    (folder / WEIGHTS).chmod(0o600)
    (folder / WEIGHTS).write_bytes(b"damage")
    assert run("cache", "verify").returncode == 11
    run("cache", "pin", "acme/toy")
    assert run("cache", "rm", "acme/toy", "--yes").returncode == 13


def test_what_is_in_use_is_not_removed(download, run, tmp_path):
    download("hf://acme/toy")
    cache = Cache(tmp_path / "cache")
    (entry,) = cache.entries()
    with cache.lease(entry.path, entry.files, "a test"):
        result = run("cache", "rm", "acme/toy", "--yes")
    assert (result.returncode, "is in use by" in result.stderr) == (13, True)
