"""What other tools keep is taken over by hash: nothing doubles, nothing of theirs changes."""

import hashlib
import json
import os
import random
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from blake3 import blake3
from fake_hub import FakeHub, git_sha1

from nimctl.cache import Cache, FetchRequest
from nimctl.cache.adopting import AdoptedModel, adopt_model
from nimctl.cache.foreign import FindModels, ForeignFile
from nimctl.cache.foreign_gguf import (
    find_folder_models,
    find_lm_studio_models,
    find_ollama_models,
)
from nimctl.cache.foreign_hub import find_hub_models, find_nim_models
from nimctl.core.source import parse_source_uri
from nimctl.sources import SourceAccess, open_source

WEIGHTS = random.Random(7).randbytes(300_000)
FILES = {"config.json": b'{"model_type": "toy"}', "model.safetensors": WEIGHTS}
GGUF = b"GGUF" + random.Random(8).randbytes(200_000)
MD5 = hashlib.md5(WEIGHTS, usedforsecurity=False).hexdigest()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def ignore(file: ForeignFile) -> None:
    pass


def adopt_all(root: Path, find: FindModels, place: Path) -> list[AdoptedModel]:
    return [adopt_model(root, model, ignore) for model in find(place)]


def look(folder: Path) -> dict[str, object]:
    """Everything below a folder that its owner could miss; a hard link is none of it."""
    return {
        str(path): (facts.st_mode, facts.st_mtime_ns, facts.st_size, facts.st_ino)
        for path in sorted(folder.rglob("*"))
        if (facts := path.lstat()) and not path.is_dir()
    }


def write_hub(hub: Path, commit: str, files: dict[str, bytes], *, with_tree: bool = True) -> Path:
    """A repository as huggingface_hub leaves it."""
    repository = hub / "models--acme--toy"
    entries = {}
    for path, content in files.items():
        is_lfs = len(content) >= 1000
        etag = sha256(content) if is_lfs else git_sha1(content)
        blob = repository / "blobs" / etag
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(content)
        name = repository / "snapshots" / commit / path
        name.parent.mkdir(parents=True, exist_ok=True)
        name.symlink_to(os.path.relpath(blob, name.parent))
        entries[path] = {"size": len(content), "blob_id": git_sha1(content)}
        if is_lfs:
            entries[path] |= {"lfs_sha256": sha256(content), "lfs_size": len(content)}
    (repository / "refs").mkdir(exist_ok=True)
    (repository / "refs" / "main").write_text(commit)
    if with_tree:
        (repository / "trees").mkdir(exist_ok=True)
        tree = {"format_version": 1, "files": entries}
        (repository / "trees" / f"{commit}.json").write_text(json.dumps(tree))
    return repository


@pytest.mark.parametrize("with_tree", [True, False])
def test_a_hugging_face_cache_is_taken_over_and_nothing_is_brought_again(
    tmp_path: Path, with_tree: bool
) -> None:
    with FakeHub() as hub:
        commit = hub.add_model("acme/toy", FILES).commit
        write_hub(tmp_path / "hub", commit, FILES, with_tree=with_tree)
        before = look(tmp_path / "hub")
        cache = Cache(tmp_path / "cache")
        (adopted,) = adopt_all(cache.root, find_hub_models, tmp_path / "hub")
        assert look(tmp_path / "hub") == before
        assert adopted.refused == () and not adopted.is_damaged
        assert {one.way for one in adopted.files} <= {"hard link", "reflink"}
        assert all(one.was_checked for one in adopted.files)

        toy = parse_source_uri("hf://acme/toy")
        access = SourceAccess(
            scratch_folder=cache.scratch_folder, python=Path(sys.executable), hf_endpoint=hub.url
        )
        with closing(open_source(toy, access)) as source:
            entry = cache.fetch(FetchRequest(uri=toy), source)
        assert {f.path: (entry.path / f.path).read_bytes() for f in entry.files} == FILES
        assert hub.sent_bytes == {}
        assert not any("/resolve/" in one.path for one in hub.seen)
        if with_tree:
            assert cache.find(FetchRequest(uri=replace(toy, revision=commit))) is not None


def test_what_a_tree_says_to_be_all_is_known_offline(tmp_path: Path) -> None:
    write_hub(tmp_path / "hub", "c" * 40, FILES)
    cache = Cache(tmp_path / "cache")
    adopt_all(cache.root, find_hub_models, tmp_path / "hub")
    for address in ("hf://acme/toy", "hf://acme/toy:main", f"hf://acme/toy:{'c' * 40}"):
        assert cache.find(FetchRequest(uri=parse_source_uri(address))) is not None


def test_a_part_of_a_repository_does_not_pass_for_all_of_it(tmp_path: Path) -> None:
    repository = write_hub(tmp_path / "hub", "c" * 40, FILES)
    (repository / "snapshots" / ("c" * 40) / "config.json").unlink()
    cache = Cache(tmp_path / "cache")
    (adopted,) = adopt_all(cache.root, find_hub_models, tmp_path / "hub")
    assert adopted.entry is not None and len(adopted.entry.files) == 1
    assert cache.find(FetchRequest(uri=parse_source_uri("hf://acme/toy"))) is None
    assert cache.entries() == (adopted.entry,)


