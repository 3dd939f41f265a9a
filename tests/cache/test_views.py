"""Views are what the other tools themselves accept, and share the bytes of the cache."""

import json
import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from nimctl.cache import Cache, CacheEntry
from nimctl.cache.adopting import adopt_model
from nimctl.cache.foreign import ForeignFile, ForeignModel
from nimctl.cache.foreign_hub import find_hub_models, find_nim_models
from nimctl.cache.views import (
    check_apart,
    write_hub_view,
    write_model_store,
    write_nim_view,
    write_s3_view,
)
from nimctl.core.source import parse_source_uri
from nimctl.errors import InputError

FILES = {
    "config.json": b'{"model_type": "toy"}',
    "model.safetensors": random.Random(5).randbytes(150_000),
    "sub/tokenizer.json": b"{}",
}
COMMIT = "c" * 40
OFFLINE_CLIENT = """
import sys
from huggingface_hub import snapshot_download
print(snapshot_download("acme/toy", cache_dir=sys.argv[1], local_files_only=True))
"""


def fill(cache: Cache, folder: Path, address: str, revision: str) -> CacheEntry:
    for path, content in FILES.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    model = ForeignModel(
        tool="test",
        uri=replace(parse_source_uri(address), revision=revision),
        revision=revision,
        files=tuple(
            ForeignFile(path=path, location=folder / path, size_bytes=len(content), digest=None)
            for path, content in FILES.items()
        ),
        moving=("main", None) if address.startswith("hf") else (),
        is_whole=True,
    )
    entry = adopt_model(cache.root, model, lambda file: None).entry
    assert entry is not None
    return entry


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def toy(cache: Cache, tmp_path: Path) -> CacheEntry:
    return fill(cache, tmp_path / "files", "hf://acme/toy", COMMIT)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def run_client(code: str, *arguments: str, home: Path) -> str:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=kept | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_official_client_finds_a_view_offline(
    cache: Cache, toy: CacheEntry, tmp_path: Path
) -> None:
    for _ in range(2):
        written = write_hub_view(cache.root, toy, tmp_path / "view")
    hub = tmp_path / "view" / "hub"
    found = Path(run_client(OFFLINE_CLIENT, str(hub), home=tmp_path / "home"))
    assert found == written and contents(found) == FILES
    for file in toy.files:
        assert (found / file.path).samefile(toy.path / file.path)
    listed = subprocess.run(
        [Path(sys.executable).with_name("hf"), "cache", "ls", "--cache-dir", str(hub)],
        env=os.environ | {"HF_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "acme/toy" in listed.stdout


def test_a_view_is_read_back_as_the_same_model(
    cache: Cache, toy: CacheEntry, tmp_path: Path
) -> None:
    write_hub_view(cache.root, toy, tmp_path / "view")
    (model,) = find_hub_models(tmp_path / "view" / "hub")
    assert model.is_whole and set(model.moving) == {"main", None}
    adopted = adopt_model(tmp_path / "other", model, lambda file: None)
    assert adopted.refused == () and all(one.was_checked for one in adopted.files)


def test_deleting_a_view_leaves_the_cache(cache: Cache, toy: CacheEntry, tmp_path: Path) -> None:
    written = write_hub_view(cache.root, toy, tmp_path / "view")
    for path in sorted((tmp_path / "view").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    assert not written.exists()
    assert contents(toy.path) == FILES


def test_a_tree_names_what_the_hub_would(cache: Cache, toy: CacheEntry, tmp_path: Path) -> None:
    write_hub_view(cache.root, toy, tmp_path / "view")
    (tree,) = (tmp_path / "view").rglob("trees/*.json")
    entries = json.loads(tree.read_text())["files"]
    sha1 = subprocess.run(
        ["git", "hash-object", "--stdin"],
        input=FILES["config.json"],
        capture_output=True,
        check=True,
    )
    assert entries["config.json"]["blob_id"] == sha1.stdout.decode().strip()


def test_a_nim_cache_has_its_layout(cache: Cache, tmp_path: Path) -> None:
    entry = fill(cache, tmp_path / "files", "ngc://nim/meta/toy", "hf-1")
    written = write_nim_view(cache.root, entry, tmp_path / "nim")
    place = tmp_path / "nim" / "ngc" / "hub" / "models--nim--meta--toy" / "snapshots" / "hf-1"
    assert written == place and contents(place) == FILES
    (model,) = find_nim_models(tmp_path / "nim")
    assert str(model.uri) == "ngc://nim/meta/toy:hf-1"


def test_a_bucket_for_nim_has_addresses_for_keys(cache: Cache, tmp_path: Path) -> None:
    entry = fill(cache, tmp_path / "files", "ngc://nim/meta/llama3-8b-instruct", "hf")
    write_s3_view(cache.root, entry, tmp_path / "bucket")
    key = "nim%2Fmeta%2Fllama3-8b-instruct%3Ahf%3Ffile%3Dconfig.json"
    assert (tmp_path / "bucket" / key).read_bytes() == FILES["config.json"]


def test_a_model_store_is_a_plain_folder(cache: Cache, toy: CacheEntry, tmp_path: Path) -> None:
    write_model_store(cache.root, toy, tmp_path / "store")
    assert contents(tmp_path / "store") == FILES
    with pytest.raises(InputError, match="both have a file"):
        check_apart((toy, replace(toy, revision="other")))


def test_what_is_of_another_hub_is_not_put_into_a_view(cache: Cache, tmp_path: Path) -> None:
    entry = fill(cache, tmp_path / "files", "ngc://nim/meta/toy", "hf-1")
    with pytest.raises(InputError, match="not of hf://"):
        write_hub_view(cache.root, entry, tmp_path / "view")
