"""Installations from small wheels by a fake uv, which takes no second."""

import contextlib
import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from bare_weights import SMALL, llama_tensors, safetensors_file
from environments.package_index import PackageIndex
from environments.small_wheels import write_small_wheels

FAKE_UV = Path(__file__).with_name("fake_uv.py")


@pytest.fixture(scope="session")
def wheels(tmp_path_factory):
    return write_small_wheels(tmp_path_factory.mktemp("index") / "wheels")


@pytest.fixture(scope="session")
def variables(tmp_path_factory):
    """Ours, without what points installers anywhere, and without uv."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "UV_", "NIM"))}
    home = tmp_path_factory.mktemp("home")
    return kept | {"HOME": str(home), "PATH": "/usr/bin:/bin", "PIP_CONFIG_FILE": os.devnull}


@pytest.fixture(scope="session")
def quick(variables, tmp_path_factory):
    """The same with a fake uv, and nothing else, on PATH."""
    folder = tmp_path_factory.mktemp("bin")
    shutil.copy(FAKE_UV, folder / "fake_uv.py")
    program = folder / "uv"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "{folder}/fake_uv.py" "$@"\n')
    program.chmod(0o755)
    return variables | {"PATH": str(folder)}


@pytest.fixture(scope="session")
def small_engines(quick, wheels, tmp_path_factory):
    """A folder of engines with a vLLM for CPUs that works; tests that spoil it take a copy."""
    from environments.installing import install

    folder = tmp_path_factory.mktemp("data") / "engines"
    install(folder, wheels, quick)
    return folder


@pytest.fixture
def model(tmp_path):
    """A checkpoint that vLLM loads and llama.cpp does not."""
    folder = tmp_path / "toy"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(SMALL))
    (folder / "model.safetensors").write_bytes(safetensors_file(llama_tensors(SMALL)))
    (folder / "tokenizer.json").write_text("{}")
    return folder


@pytest.fixture
def index(wheels):
    """A package index of the small wheels, on loopback."""
    with contextlib.closing(PackageIndex(wheels)) as index:
        yield index
