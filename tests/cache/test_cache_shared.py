"""Caches that several users share, or that may only be read."""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from cache_stock import HOURS_S, QUICK, WEIGHTS, Stock, edit, make_older, read_files
from fake_hub import FakeHub
from forked_program import ForkedProgram

from nimctl.cache import Cache
from nimctl.cache.upkeep import PruneRequest
from nimctl.errors import FetchError

FILES = {"config.json": b"{}", "deep/model.safetensors": WEIGHTS}
NAME = "acme/toy"
CHILD = Path(__file__).with_name("other_user_child.py")
AsAnotherUser = Callable[..., str]
is_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs to be root to be somebody else")


@pytest.fixture
def stock(hub: FakeHub) -> Iterator[Stock]:
    """Not below pytest's own folder, which is closed to other users."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Stock(hub=hub, cache=Cache(Path(folder) / "cache", patience=QUICK))


@pytest.fixture
def as_another_user(program: ForkedProgram, stock: Stock) -> AsAnotherUser:
    """What a fetch by a user who owns nothing here tells; our own user where we are not root."""

    def fetch(*options: str) -> str:
        commit = stock.hub.models[NAME].commit
        words = [str(CHILD), str(stock.cache.root), stock.hub.url, commit, *options]
        done = program.run(words, os.environ, Path("/"))
        assert done.returncode == 0, done.stderr
        return done.stdout

    return fetch


@pytest.fixture(params=[0o077, 0o022, 0o002], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.mark.parametrize("mode", [0o2775, 0o755, 0o700], ids=oct)
def test_everything_has_the_permissions_of_the_root(stock: Stock, umask: int, mode: int) -> None:
    root = stock.cache.root
    root.mkdir()
    root.chmod(mode)
    entry = stock.add(NAME, FILES)
    stock.upkeep.pin(stock.key(NAME))
    with stock.cache.lease(entry.path, entry.files, "a test"):
        for path in root.rglob("*"):
            found = stat.S_IMODE(path.lstat().st_mode)
            if path.is_dir():
                assert found == mode, path
            elif found != 0o444:
                assert found == mode & 0o666, path


def test_a_read_only_cache_is_used_and_not_written(
    stock: Stock, as_another_user: AsAnotherUser
) -> None:
    """Mounted, copied or of another user: root may write all the same, so a child is nobody."""
    stock.cache.root.mkdir(mode=0o755)
    entry = stock.add(NAME, FILES)
    for path in sorted(stock.cache.root.rglob("*"), reverse=True):
        if path.is_dir():
            path.chmod(0o555)
    stock.cache.root.chmod(0o555)
    before = {path: path.lstat().st_ctime_ns for path in stock.cache.root.rglob("*")}
    assert as_another_user("offline") == f"{entry.path}\n"
    assert {path: path.lstat().st_ctime_ns for path in stock.cache.root.rglob("*")} == before
    make_older(stock.blob(WEIGHTS), HOURS_S)
    assert as_another_user("offline") == f"{entry.path}\n"
    edit(stock.blob(WEIGHTS), bytes(len(WEIGHTS)))
    for options in (["offline"], []):
        told = as_another_user(*options)
        assert told.startswith("digest-mismatch: deep/model.safetensors of hf://acme/toy"), told
    for path in stock.cache.root.rglob("*"):
        if path.is_dir():
            path.chmod(0o755)
    stock.cache.root.chmod(0o755)
    assert read_files(stock.fetch(NAME)) == FILES


@is_root
def test_another_user_of_the_group_uses_mends_and_prunes(
    stock: Stock, as_another_user: AsAnotherUser
) -> None:
    root = stock.cache.root
    root.mkdir()
    os.chown(root, 0, 54321)
    root.chmod(0o2775)
    entry = stock.add(NAME, FILES)
    assert as_another_user() == f"{entry.path}\n"
    edit(stock.blob(WEIGHTS), bytes(len(WEIGHTS)))
    assert as_another_user() == f"{entry.path}\n"
    assert stock.blob(WEIGHTS).lstat().st_uid == 54321
    assert read_files(stock.fetch(NAME, offline=True)) == FILES
    assert stock.upkeep.verify(deep=True).faults == ()
    stock.upkeep.prune(PruneRequest(unused_s=0.0))
    assert stock.upkeep.usage().blob_bytes == 0


def test_a_record_that_cannot_be_read_keeps_everything(stock: Stock) -> None:
    stock.add(NAME, FILES)
    (record,) = (stock.cache.root / "models").rglob("*.json")
    secret = record.with_name("of-another-user.json")
    secret.write_bytes(b"\xff" * 10)  # unreadable for root as well
    with pytest.raises(FetchError, match="cannot be read, so nothing is removed"):
        stock.upkeep.remove({stock.key(NAME)})
    with pytest.raises(FetchError, match="cannot be read, so nothing is removed"):
        stock.upkeep.prune(PruneRequest(unused_s=0.0))
    assert read_files(stock.fetch(NAME)) == FILES
