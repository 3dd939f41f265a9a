"""Installations that are killed, or that cannot succeed: nothing half-done, and the right words."""

import re
import shutil
from pathlib import Path

import pytest
from environments.installing import names

from nimctl.environments.in_use import hold_engine
from nimctl.environments.install_failures import INSTALL_FAILURES, explain_failure
from nimctl.environments.managed import list_managed
from nimctl.environments.removing import remove_engine
from nimctl.environments.running import find_cause
from nimctl.errors import DiskFullError, EngineError, InUseError, UnreachableError

SAID = [
    (
        "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
        DiskFullError,
        "the disk is full; nothing of it was kept",
    ),
    ("error: failed to write: No space left on device (os error 28)", DiskFullError, "is full"),
    (
        "WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError(...)': "
        "/simple/vllm/\nERROR: No matching distribution found for vllm",
        UnreachableError,
        "the package index cannot be asked (No matching distribution found for vllm)",
    ),
    (
        "error: Failed to fetch: `http://127.0.0.1:9/simple/vllm/`\n  Caused by: error sending "
        "request\n  Caused by: Connection refused (os error 111)",
        UnreachableError,
        "the package index cannot be asked",
    ),
    (
        "ERROR: Ignored the following versions that require a different python version: 0.11.0 "
        "Requires-Python <3.14,>=3.10\nERROR: No matching distribution found for vllm",
        EngineError,
        "it has no build for Python 3.",
    ),
    (
        "ERROR: vllm-1-cp38-none-any.whl is not a supported wheel on this platform.",
        EngineError,
        "it has no build for this kind of machine",
    ),
    ("error: something new", EngineError, "vLLM could not be installed: something new"),
]


@pytest.mark.parametrize(("said", "error", "cause"), SAID)
def test_what_an_installer_says_becomes_one_clear_error(said, error, cause):
    told = said.splitlines()
    explained = explain_failure("vLLM", find_cause(told, 1), told, Path("/log"))
    assert type(explained) is error
    assert cause in explained.message
    assert "/log" in explained.hint


def test_each_failure_that_is_known_was_said_by_an_installer():
    for known in INSTALL_FAILURES:
        assert any(re.search(known.pattern, said) for said, _, _ in SAID), known


def test_killed_at_every_step_nothing_shows_and_the_next_one_succeeds(
    program, wheels, quick, tmp_path
):
    folder = tmp_path / "engines"
    words = ["nimctl", "engines", "install", "vllm", "--offline", "--find-links", str(wheels)]
    environment = quick | {"NIMCTL_ENGINES_DIR": str(folder)}
    for step in ("venv", "package", "requirements", "check"):
        done = program.run(words, environment | {"FAKE_UV_KILL": step}, tmp_path)
        assert done.returncode == -9, (step, done.stderr)
        assert list_managed(folder) == ()
        (half,) = folder.glob(".building-*")
        assert half.is_dir()
    assert program.run(words, environment, tmp_path).returncode == 0
    assert names(folder) == [".lock", "vllm-0.32.0+cpu", "vllm-install.log"]


def test_an_engine_that_runs_is_not_removed(small_engines, tmp_path):
    (managed,) = list_managed(small_engines)
    with (
        hold_engine(managed.installed, small_engines),
        hold_engine(managed.installed, small_engines),
        pytest.raises(InUseError, match=r"vLLM 0\.32\.0\+cpu is being used"),
    ):
        remove_engine(small_engines, "vllm", None, print)
    assert list_managed(small_engines) == (managed,)


def test_an_engine_that_was_removed_cannot_be_held(small_engines, tmp_path):
    folder = tmp_path / "engines"
    shutil.copytree(small_engines, folder, symlinks=True)
    (managed,) = list_managed(folder)
    assert remove_engine(folder, "vllm", "0.32.0", print) == (managed,)
    with hold_engine(managed.installed, folder):
        pass  # nobody's any more: it fails when it is started
    assert names(folder) == [".lock", "vllm-install.log"]
