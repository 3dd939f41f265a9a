"""`nimctl cache` from the outside: a folder is fetched, listed, damaged, mended and removed."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from cache_stock import edit, sha256_of
from fake_hub import FakeHub

from nimctl.cache import Cache, FetchRequest
from nimctl.cache.owners import this_process
from nimctl.cache.upkeep import Upkeep
from nimctl.core.source import parse_source_uri
from nimctl.sources import SourceAccess, open_source

WEIGHTS = random.Random(3).randbytes(30_000)


@pytest.fixture
def stocked(tmp_path: Path, run):
    """A cache with one model, and the hub it came from."""
    with FakeHub() as hub:
        hub.add_model("acme/toy", {"model.gguf": WEIGHTS, "config.json": b"{}"})
        cache = Cache(tmp_path / "cache")
        access = SourceAccess(
            scratch_folder=cache.scratch_folder, python=Path(sys.executable), hf_endpoint=hub.url
        )
        request = FetchRequest(uri=parse_source_uri("hf://acme/toy"))
        entry = cache.fetch(request, open_source(request.uri, access))

        def run_cache(*arguments: str) -> subprocess.CompletedProcess[str]:
            return run("cache", *arguments, HF_ENDPOINT=hub.url)

        yield cache, entry, run_cache


def blob_of(cache: Cache) -> Path:
    sha256 = sha256_of(WEIGHTS)
    return cache.root / "blobs" / "sha256" / sha256[:2] / sha256


def test_everything_is_listed_with_who_keeps_it(stocked) -> None:
    cache, entry, run_cache = stocked
    part = cache.root / "partial" / f"sha256-{'f' * 64}.00000000-00000000.part"
    part.write_bytes(b"half")
    part.with_name(f"sha256-{'f' * 64}.lock").write_text(f"{this_process()}\n")
    assert run_cache("pin", "toy").returncode == 0
    with cache.lease(entry.path, entry.files, "nimctl serve toy"):
        shown = run_cache("ls").stdout
        document = json.loads(run_cache("ls", "--json").stdout)
    assert "30.0 kB  hf://acme/toy" in shown
    assert f"revision {entry.revision[:12]}, used today, pinned by " in shown
    assert "in use by nimctl serve toy (process " in shown
    assert f"sha256:{'f' * 64}, being fetched now" in shown
    assert "30.0 kB kept, 4 B of unfinished downloads" in shown
    (listed,) = document["entries"]
    assert (listed["source"], listed["complete"]) == ("hf://acme/toy", True)
    assert listed["size_bytes"] == document["size_bytes"] == entry.size_bytes
    assert listed["pinned_by"]
    assert len(listed["used_by"]) == 1
    assert document["partial"][0]["kept_bytes"] == 4
    used = json.loads(run_cache("du", "--json").stdout)
    assert used["sources"][0]["freed_bytes"] == entry.size_bytes
    assert "30.0 kB         0 B     30.0 kB  hf://acme/toy" in run_cache("du").stdout


def test_damage_has_its_own_exit_and_is_mended(stocked) -> None:
    cache, _, run_cache = stocked
    assert run_cache("verify").returncode == 0
    edit(blob_of(cache), bytes(len(WEIGHTS)))
    found = run_cache("verify", "--deep", "--json")
    assert found.returncode not in (0, 1, 2)
    assert "model.gguf" in found.stderr
    assert "cache verify --repair" in found.stderr
    (fault,) = json.loads(found.stdout)["faults"]
    assert (fault["path"], fault["condition"]) == ("model.gguf", "changed")
    mended = run_cache("verify", "--repair", "acme/toy")
    assert mended.returncode == 0, mended.stderr
    assert "model.gguf has other bytes than were published; repaired" in mended.stdout
    assert run_cache("verify", "--deep").returncode == 0
    assert blob_of(cache).read_bytes() == WEIGHTS


def test_what_is_pinned_or_in_use_is_not_removed(stocked) -> None:
    cache, entry, run_cache = stocked
    run_cache("pin", "hf://acme/toy")
    refused = run_cache("rm", "acme/toy", "--yes")
    assert (refused.returncode, "is pinned by" in refused.stderr) == (13, True)
    with cache.lease(entry.path, entry.files, "nimctl serve toy"):
        refused = run_cache("rm", "acme/toy", "--yes", "--force")
        assert (refused.returncode, "is in use by nimctl serve toy" in refused.stderr) == (13, True)
    assert "nobody is there" in run_cache("rm", "acme/toy", "--force").stderr
    dry = run_cache("rm", "acme/toy", "--force", "--dry-run")
    assert "30.0 kB would be freed" in dry.stdout
    assert cache.entries() == (entry,)
    run_cache("unpin", "toy")
    done = run_cache("rm", "acme/toy", "--yes")
    assert "30.0 kB freed" in done.stdout
    assert Upkeep(cache).usage().blob_bytes == 0
    missing = run_cache("rm", "acme/toy", "--yes")
    assert (missing.returncode, "holds nothing of acme/toy" in missing.stderr) == (2, True)


def test_room_is_made_by_size_and_age(stocked) -> None:
    cache, entry, run_cache = stocked
    assert "0 B freed, 30.0 kB kept" in run_cache("prune", "--older-than", "1d").stdout
    dry = run_cache("prune", "--max-size", "10kB", "--dry-run")
    assert "30.0 kB would be freed, 0 B kept" in dry.stdout
    assert cache.entries() == (entry,)
    document = json.loads(run_cache("prune", "--max-size", "10kB", "--json").stdout)
    assert (document["freed_bytes"], document["size_bytes"]) == (entry.size_bytes, 0)
    assert cache.entries() == ()
    for option, value in (("--max-size", "much"), ("--older-than", "long")):
        wrong = run_cache("prune", option, value)
        assert (wrong.returncode, option in wrong.stderr) == (2, True)


def test_an_empty_cache_and_one_of_another_name(run) -> None:
    for command in ("ls", "du", "verify", "prune"):
        assert run("cache", command).returncode == 0
    assert run("cache", "ls", "no/such").returncode == 2
    assert run("cache", "rm", "hf://", "--yes").returncode == 2
