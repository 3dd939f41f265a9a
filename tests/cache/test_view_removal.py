"""Removing an entry removes it from the views of the cache, and gives the disk its bytes back."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from cache_stock import QUICK, SHARED, WEIGHTS, Stock
from fake_hub import FakeHub

from nimctl.cache import Cache, CacheEntry
from nimctl.cache.views import write_hub_view, write_nim_view

FILES = {"config.json": b"{}", "model.safetensors": WEIGHTS, "sub/shared.txt": SHARED}
OTHER = {"config.json": b"[]", "shared.txt": SHARED}


@pytest.fixture
def stock(tmp_path: Path) -> Iterator[Stock]:
    with FakeHub() as hub:
        yield Stock(hub=hub, cache=Cache(tmp_path / "cache", patience=QUICK))


def show(stock: Stock, entry: CacheEntry) -> None:
    root = stock.cache.root
    write_hub_view(root, entry, root / "views" / "hf")
    write_nim_view(root, entry, root / "views" / "nim")


def views(stock: Stock) -> set[str]:
    top = stock.cache.root / "views"
    shown = (path for path in top.rglob("*") if not path.is_dir() and path.name != "CACHEDIR.TAG")
    return {str(path.relative_to(top)) for path in shown}


def used_bytes(root: Path) -> int:
    facts = [path.lstat() for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
    return sum({one.st_ino: one.st_size for one in facts}.values())


def test_a_removed_model_is_in_no_view_and_its_room_comes_back(stock: Stock) -> None:
    for name, files in (("acme/toy", FILES), ("acme/other", OTHER)):
        show(stock, stock.add(name, files))
    before_bytes = used_bytes(stock.cache.root / "blobs")
    key = stock.key("acme/toy")
    planned = stock.upkeep.plan_removal({key})
    removal = stock.upkeep.remove({key})
    assert planned.freed_bytes == removal.freed_bytes == len(WEIGHTS) + len(FILES["config.json"])
    assert used_bytes(stock.cache.root / "blobs") == before_bytes - removal.freed_bytes
    assert not any("toy" in name for name in views(stock))
    assert not (stock.cache.root / "views" / "hf" / "hub" / "models--acme--toy").exists()
    assert any(name.endswith("shared.txt") for name in views(stock))
    for name in views(stock):
        assert (stock.cache.root / "views" / name).exists(), "a link that hangs"


def test_what_a_tool_brought_into_its_view_stays(stock: Stock) -> None:
    show(stock, stock.add("acme/toy", FILES))
    repository = stock.cache.root / "views" / "hf" / "hub" / "models--acme--toy"
    own = random.Random(3).randbytes(100)
    (repository / "blobs" / "theirs").write_bytes(own)
    newer = repository / "snapshots" / ("d" * 40)
    newer.mkdir()
    (newer / "theirs.bin").symlink_to("../../blobs/theirs")
    shared = next(p.name for p in (repository / "blobs").iterdir() if p.stat().st_size == 50_000)
    (newer / "shared.txt").symlink_to(f"../../blobs/{shared}")
    (repository / "refs").mkdir(exist_ok=True)
    (repository / "refs" / "pr").write_text("d" * 40)
    stock.upkeep.remove({stock.key("acme/toy")})
    assert {p.name for p in newer.iterdir()} == {"theirs.bin", "shared.txt"}
    assert (newer / "theirs.bin").read_bytes() == own
    assert (newer / "shared.txt").read_bytes() == SHARED
    assert [p.name for p in (repository / "refs").iterdir()] == ["pr"]
    assert [p.name for p in (repository / "snapshots").iterdir()] == ["d" * 40]


def test_another_revision_and_another_choice_stay(stock: Stock) -> None:
    first = stock.add("acme/toy", FILES)
    second = stock.add("acme/toy", FILES | {"config.json": b"{ }"})
    for entry in (first, second):
        show(stock, entry)
    stock.upkeep.remove({f"hf/acme/toy/{first.revision}"})
    hub = stock.cache.root / "views" / "hf" / "hub" / "models--acme--toy"
    assert [path.name for path in (hub / "snapshots").iterdir()] == [second.revision]
    files = [path for path in (hub / "snapshots").rglob("*") if path.is_file()]
    read = {path.name: path.read_bytes() for path in files}
    assert read == {"config.json": b"{ }", "model.safetensors": WEIGHTS, "shared.txt": SHARED}


def test_links_that_lead_out_of_the_views_are_left_alone(stock: Stock, tmp_path: Path) -> None:
    entry = stock.add("acme/toy", FILES)
    show(stock, entry)
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious")
    hub = stock.cache.root / "views" / "hf" / "hub" / "models--acme--toy"
    name = hub / "snapshots" / entry.revision / "config.json"
    name.unlink()
    name.symlink_to(outside)
    nim = stock.cache.root / "views" / "nim" / "huggingface" / "hub" / "models--acme--toy"
    elsewhere = tmp_path / "elsewhere"
    nim.rename(elsewhere)
    nim.symlink_to(elsewhere)
    stock.upkeep.remove({stock.key("acme/toy")})
    assert outside.read_bytes() == b"precious"
    assert any(path.is_symlink() for path in elsewhere.rglob("*"))
