"""What engines have compiled: kept for the next start, of one user alone, gone when it is old."""

import os
import stat

import pytest

from nimctl.cache import Cache
from nimctl.cache.upkeep import PruneRequest, Upkeep

NAME = "vllm-0.20.0-sm90"
DAY_S = 24 * 3600


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "cache")


def compile_something(cache, name=NAME, *, days_ago=0):
    folder = cache.open_compiled(name)
    (folder / "vllm").mkdir(exist_ok=True)
    (folder / "vllm" / "kernel.so").write_bytes(bytes(1000))
    at_s = folder.stat().st_mtime - days_ago * DAY_S
    os.utime(folder, (at_s, at_s))
    return folder


def test_the_next_start_finds_it(cache):
    folder = compile_something(cache)
    assert folder == cache.compiled_path(NAME)
    assert cache.open_compiled(NAME) == folder
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_folder_that_others_may_write_is_not_used(cache):
    folder = compile_something(cache)
    folder.chmod(0o770)
    assert cache.open_compiled(NAME) is None


def test_a_link_is_not_used(cache, tmp_path):
    folder = compile_something(cache)
    (tmp_path / "elsewhere").mkdir()
    other = folder.with_name("vllm-0.21.0-sm90")
    other.symlink_to(tmp_path / "elsewhere")
    assert cache.open_compiled(other.name) is None
    assert [code.name for code in Upkeep(cache).list_compiled()] == [NAME]


def test_its_size_is_known(cache):
    compile_something(cache)
    (code,) = Upkeep(cache).list_compiled()
    assert (code.name, code.size_bytes, code.is_in_use) == (NAME, 1000, False)


@pytest.mark.parametrize(
    ("asked", "gone"),
    [
        (PruneRequest(), ["old"]),
        (PruneRequest(unused_s=5 * DAY_S), ["middle", "old"]),
        (PruneRequest(compiled=True), ["middle", "old", "young"]),
    ],
)
def test_what_was_not_used_for_long_is_pruned(cache, asked, gone):
    for name, days_ago in (("young", 0), ("middle", 10), ("old", 40)):
        compile_something(cache, name, days_ago=days_ago)
    planned = Upkeep(cache).plan_pruning(asked)
    assert sorted(code.name for code in planned.compiled) == gone
    assert planned.freed_bytes == 1000 * len(gone)
    Upkeep(cache).prune(asked)
    left = {code.name for code in Upkeep(cache).list_compiled()}
    assert left == {"young", "middle", "old"} - set(gone)


def test_what_an_engine_runs_with_stays(cache):
    folder = compile_something(cache, days_ago=40)
    with cache.lease(folder, (), "nimctl serve"):
        assert Upkeep(cache).prune(PruneRequest(compiled=True)).compiled == ()
    assert folder.exists()
