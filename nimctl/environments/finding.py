"""Which engines this machine has, found without running them, so that a listing is quick."""

import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from nimctl.core.engine import InstalledEngine
from nimctl.core.names import EngineName
from nimctl.core.plan import Device
from nimctl.environments.managed import list_managed

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
)


def find_engines(
    environment: Mapping[str, str], engines_dir: Path | None
) -> tuple[InstalledEngine, ...]:
    """The engines to use: the first of each name that `list_engines` tells."""
    used: dict[EngineName, InstalledEngine] = {}
    for engine in list_engines(environment, engines_dir):
        used.setdefault(engine.name, engine)
    return tuple(used.values())


def list_engines(
    environment: Mapping[str, str], engines_dir: Path | None
) -> tuple[InstalledEngine, ...]:
    """Every engine of this machine, by name, and of one name the preferred one first.

    A managed environment was asked for by name, so it comes before this Python environment, and
    that before `PATH` in `environment`.
    """
    search_path = environment.get("PATH", "")
    managed = tuple(one.installed for one in list_managed(engines_dir))
    found = []
    for where in _GPU_ENGINES:
        found += [one for one in managed if one.name == where.name]
        found += _find_beside(where)
        found += _find_on_path(where.name, where.script, search_path, ("gpu",))
    found += [one for one in managed if one.name == "llama.cpp"]
    found += _find_wheel()
    found += _find_on_path("llama.cpp", "llama-server", search_path, ("gpu", "cpu"))
    return tuple({one.program: one for one in reversed(found)}.values())[::-1]


def _find_beside(where: _Whereabouts) -> list[InstalledEngine]:
    """An engine of the Python environment that nimctl itself runs in."""
    script = Path(sys.executable).with_name(where.script)
    version = _read_version(where.distribution)
    if version is None or not script.exists():
        return []
    device: Device = "cpu" if version.endswith("+cpu") else "gpu"
    return [
        InstalledEngine(
            name=where.name,
            version=version,
            origin="this environment",
            program=(str(script),),
            devices=(device,),
        )
    ]


def _find_wheel() -> list[InstalledEngine]:
    version = _read_version(_WHEEL)
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


def _find_on_path(
    name: EngineName, script: str, search_path: str, devices: tuple[Device, ...]
) -> list[InstalledEngine]:
    program = shutil.which(script, path=search_path)
    if program is None:
        return []
    return [
        InstalledEngine(name=name, version=None, origin="PATH", program=(program,), devices=devices)
    ]


def _read_version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
