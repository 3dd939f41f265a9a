"""Which engines this machine has, found without running them, so that a listing is quick."""

import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nimctl.core.engine import InstalledEngine
from nimctl.core.names import EngineName
from nimctl.core.plan import Device
from nimctl.environments.managed import list_managed
from nimctl.environments.packages import read_cuda_version, read_version, site_packages_of
from nimctl.errors import InputError

_WHEEL = "xllamacpp"
_WHEEL_SERVER = "nimctl.environments.llama_server"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Whereabouts:
    """How one engine can be recognised.

    Attributes:
        distribution: The name of its Python package.
        script: The program it installs.
    """

    name: EngineName
    distribution: str
    script: str


_GPU_ENGINES = (
    _Whereabouts(name="tensorrt_llm", distribution="tensorrt_llm", script="trtllm-serve"),
    _Whereabouts(name="vllm", distribution="vllm", script="vllm"),
    _Whereabouts(name="sglang", distribution="sglang", script="sglang"),
)
_LLAMA_SERVER = _Whereabouts(name="llama.cpp", distribution="", script="llama-server")


def find_engines(
    environment: Mapping[str, str], engines_dir: Path | None, engine_path: Path | None = None
) -> tuple[InstalledEngine, ...]:
    """The engines to use: the first of each name that `list_engines` tells.

    Raises:
        InputError: `engine_path` is no engine.
    """
    used: dict[EngineName, InstalledEngine] = {}
    for engine in list_engines(environment, engines_dir, engine_path):
        used.setdefault(engine.name, engine)
    return tuple(used.values())


def list_engines(
    environment: Mapping[str, str], engines_dir: Path | None, engine_path: Path | None = None
) -> tuple[InstalledEngine, ...]:
    """Every engine of this machine, by name, and of one name the preferred one first.

    The program at `engine_path` comes first. A managed environment was asked for by name, so it
    comes before this Python environment, and that before `PATH` in `environment`.

    Raises:
        InputError: `engine_path` is no engine.
    """
    search_path = environment.get("PATH", "")
    named = () if engine_path is None else (read_engine_at(engine_path),)
    managed = tuple(one.installed for one in list_managed(engines_dir))
    found = []
    for where in _GPU_ENGINES:
        found += [one for one in (*named, *managed) if one.name == where.name]
        found += _find_beside(where)
        found += _find_on_path(where, search_path)
    found += [one for one in (*named, *managed) if one.name == "llama.cpp"]
    found += _find_wheel()
    found += _find_on_path(_LLAMA_SERVER, search_path)
    return tuple({one.program: one for one in reversed(found)}.values())[::-1]


def read_engine_at(path: Path) -> InstalledEngine:
    """The engine that a program is, by the name of its file.

    Raises:
        InputError: it is no program, or none of an engine.
    """
    known = {where.script: where for where in (*_GPU_ENGINES, _LLAMA_SERVER)}
    where = known.get(path.name)
    if where is None:
        raise InputError(
            f"the engine's program {path} is none that nimctl knows by its name",
            hint=f"it is called {', '.join(known)}; a link of that name does",
        )
    if shutil.which(path.absolute()) is None:
        state = "is no program that can be run" if path.exists() else "does not exist"
        raise InputError(f"the engine's program {path} {state}")
    return _read_program(where, str(path.absolute()), "--engine-path")


def _find_beside(where: _Whereabouts) -> list[InstalledEngine]:
    """An engine of the Python environment that nimctl itself runs in."""
    script = Path(sys.executable).with_name(where.script)
    version = read_version(sys.path, where.distribution) if script.exists() else None
    if version is None:
        return []
    packages = site_packages_of(script.parent.parent)
    return [
        InstalledEngine(
            name=where.name,
            version=version,
            origin="this environment",
            program=(str(script),),
            devices=_devices_of(where.name, version),
            cuda=read_cuda_version(packages) if packages else None,
        )
    ]


def _find_wheel() -> list[InstalledEngine]:
    version = read_version(sys.path, _WHEEL)
    if version is None:
        return []
    return [
        InstalledEngine(
            name="llama.cpp",
            version=version,
            origin=f"this environment ({_WHEEL})",
            program=(sys.executable, "-P", "-m", _WHEEL_SERVER),
            devices=("cpu",),
        )
    ]


def _find_on_path(where: _Whereabouts, search_path: str) -> list[InstalledEngine]:
    program = shutil.which(where.script, path=search_path)
    return [] if program is None else [_read_program(where, program, "PATH")]


def _read_program(where: _Whereabouts, program: str, origin: str) -> InstalledEngine:
    """An engine by its program; what the packages beside it say is its version."""
    packages = site_packages_of(Path(program).resolve().parent.parent)
    version = read_version((str(packages),), where.distribution) if packages else None
    return InstalledEngine(
        name=where.name,
        version=version,
        origin=origin,
        program=(program,),
        devices=_devices_of(where.name, version),
        cuda=read_cuda_version(packages) if packages and version else None,
    )


def _devices_of(name: EngineName, version: str | None) -> tuple[Device, ...]:
    """What a build computes on: vLLM's for CPUs says so in its version."""
    if name == "llama.cpp":
        return ("gpu", "cpu")
    return ("cpu",) if version and version.endswith("+cpu") else ("gpu",)