def test_a_damaged_blob_is_told_and_left_where_it_is(tmp_path: Path) -> None:
    repository = write_hub(tmp_path / "hub", "c" * 40, FILES)
    blob = repository / "blobs" / sha256(WEIGHTS)
    blob.write_bytes(WEIGHTS[:-1] + b"!")
    cache = Cache(tmp_path / "cache")
    (adopted,) = adopt_all(cache.root, find_hub_models, tmp_path / "hub")
    assert len(adopted.refused) == 1 and "damaged" in adopted.refused[0]
    assert adopted.is_damaged
    assert [one.file.path for one in adopted.files] == ["config.json"]
    assert blob.read_bytes() == WEIGHTS[:-1] + b"!"
    assert len([p for p in (cache.root / "blobs").rglob("*") if p.is_file()]) == 1


def test_a_link_that_leads_out_of_the_cache_is_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret.json"
    secret.write_text("key")
    repository = write_hub(tmp_path / "hub", "c" * 40, FILES, with_tree=False)
    (repository / "snapshots" / ("c" * 40) / "stolen.json").symlink_to(secret)
    (model,) = find_hub_models(tmp_path / "hub")
    assert [file.path for file in model.files] == ["config.json", "model.safetensors"]


def test_pickles_are_not_taken(tmp_path: Path) -> None:
    write_hub(tmp_path / "hub", "c" * 40, FILES | {"pytorch_model.bin": WEIGHTS[::-1]})
    (model,) = find_hub_models(tmp_path / "hub")
    assert [file.path for file in model.files] == ["config.json", "model.safetensors"]
    assert model.is_whole and "pytorch_model.bin" in model.notes[0]


def test_ollama_models_are_files_that_can_be_served(tmp_path: Path) -> None:
    models = tmp_path / "models"
    (models / "blobs").mkdir(parents=True)
    (models / "blobs" / f"sha256-{sha256(GGUF)}").write_bytes(GGUF)
    manifest = models / "manifests" / "registry.ollama.ai" / "library" / "toy" / "1b"
    manifest.parent.mkdir(parents=True)
    layer = {
        "mediaType": "application/vnd.ollama.image.model",
        "digest": f"sha256:{sha256(GGUF)}",
        "size": len(GGUF),
    }
    manifest.write_text(json.dumps({"schemaVersion": 2, "config": {}, "layers": [layer]}))
    before = look(models)
    (adopted,) = adopt_all(tmp_path / "cache", find_ollama_models, models)
    assert look(models) == before
    assert adopted.entry is not None
    assert (adopted.entry.path / "toy-1b.gguf").read_bytes() == GGUF
    assert adopted.files[0].was_checked


def test_a_manifest_of_ollama_cannot_name_a_file_elsewhere(tmp_path: Path) -> None:
    models = tmp_path / "models"
    manifest = models / "manifests" / "host" / "toy" / "1b"
    manifest.parent.mkdir(parents=True)
    layer = {"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:../../etc/passwd"}
    manifest.write_text(json.dumps({"layers": [layer, "not a layer"]}))
    assert list(find_ollama_models(models)) == []


def test_lm_studio_and_plain_folders(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "acme" / "toy-GGUF"
    folder.mkdir(parents=True)
    (folder / "toy-Q4_K_M.gguf").write_bytes(GGUF)
    (folder / "README.md").write_text("read me")
    (adopted,) = adopt_all(tmp_path / "cache", find_lm_studio_models, tmp_path / "models")
    assert [one.file.path for one in adopted.files] == ["toy-Q4_K_M.gguf"]
    (model,) = find_folder_models(folder)
    assert [file.path for file in model.files] == ["README.md", "toy-Q4_K_M.gguf"]
    assert adopt_model(tmp_path / "cache", model, ignore).files[1].way == "here already"


def test_a_nim_cache_is_checked_by_its_own_digests(tmp_path: Path) -> None:
    repository = tmp_path / "nim" / "ngc" / "hub" / "models--nim--meta--toy"
    snapshot = repository / "snapshots" / "hf-1"
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    (repository / "blobs" / MD5).write_bytes(WEIGHTS)
    (snapshot / "model.safetensors").symlink_to(f"../../blobs/{MD5}")
    (adopted,) = adopt_all(tmp_path / "cache", find_nim_models, tmp_path / "nim")
    assert str(adopted.model.uri) == "ngc://nim/meta/toy:hf-1"
    assert adopted.files[0].was_checked
    sums = f"{blake3(b'other').hexdigest()}  ./model.safetensors\n"
    (snapshot / "checksums.blake3").write_text(sums)
    (model,) = find_nim_models(tmp_path / "nim")
    again = adopt_model(tmp_path / "other", model, ignore)
    assert len(again.refused) == 1


def test_a_file_that_others_could_not_read_is_copied_into_a_shared_cache(tmp_path: Path) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "toy.gguf").write_bytes(GGUF)
    (folder / "toy.gguf").chmod(0o600)
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o2775)
    (adopted,) = adopt_all(shared, find_folder_models, folder)
    assert adopted.files[0].way in ("copy", "reflink")
    assert (folder / "toy.gguf").stat().st_mode & 0o777 == 0o600
    blob = shared / "blobs" / "sha256" / sha256(GGUF)[:2] / sha256(GGUF)
    assert blob.stat().st_mode & 0o777 == 0o444
