"""The real program in a child process, with folders of its own and no settings of the machine's."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nimctl.cli.app import app
from nimctl.errors import NimctlError
from nimctl.probe import BandwidthRecord, probe_machine

KEPT = ("PATH", "LANG", "TMPDIR", "SSL_CERT_FILE", "VIRTUAL_ENV")
KEPT_PREFIXES = ("PIP_", "UV_", "PYTHON", "COVERAGE")


@pytest.fixture(scope="session")
def kept_bandwidth(tmp_path_factory):
    """This machine's memory measured once, so that not every child process does it."""
    path = tmp_path_factory.mktemp("state") / "memory-bandwidth.json"
    probe_machine({}, BandwidthRecord(path=path))
    return path


@pytest.fixture
def clean_environment(tmp_path, kept_bandwidth):
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in KEPT or name.startswith(KEPT_PREFIXES)
    }
    home = tmp_path / "home"
    state = home / ".local" / "state" / "nimctl"
    state.mkdir(parents=True)
    if kept_bandwidth.exists():
        shutil.copy(kept_bandwidth, state)
    return kept | {"HOME": str(home), "COLUMNS": "100", "NIMCTL_CACHE_DIR": str(tmp_path / "cache")}


@pytest.fixture
def run(program, clean_environment, tmp_path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run_nimctl(*arguments: str, timeout: float = 60, **environment: str):
        words = ["nimctl", *arguments]
        return program.run(words, clean_environment | environment, tmp_path, timeout_s=timeout)

    return run_nimctl


@pytest.fixture
def run_anew(clean_environment, tmp_path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The program in an interpreter of its own, which reads `PYTHONPATH` and imports everything."""

    def run_nimctl(*arguments: str, **environment: str):
        return subprocess.run(
            [sys.executable, "-m", "nimctl", *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=tmp_path,
            env=clean_environment | environment,
        )

    return run_nimctl


@dataclass(frozen=True)
class Result:
    """What a call of the program came to."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def run_here(clean_environment, tmp_path: Path, monkeypatch) -> Callable[..., Result]:
    """The program in this process: quicker than a child where there are many calls."""
    monkeypatch.chdir(tmp_path)
    ours = ("HF_", "NIM", "NGC", "XDG_")
    unset = dict.fromkeys(name for name in os.environ if name.startswith(ours))

    def run_nimctl(*arguments: str, **environment: str) -> Result:
        done = CliRunner().invoke(app, arguments, env=unset | clean_environment | environment)
        error = done.exception
        if error is None or isinstance(error, SystemExit):
            return Result(returncode=done.exit_code, stdout=done.stdout, stderr=done.stderr)
        if not isinstance(error, NimctlError):
            raise error
        told = f"{done.stderr}{error.message}\n{error.hint}"
        return Result(returncode=error.exit_code, stdout=done.stdout, stderr=told)

    return run_nimctl
