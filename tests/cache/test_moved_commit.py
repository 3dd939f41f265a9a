"""A repository that is changed while its files are on their way: the old ones, the new, no mix."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_hub import FakeHub, Fault
from forked_program import ForkedChild

from nimctl.cache import BLOCK_BYTES

SHARED = random.Random(0).randbytes(BLOCK_BYTES + 1)
FIRST, LAST = "1.safetensors", "3.safetensors"
Spawn = Callable[..., ForkedChild]


def files_of(seed: int) -> dict[str, bytes]:
    """What a commit holds: one file is in all of them."""
    sizes = {FIRST: 2 * BLOCK_BYTES + 5, LAST: BLOCK_BYTES + 9, "config.json": 1500}
    bytes_of = random.Random(seed).randbytes
    return {"2.safetensors": SHARED, **{path: bytes_of(size) for path, size in sizes.items()}}


OLD, NEW = files_of(1), files_of(2)


def result(child: ForkedChild) -> tuple[int, str]:
    """Exit code and last line; a traceback is a bug."""
    output, errors = child.communicate(timeout=60)
    assert "Traceback" not in errors, errors
    return child.wait(), output.strip().splitlines()[-1]


def brought(child: ForkedChild) -> dict[str, bytes]:
    """What a child fetched."""
    code, line = result(child)
    assert code == 0, line
    return {path.name: path.read_bytes() for path in Path(line).iterdir()}


def models(tmp_path: Path) -> list[str]:
    """The names of what is complete."""
    return [path.name for path in (tmp_path / "cache" / "models").rglob("*.json")]


def begin(hub: FakeHub, spawn: Spawn, path: str, at_byte: int, **options: str) -> ForkedChild:
    """A child that waits for the rest of `path`; what was signed for it has expired."""
    hub.add_fault(path, Fault(kind="stall", at_byte=at_byte))
    child = spawn(**options)
    assert hub.stalled.wait(30)
    hub.expire_addresses()
    return child


PLACES = [
    (FIRST, 0),
    (FIRST, BLOCK_BYTES),
    (FIRST, BLOCK_BYTES + 7),
    (LAST, 99),
    ("config.json", 9),
]


@pytest.mark.parametrize(("path", "at_byte"), PLACES)
def test_a_branch_that_moves_on_is_brought_as_it_is_now(
    hub: FakeHub, tmp_path: Path, spawn: Spawn, path: str, at_byte: int
) -> None:
    hub.add_model("acme/toy", OLD)
    child = begin(hub, spawn, path, at_byte)
    now = hub.add_model("acme/toy", NEW)
    hub.release()
    assert brought(child) == NEW
    assert models(tmp_path) == [f"{now.commit}.json"]


def test_the_files_of_a_branch_that_moves_on_are_the_old_ones_while_these_are_there(
    hub: FakeHub, tmp_path: Path, spawn: Spawn
) -> None:
    before = hub.add_model("acme/toy", OLD)
    child = begin(hub, spawn, FIRST, BLOCK_BYTES)
    now = hub.add_model("acme/toy", NEW)
    hub.kept[before.commit] = before
    hub.release()
    assert brought(child) == OLD
    assert models(tmp_path) == [f"{before.commit}.json"]
    assert brought(spawn()) == NEW
    assert sorted(models(tmp_path)) == sorted(f"{model.commit}.json" for model in (before, now))


GONE = {
    "a commit that was named": (8, "has no revision"),
    "a file": (8, "does not exist"),
    "a model": (7, "shows no model acme/toy"),
}


@pytest.mark.parametrize("what", GONE)
def test_what_is_gone_is_told(hub: FakeHub, tmp_path: Path, spawn: Spawn, what: str) -> None:
    before = hub.add_model("acme/toy", OLD)
    uri = "hf://acme/toy" + (f":{before.commit}" if "named" in what else "")
    child = begin(hub, spawn, FIRST, BLOCK_BYTES, uri=uri)
    if "named" in what:
        hub.add_model("acme/toy", NEW)
    elif what == "a file":
        del hub.models["acme/toy"].files[FIRST]
    else:
        hub.models.clear()
    hub.release()
    code, line = result(child)
    assert (code, GONE[what][1] in line) == (GONE[what][0], True), line
    assert models(tmp_path) == []
    hub.models["acme/toy"] = before
    before.files.update(OLD)
    assert brought(spawn(uri=uri)) == OLD
