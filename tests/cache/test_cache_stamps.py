"""What is here is used after a look; what was touched is hashed, and fetched again if wrong."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from cache_stock import HOURS_S, QUICK, WEIGHTS, Stock, edit, make_older, read_files, sha256_of
from fake_hub import FakeHub

from nimctl.cache import Cache
from nimctl.cache.layout import Layout
from nimctl.cache.stamps import is_stamped, read_stamp, stamp_blob
from nimctl.core.source import parse_source_uri
from nimctl.errors import DigestMismatchError, FetchError

FILES = {"config.json": b"{}", "model.safetensors": WEIGHTS}
NAME = "acme/toy"


@pytest.fixture
def stock(hub: FakeHub, tmp_path: Path) -> Stock:
    stock = Stock(hub=hub, cache=Cache(tmp_path / "cache", patience=QUICK))
    stock.add(NAME, FILES)
    return stock


def verified_at_s(stock: Stock) -> float:
    """When the weights were last hashed: whoever hashes stamps."""
    stamp = read_stamp(Layout(root=stock.cache.root), sha256_of(WEIGHTS))
    assert stamp is not None
    return stamp.verified_at_s


def test_a_stamp_says_what_was_seen_and_whence(stock: Stock) -> None:
    stamp = read_stamp(Layout(root=stock.cache.root), sha256_of(WEIGHTS))
    assert stamp is not None
    facts = stock.blob(WEIGHTS).lstat()
    assert (stamp.size_bytes, stamp.mtime_ns) == (len(WEIGHTS), facts.st_mtime_ns)
    assert stamp.inode == facts.st_ino
    assert stamp.origins == (str(stock.request(NAME).uri),)


def test_an_origin_holds_no_secret(stock: Stock) -> None:
    layout = Layout(root=stock.cache.root)
    uri = parse_source_uri("https://me:secret@example.org/a/b.gguf?signature=secret#secret")
    stamp_blob(layout, sha256_of(WEIGHTS), uri)
    text = stock.stamp(WEIGHTS).read_text()
    assert "https://example.org/a/b.gguf" in text
    assert "secret" not in text


def test_a_hit_writes_nothing(stock: Stock) -> None:
    root = stock.cache.root
    before = {path: path.lstat().st_ctime_ns for path in root.rglob("*")}
    stock.fetch(NAME)
    assert {path: path.lstat().st_ctime_ns for path in root.rglob("*")} == before


def touch_later(path: Path) -> None:
    make_older(path, -HOURS_S)


def restore(path: Path) -> None:
    """As a backup brings it back: the same bytes in another file."""
    shutil.copy2(path, path.with_suffix(".copy"))
    path.with_suffix(".copy").replace(path)


@pytest.mark.parametrize("change", [touch_later, restore])
def test_what_looks_changed_and_is_right_is_hashed_once(
    stock: Stock, change: Callable[[Path], None]
) -> None:
    before_s = verified_at_s(stock)
    change(stock.blob(WEIGHTS))
    served = dict(stock.hub.sent_bytes)
    assert read_files(stock.fetch(NAME)) == FILES
    then_s = verified_at_s(stock)
    assert then_s > before_s
    assert read_files(stock.fetch(NAME)) == FILES
    assert verified_at_s(stock) == then_s
    assert stock.hub.sent_bytes == served


@pytest.mark.parametrize("text", [None, "{", '{"size_bytes": 1}', "[]", "null"])
def test_a_cache_without_stamps_is_hashed_once(stock: Stock, text: str | None) -> None:
    stamp = stock.stamp(WEIGHTS)
    stamp.unlink()
    if text is not None:
        stamp.write_text(text)
    stock.fetch(NAME)
    then_s = verified_at_s(stock)
    stock.fetch(NAME)
    assert verified_at_s(stock) == then_s


def flip(path: Path) -> None:
    edit(path, bytes([WEIGHTS[0] ^ 1]) + WEIGHTS[1:])


def cut(path: Path) -> None:
    edit(path, WEIGHTS[:1000])


def replace_by_another(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(bytes(len(WEIGHTS)))
    other.replace(path)


@pytest.mark.parametrize("through", ["blob", "name"])
@pytest.mark.parametrize("change", [flip, cut, replace_by_another])
def test_changed_bytes_are_never_used(
    stock: Stock, through: str, change: Callable[[Path], None]
) -> None:
    entry = stock.fetch(NAME)
    change(stock.blob(WEIGHTS) if through == "blob" else entry.path / "model.safetensors")
    assert read_files(stock.fetch(NAME)) == FILES
    assert stock.blob(WEIGHTS).read_bytes() == WEIGHTS
    assert (entry.path / "model.safetensors").samefile(stock.blob(WEIGHTS))
    assert is_stamped(Layout(root=stock.cache.root), sha256_of(WEIGHTS), len(WEIGHTS))


def test_an_edit_through_another_folder_is_found(stock: Stock, tmp_path: Path) -> None:
    view = tmp_path / "view.safetensors"
    view.hardlink_to(stock.blob(WEIGHTS))
    flip(view)
    assert read_files(stock.fetch(NAME)) == FILES
    assert len(list((stock.cache.root / "quarantine").iterdir())) == 1


def test_a_damaged_file_that_another_model_shares_is_replaced_for_both(stock: Stock) -> None:
    other = stock.add("acme/other", {"weights.safetensors": WEIGHTS})
    flip(stock.blob(WEIGHTS))
    stock.fetch(NAME)
    assert read_files(stock.fetch("acme/other")) == {"weights.safetensors": WEIGHTS}
    assert (other.path / "weights.safetensors").samefile(stock.blob(WEIGHTS))


def test_offline_a_damaged_file_is_an_error_that_names_it(stock: Stock) -> None:
    flip(stock.blob(WEIGHTS))
    before = len(stock.hub.seen)
    with pytest.raises(DigestMismatchError, match=r"model\.safetensors of hf://acme/toy.* changed"):
        stock.fetch(NAME, offline=True)
    assert not stock.blob(WEIGHTS).exists()
    with pytest.raises(FetchError, match="is not in the cache"):
        stock.fetch(NAME, offline=True)
    assert len(stock.hub.seen) == before
    assert read_files(stock.fetch(NAME)) == FILES


def test_a_blob_that_only_its_name_still_holds_is_taken_back(stock: Stock) -> None:
    stock.blob(WEIGHTS).unlink()
    served = dict(stock.hub.sent_bytes)
    assert read_files(stock.fetch(NAME, offline=True)) == FILES
    assert stock.blob(WEIGHTS).exists()
    assert stock.hub.sent_bytes == served


def test_a_planted_stamp_or_blob_is_not_followed(stock: Stock, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(bytes(len(WEIGHTS)))
    stamp = stock.stamp(WEIGHTS)
    facts = victim.lstat()
    (tmp_path / "stamp").write_text(
        json.dumps(
            {
                "size_bytes": len(WEIGHTS),
                "mtime_ns": facts.st_mtime_ns,
                "inode": facts.st_ino,
                "verified_at_s": 0,
                "origins": [],
            }
        )
    )
    stamp.unlink()
    stamp.symlink_to(tmp_path / "stamp")
    stock.blob(WEIGHTS).unlink()
    (stock.fetch(NAME).path / "model.safetensors").unlink()
    stock.blob(WEIGHTS).unlink()
    stock.blob(WEIGHTS).symlink_to(victim)
    assert read_files(stock.fetch(NAME)) == FILES
    assert victim.read_bytes() == bytes(len(WEIGHTS))
    assert not stock.blob(WEIGHTS).is_symlink()


def test_a_record_cannot_lead_out_of_the_cache(stock: Stock, tmp_path: Path) -> None:
    (record,) = (stock.cache.root / "models").rglob("*.json")
    document = json.loads(record.read_text())
    for path in ("../../../etc", str(tmp_path)):
        record.write_text(json.dumps({**document, "path": path}))
        (entry,) = stock.cache.entries()
        assert entry.path.is_relative_to(stock.cache.root / "snapshots")
    for bad in ({"path": "../x"}, {"path": "/x"}, {"sha256": "../../x"}, {"size_bytes": "1"}):
        files = [{**document["files"][0], **bad}]
        record.write_text(json.dumps({**document, "files": files}))
        assert stock.cache.entries() == ()
    record.unlink()
    record.symlink_to(tmp_path / "record.json")
    (tmp_path / "record.json").write_text(json.dumps(document))
    assert stock.cache.entries() == ()
