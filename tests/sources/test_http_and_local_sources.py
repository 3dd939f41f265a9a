"""One file from a web server, and files of this machine, through the cache."""

import hashlib
import os
import random
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from email.utils import formatdate
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
from fake_hub import FakeHub, Fault

from nimctl.cache import Cache, FetchRequest, RetryPolicy
from nimctl.cache.upkeep import Upkeep
from nimctl.core.source import SCHEMES, Source, SourceChangedError, SourceUri, parse_source_uri
from nimctl.errors import FetchError, InputError
from nimctl.sources import SOURCES, SourceAccess, open_source
from nimctl.sources.http_failures import retry_after_s

CONTENT = random.Random(4).randbytes(150_000)


def make_source(uri: SourceUri) -> Source:
    access = SourceAccess(scratch_folder=Path("unused"), python=Path(sys.executable))
    return open_source(uri, access)


def make_cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache", patience=RetryPolicy(attempts=3, first_wait_s=0.01))


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub() as hub:
        hub.add_model("files/model.gguf", {"x": CONTENT})
        yield hub


@pytest.fixture
def address(hub: FakeHub) -> SourceUri:
    return parse_source_uri(f"{hub.storage_url}/files/model.gguf?path=x")


def test_a_web_file_is_brought(tmp_path: Path, address: SourceUri) -> None:
    cache = make_cache(tmp_path)
    with closing(make_source(address)) as source:
        entry = cache.fetch(FetchRequest(uri=address), source)
        assert (entry.path / "model.gguf").read_bytes() == CONTENT
        assert cache.fetch(FetchRequest(uri=address), source) == entry


def test_a_web_file_that_changed_is_not_gone_on_with(hub: FakeHub, address: SourceUri) -> None:
    with closing(make_source(address)) as source:
        listing = source.list_files(address)
        (file,) = listing.files
        with source.open(listing, file, 100_000) as stream:
            assert b"".join(stream.chunks) == CONTENT[100_000:]
        hub.models["files/model.gguf"].files["x"] = CONTENT[::-1]
        with pytest.raises(SourceChangedError), source.open(listing, file, 100_000):
            pass
    asked = hub.requests("storage")[-1].headers
    assert asked["range"] == "bytes=100000-"
    assert asked["if-range"] == file.version


def test_an_address_with_a_password_is_not_used() -> None:
    uri = parse_source_uri("https://me:secret@127.0.0.1/model.gguf")
    with closing(make_source(uri)) as source, pytest.raises(InputError) as caught:
        source.list_files(uri)
    assert "secret" not in caught.value.message


def test_a_redirect_to_another_kind_of_address_is_refused(hub: FakeHub, address: SourceUri) -> None:
    elsewhere = {"Location": "ftp://127.0.0.1/model.gguf"}
    hub.add_fault("x", Fault(kind="status", status=302, headers=elsewhere))
    with closing(make_source(address)) as source, pytest.raises(FetchError, match="insecure"):
        source.list_files(address)


def test_redirects_in_a_circle_end(hub: FakeHub, address: SourceUri) -> None:
    itself = {"Location": str(address)}
    hub.add_fault("x", Fault(kind="status", status=302, headers=itself, times=1000))
    with closing(make_source(address)) as source, pytest.raises(FetchError, match="8 times"):
        source.list_files(address)


def test_the_wait_a_server_asks_for_is_understood() -> None:
    assert retry_after_s({"Retry-After": "12"}) == 12.0
    assert retry_after_s({"Retry-After": formatdate(time.time() + 60, usegmt=True)}) == (
        pytest.approx(60, abs=5)
    )
    assert retry_after_s({"Retry-After": "soon"}) is None
    assert retry_after_s({"RateLimit": '"api";r=0;t=55'}) == 55.0
    assert retry_after_s({}) is None


def test_a_folder_is_brought_with_links_to_files_resolved(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / ".git").mkdir()
    (folder / ".git" / "HEAD").write_text("ref")
    (folder / "sub" / "b.gguf").write_bytes(CONTENT)
    (folder / "a.gguf").symlink_to(folder / "sub" / "b.gguf")
    uri = parse_source_uri(str(folder))
    cache = make_cache(tmp_path)
    with closing(make_source(uri)) as source:
        entry = cache.fetch(FetchRequest(uri=uri), source)
    assert [file.path for file in entry.files] == ["a.gguf", "sub/b.gguf"]
    assert (entry.path / "a.gguf").read_bytes() == CONTENT
    assert Upkeep(cache).usage().blob_bytes == len(CONTENT)


def test_a_local_file_that_changes_is_brought_again(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"old")
    uri = parse_source_uri(f"file://{path}")
    cache = make_cache(tmp_path)
    with closing(make_source(uri)) as source:
        cache.fetch(FetchRequest(uri=uri), source)
        path.write_bytes(b"new")
        os.utime(path, ns=(1, 1))
        entry = cache.fetch(FetchRequest(uri=uri), source)
    assert (entry.path / "model.gguf").read_bytes() == b"new"
    assert entry.files[0].sha256 == hashlib.sha256(b"new").hexdigest()


def test_a_path_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    uri = parse_source_uri(str(tmp_path / "none"))
    with closing(make_source(uri)) as source, pytest.raises(FetchError, match="neither"):
        source.list_files(uri)


def test_every_scheme_of_an_address_has_a_source() -> None:
    assert set(SOURCES) == set(SCHEMES)


@pytest.mark.parametrize("name", sorted(set(SOURCES.values())))
def test_every_source_that_is_named_is_there(name: str) -> None:
    module, _, kind = name.partition(".")
    assert callable(getattr(import_module(f"nimctl.sources.{module}"), kind))


def test_a_store_whose_library_is_not_installed_is_told_with_the_command() -> None:
    if find_spec("obstore") is not None:
        pytest.skip("obstore is installed")
    uri = parse_source_uri("s3://bucket/model")
    with closing(make_source(uri)) as source, pytest.raises(InputError, match="obstore") as caught:
        source.list_files(uri)
    assert caught.value.hint == "pip install 'nimctl[object-stores]'"
