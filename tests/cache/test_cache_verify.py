"""The whole cache is looked at without a network; what is damaged is named and fetched again."""

from collections.abc import Callable
from pathlib import Path

import pytest
from cache_stock import HOURS_S, QUICK, SHARED, WEIGHTS, Stock, edit, make_older, read_files
from fake_hub import FakeHub

from nimctl.cache import Cache, FetchAdvanced, Progress
from nimctl.cache.upkeep import Condition, PruneRequest
from nimctl.errors import FetchError

TOY = {"model.safetensors": WEIGHTS, "tokenizer.json": SHARED}
OTHER = {"other.safetensors": WEIGHTS[::-1], "tokenizer.json": SHARED}


@pytest.fixture
def stock(hub: FakeHub, tmp_path: Path) -> Stock:
    stock = Stock(hub=hub, cache=Cache(tmp_path / "cache", patience=QUICK))
    stock.add("acme/toy", TOY)
    stock.add("acme/other", OTHER)
    return stock


def flip(path: Path) -> None:
    edit(path, bytes([WEIGHTS[0] ^ 1]) + WEIGHTS[1:])


def flip_unseen(path: Path) -> None:
    """As a failing disk does: the look stays."""
    import os

    facts = path.lstat()
    flip(path)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def cut(path: Path) -> None:
    edit(path, b"half")


def test_a_whole_cache_is_looked_at_and_not_hashed(stock: Stock) -> None:
    found = stock.verify()
    assert (found.faults, found.strays, found.unreadable) == ((), (), ())
    assert (found.entries, found.files, found.hashed_bytes) == (2, 3, 0)
    assert found.size_bytes == stock.upkeep.usage().blob_bytes


def test_deep_hashes_every_file_once_and_tells_how_far_it_is(stock: Stock) -> None:
    events: list[Progress] = []
    found = stock.upkeep.verify(None, events.append, deep=True)
    assert found.faults == ()
    assert found.hashed_bytes == found.size_bytes
    told = [event.done_bytes for event in events if isinstance(event, FetchAdvanced)]
    assert told == sorted(told)
    assert told[-1] == found.size_bytes


@pytest.mark.parametrize(
    ("damage", "condition"),
    [(flip, Condition.CHANGED), (cut, Condition.CUT), (Path.unlink, Condition.MISSING)],
)
def test_what_is_damaged_is_named_and_brought_again_alone(
    stock: Stock, damage: Callable[[Path], None], condition: Condition
) -> None:
    damage(stock.blob(WEIGHTS))
    seen = len(stock.hub.seen)
    (fault,) = stock.verify().faults
    assert len(stock.hub.seen) == seen
    assert (fault.file.path, fault.condition) == ("model.safetensors", condition)
    assert fault.record is not None
    assert fault.record.key == stock.key("acme/toy")
    served = stock.hub.served("acme/toy", "tokenizer.json")
    with stock.source() as source:
        stock.upkeep.repair([fault], source)
    assert stock.hub.served("acme/toy", "tokenizer.json") == served
    assert stock.verify(deep=True).faults == ()
    assert read_files(stock.fetch("acme/toy", offline=True)) == TOY
    assert len(stock.cache.entries()) == 2


def test_only_deep_finds_what_keeps_its_look(stock: Stock) -> None:
    flip_unseen(stock.blob(WEIGHTS))
    assert stock.verify().faults == ()
    (fault,) = stock.verify(deep=True).faults
    assert (fault.file.path, fault.condition) == ("model.safetensors", Condition.CHANGED)


def test_a_file_that_two_entries_share_is_brought_once(stock: Stock) -> None:
    edit(stock.blob(SHARED), bytes(len(SHARED)))
    faults = stock.verify().faults
    assert [fault.file.path for fault in faults] == ["tokenizer.json"] * 2
    with stock.source() as source:
        for fault in faults:
            stock.upkeep.repair([fault], source)
    assert stock.verify(deep=True).faults == ()
    assert read_files(stock.fetch("acme/toy", offline=True)) == TOY
    assert read_files(stock.fetch("acme/other", offline=True)) == OTHER


def test_a_name_that_another_file_has_taken_is_put_right(stock: Stock) -> None:
    entry = stock.fetch("acme/toy")
    name = entry.path / "model.safetensors"
    name.unlink()
    name.write_bytes(bytes(len(WEIGHTS)))
    (fault,) = stock.verify().faults
    assert fault.condition is Condition.MISPLACED
    with stock.source() as source:
        stock.upkeep.repair([fault], source)
    assert stock.verify().faults == ()
    name.unlink()
    assert [fault.condition for fault in stock.verify().faults] == [Condition.NAMELESS]


def test_what_cannot_be_brought_again_is_an_error(stock: Stock) -> None:
    flip(stock.blob(WEIGHTS))
    faults = stock.verify().faults
    stock.hub.models.pop("acme/toy")
    with stock.source() as source, pytest.raises(FetchError):
        stock.upkeep.repair(faults, source)
    (fault,) = stock.verify().faults
    assert fault.condition is Condition.MISSING


def test_only_the_entries_that_were_asked_for_are_looked_at(stock: Stock) -> None:
    flip(stock.blob(WEIGHTS))
    found = stock.upkeep.verify({stock.key("acme/other")}, deep=True)
    assert (found.faults, found.entries) == ((), 1)


def test_what_leads_to_nothing_is_told(stock: Stock) -> None:
    root = stock.cache.root
    entry = stock.fetch("acme/toy")
    record = root / "models" / f"{stock.key('acme/toy')}.json"
    record.write_text("{")
    for folder in (entry.path, stock.stamp(WEIGHTS).parent):
        make_older(folder, 2 * HOURS_S)
    found = stock.verify(deep=True)
    assert found.unreadable == (record,)
    assert (found.entries, found.files) == (1, 3)
    assert found.strays == ()
    record.unlink()
    flip(stock.blob(WEIGHTS))
    found = stock.verify()
    assert set(found.strays) == {entry.path / name for name in TOY}
    assert [(one.record, one.condition) for one in found.faults] == [(None, Condition.CHANGED)]
    make_older(stock.blob(WEIGHTS), 2 * HOURS_S)
    stock.upkeep.prune(PruneRequest())
    found = stock.verify()
    assert (found.strays, found.faults) == ((), ())
