"""Bytes from a mirror: what they must be is the publisher's word, and no token goes there."""

import hashlib
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import pytest
from fake_hub import FakeHub

from nimctl.cache import Cache, FetchRequest
from nimctl.cli.mirroring import open_mirror
from nimctl.core.source import Digest, PinnedFile, parse_source_uri
from nimctl.errors import DigestMismatchError
from nimctl.sources import SourceAccess

TOKEN = "hf_secret"
FILES = {"README.md": b"small", "data.parquet": b"PAR1" * 50_000}


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub(token=TOKEN) as hub:
        hub.add_model("acme/data", FILES)
        yield hub


@pytest.fixture
def mirror() -> Iterator[FakeHub]:
    with FakeHub() as mirror:
        mirror.add_model("acme/data", FILES)
        yield mirror


def read_all(folder: str) -> dict[str, bytes]:
    top = Path(folder.strip())
    return {
        str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()
    }


def test_bytes_come_from_the_mirror_and_digests_from_the_publisher(run, hub, mirror):
    asked = {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "NIM_REPOSITORY_OVERRIDE": mirror.url}
    result = run("download", "hf://acme/data", **asked)
    assert result.returncode == 0, result.stderr
    assert read_all(result.stdout) == FILES
    assert f"the bytes come from {mirror.url}" in result.stderr
    assert hub.served("acme/data", "data.parquet") == 0
    assert all("authorization" not in one.headers for one in mirror.seen)
    assert any("authorization" in one.headers for one in hub.seen)


def test_a_mirror_with_other_bytes_is_found_out(run, hub, mirror):
    mirror.add_model("acme/data", FILES | {"data.parquet": b"EVIL" * 50_000})
    commit = hub.models["acme/data"].commit
    mirror.models["acme/data"].commit = commit
    asked = {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN}
    result = run("download", "hf://acme/data", "--mirror", mirror.url, **asked)
    assert result.returncode == 11
    assert "is not the published file" in result.stderr
    assert result.stdout == ""


def test_where_the_publisher_cannot_be_asked_it_is_said_what_was_not_checked(run, mirror):
    asked = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_TOKEN": TOKEN}
    result = run("download", "hf://acme/data", "--mirror", f"hf://={mirror.url}", **asked)
    assert result.returncode == 0, result.stderr
    assert read_all(result.stdout) == FILES
    assert "no files of hf://acme/data are checked against published digests" in result.stderr
    assert all("authorization" not in one.headers for one in mirror.seen)


@pytest.mark.parametrize("layout", ["acme/data/{}", "acme/data/main/{}"])
def test_a_mirror_that_is_a_folder(run, hub, tmp_path, layout):
    for path, content in FILES.items():
        place = tmp_path / "mirror" / layout.format(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    asked = {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN}
    mirror = f"hf://acme={(tmp_path / 'mirror').as_uri()}"
    result = run("download", "hf://acme/data:main", "--mirror", mirror, **asked)
    assert result.returncode == 0, result.stderr
    assert read_all(result.stdout) == FILES
    assert hub.served("acme/data", "data.parquet") == 0
    (tmp_path / "mirror" / layout.format("data.parquet")).write_bytes(b"EVIL" * 50_000)
    again = ("--cache-dir", str(tmp_path / "other"))
    tampered = run("download", "hf://acme/data:main", "--mirror", mirror, *again, **asked)
    assert (tampered.returncode, tampered.stdout) == (11, "")


def test_a_mirror_in_nims_own_layout(run, tmp_path):
    for path, content in FILES.items():
        key = quote(f"nim/acme/data:1.0?file={path}", safe="")
        place = tmp_path / "bucket" / key
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(content)
    asked = {
        "NIM_REPOSITORY_OVERRIDE": (tmp_path / "bucket").as_uri() + "/",
        "HTTPS_PROXY": "http://127.0.0.1:9",  # NGC is not asked by a test
    }
    result = run("download", "ngc://nim/acme/data:1.0", "--include", "*", **asked)
    assert result.returncode == 0, result.stderr
    assert read_all(result.stdout) == FILES
    assert "no files of ngc://nim/acme/data:1.0 are checked" in result.stderr


def test_other_places_are_not_mirrored(run, hub, mirror):
    address = f"{hub.url}/acme/data/resolve/main/README.md"
    hub.token = None
    result = run("download", address, NIM_REPOSITORY_OVERRIDE=mirror.url)
    assert result.returncode == 0, result.stderr
    assert mirror.seen == []


def test_what_is_pinned_needs_no_publisher(mirror, tmp_path):
    pinned = tuple(
        PinnedFile(
            path=path,
            size_bytes=len(content),
            digest=Digest(algorithm="sha256", hex=hashlib.sha256(content).hexdigest()),
        )
        for path, content in FILES.items()
    )
    request = FetchRequest(uri=parse_source_uri("hf://acme/data:main"), pinned=pinned)
    access = SourceAccess(
        scratch_folder=tmp_path, python=Path(sys.executable), hf_endpoint="http://127.0.0.1:9"
    )
    told: list[str] = []
    with closing(open_mirror(request.uri, mirror.url, access, request, told.append)) as source:
        entry = Cache(tmp_path / "one").fetch(request, source)
        assert read_all(str(entry.path)) == FILES
        mirror.models["acme/data"].files["data.parquet"] = b"EVIL" * 50_000
        with pytest.raises(DigestMismatchError):
            Cache(tmp_path / "two").fetch(request, source)
    assert told == []


def test_offline_no_mirror_is_asked(run, mirror):
    brought = run("download", "hf://acme/data", HF_ENDPOINT=mirror.url)
    before = len(mirror.seen)
    again = run("download", "hf://acme/data", "--offline", "--mirror", mirror.url)
    assert (again.returncode, again.stdout) == (0, brought.stdout), again.stderr
    assert len(mirror.seen) == before


@pytest.mark.parametrize("address", ["jfrog://host", "nowhere"])
def test_a_mirror_that_cannot_be_used_is_said(run, address):
    result = run("download", "hf://acme/data", "--include", "*", "--mirror", address)
    assert result.returncode == 2
    assert address in result.stderr
