"""What clients are told of the model that is served."""

from hashlib import sha256

import pytest
from core_cases import ALL_ENGINES, PROFILES, make_hardware, make_manifest

from nimctl.cache import CachedFile, CacheEntry
from nimctl.cli.choosing import Choice, launch_of
from nimctl.cli.served_model import describe_served_model
from nimctl.core.selection import require_choice, select
from nimctl.core.source import parse_source_uri
from nimctl.core.wish import Wish
from nimctl.engines import TRAITS
from nimctl.settings import read_settings

FILES = {"model.Q4_K_M.gguf": b"weights", "LICENSE.txt": b"Do as you like."}


@pytest.fixture
def describe(tmp_path):
    """The model as it is described when these files of it are here."""

    def describe(*names, engine_args=()):
        manifest = make_manifest(PROFILES)
        wish = Wish(engine="llama.cpp")
        selection = select(manifest, make_hardware(), wish, engines=TRAITS, installed=ALL_ENGINES)
        verdict = require_choice(selection)
        choice = Choice(
            manifest=manifest,
            selection=selection,
            verdict=verdict,
            plan=verdict.plan,
            installed=next(one for one in ALL_ENGINES if one.name == "llama.cpp"),
            settings=read_settings({}, {}, tmp_path),
            hardware=make_hardware(),
        )
        entry = CacheEntry(
            uri=parse_source_uri("hf://acme/llama-8b"),
            revision="abc",
            path=tmp_path,
            files=tuple(write(tmp_path, name) for name in names),
        )
        launch = launch_of(choice, tmp_path, tmp_path, engine_args)
        return describe_served_model(choice, entry, launch)

    return describe


def write(folder, name):
    (folder / name).write_bytes(FILES[name])
    digest = sha256(FILES[name]).hexdigest()
    return CachedFile(path=name, size_bytes=len(FILES[name]), sha256=digest)


def test_the_files_with_sizes_and_digests(describe):
    manifest = describe(*FILES).manifest
    assert manifest["size_bytes"] == 22
    assert [(file["path"], file["size_bytes"]) for file in manifest["files"]] == [
        ("model.Q4_K_M.gguf", 7),
        ("LICENSE.txt", 15),
    ]
    assert manifest["files"][0]["sha256"] == sha256(b"weights").hexdigest()
    assert manifest["profile"]["description"].startswith("llama.cpp")


def test_the_licence_with_its_text_where_it_came_with_the_model(describe):
    model = describe(*FILES)
    assert model.licence["content"] == "Do as you like."
    assert model.licence["path"] == "LICENSE.txt"
    told = model.metadata["licenseInfo"]
    assert (told["name"], "content" in told) == (model.licence["name"], False)
    assert set(describe("model.Q4_K_M.gguf").licence) == {"name"}


def test_what_the_engine_offers_follows_from_its_command(describe):
    assert not describe().offer.offers("/v1/embeddings")
    assert describe(engine_args=("--embeddings",)).offer.offers("/v1/embeddings")
    assert describe(engine_args=("--parallel", "7")).sequences == 7
