"""File systems without hard links, and without links of any kind: copies are as good."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from cache_stock import QUICK, WEIGHTS, Stock, edit, read_files
from fake_hub import FakeHub

from nimctl.cache import Cache
from nimctl.cache.request import FetchRequest, sort_files
from nimctl.core.source import MAX_FILES, Listing, RemoteFile, parse_source_uri
from nimctl.errors import FetchError

FILES = {"config.json": b"{}", "deep/model.safetensors": WEIGHTS}


@pytest.fixture
def stock(tmp_path: Path) -> Iterator[Stock]:
    with FakeHub() as hub:
        yield Stock(hub=hub, cache=Cache(tmp_path / "cache", patience=QUICK))


@pytest.fixture(params=[("link",), ("link", "symlink")], ids=["no hard links", "no links"])
def missing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """What the system refuses, as FAT does."""

    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    for call in request.param:
        monkeypatch.setattr(os, call, refuse)
    return tuple(request.param)


def test_a_model_is_brought_found_mended_and_removed(
    stock: Stock, missing: tuple[str, ...]
) -> None:
    entry = stock.add("acme/toy", FILES)
    assert read_files(entry) == FILES
    is_link = (entry.path / "config.json").is_symlink()
    assert is_link is ("symlink" not in missing)
    served = stock.hub.served("acme/toy", "deep/model.safetensors")
    assert stock.fetch("acme/toy", offline=True) == entry
    edit(stock.blob(WEIGHTS), bytes(len(WEIGHTS)))
    assert read_files(stock.fetch("acme/toy")) == FILES
    assert stock.hub.served("acme/toy", "deep/model.safetensors") >= served + len(WEIGHTS)
    assert stock.verify(deep=True).faults == ()
    stock.upkeep.remove({stock.key("acme/toy")})
    assert not list(stock.cache.root.rglob("*.safetensors"))


def test_a_listing_without_end_is_refused() -> None:
    uri = parse_source_uri("hf://acme/toy")
    files = tuple(RemoteFile(path=f"{number}.json") for number in range(MAX_FILES + 1))
    with pytest.raises(FetchError, match="files; over"):
        sort_files(FetchRequest(uri=uri), Listing(uri=uri, revision="c", files=files))
