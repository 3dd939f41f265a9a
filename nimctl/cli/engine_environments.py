"""What `nimctl engines` does: the environments of engines on this machine, and what it tells."""

import platform
import time
from pathlib import Path
from typing import Any

from nimctl.cli.terminal import print_json, print_line, print_note, print_wrapped
from nimctl.core.engine import InstalledEngine
from nimctl.core.names import EngineName
from nimctl.core.units import format_duration
from nimctl.engines import TRAITS
from nimctl.environments import find_engines, list_engines
from nimctl.environments.checking import check_engine
from nimctl.environments.installing import InstallRequest, install_engine
from nimctl.environments.managed import ManagedEngine, list_managed
from nimctl.environments.package_tools import Index
from nimctl.environments.recipes import find_recipe
from nimctl.environments.removing import remove_engine
from nimctl.errors import EngineError, InputError
from nimctl.settings import Settings

_INDENT = 16


def print_engines(settings: Settings, *, json: bool) -> None:
    """Every engine of this machine, the used one of each name marked."""
    found = list_engines(settings.environment, settings.engines_dir, settings.engine_path)
    used = find_engines(settings.environment, settings.engines_dir, settings.engine_path)
    if json:
        print_json({"engines": [_describe(one, is_used=one in used) for one in found]})
        return
    for name, traits in TRAITS.items():
        own = [one for one in found if one.name == name]
        if not own:
            print_wrapped(f"  {traits.title}", "not installed", indent=_INDENT)
        for one in own:
            mark = "*" if one in used else " "
            built = "".join(f", {part}" for part in _describe_build(one))
            where = f"{one.origin}, on the {_name_devices(one)}{built}: {' '.join(one.program)}"
            text = f"{one.version or 'version unknown'}, {where}"
            print_wrapped(f"{mark} {traits.title}", text, indent=_INDENT)
    if settings.engines_dir is not None:
        print_line(f"Managed environments are kept in {settings.engines_dir}")


def _name_devices(engine: InstalledEngine) -> str:
    return " or ".join("GPU" if device == "gpu" else "CPU" for device in engine.devices)


def _describe_build(engine: InstalledEngine) -> tuple[str, ...]:
    """What it was built with, and for which GPUs, as far as that is known."""
    cuda, capabilities = _read_build(engine)
    parts = []
    if cuda:
        parts.append(f"CUDA {cuda}")
    if capabilities:
        parts.append(f"for compute capability {', '.join(capabilities)}")
    return tuple(parts)


def _read_build(engine: InstalledEngine) -> tuple[str | None, tuple[str, ...]]:
    """The CUDA version and the compute capabilities of a build for GPUs.

    The environment says itself which CUDA its PyTorch was built with; what its makers publish for
    that version says the rest.
    """
    if "gpu" not in engine.devices or engine.version is None:
        return engine.cuda, ()
    build = next(iter(TRAITS[engine.name].find_builds(engine.version)), None)
    if build is None:
        return engine.cuda, ()
    kernels = build.kernels(platform.machine())
    published = ".".join(map(str, build.cuda))
    return engine.cuda or published, tuple(f"{major}.{minor}" for major, minor in kernels)


def _describe(engine: InstalledEngine, *, is_used: bool) -> dict[str, Any]:
    cuda, capabilities = _read_build(engine)
    return {
        "name": engine.name,
        "version": engine.version,
        "cuda": cuda,
        "compute_capabilities": list(capabilities),
        "origin": engine.origin,
        "devices": list(engine.devices),
        "program": list(engine.program),
        "used": is_used,
    }


def install(
    settings: Settings,
    *,
    version: str | None,
    index_url: str | None,
    find_links: Path | None,
    json: bool,
) -> None:
    """Install the engine the settings name, for this machine.

    Raises:
        InputError: an option cannot be used.
        EngineError: it could not be installed, or does not run.
        InterruptedByUserError: Ctrl-C, or SIGTERM; nothing of it is kept.
    """
    from nimctl.probe import probe_machine

    if find_links is not None and not find_links.is_dir():
        raise InputError(f"the folder of wheels {find_links} does not exist")
    has_gpu = bool(probe_machine(settings.environment).gpus)
    recipe = find_recipe(_read_engine(settings), has_gpu=has_gpu)
    request = InstallRequest(
        recipe=recipe,
        version=version,
        index=Index(
            url=index_url,
            is_extra=not recipe.is_on_default_index,
            find_links=find_links.absolute() if find_links else None,
            offline=settings.offline,
        ),
        engines_dir=read_engines_folder(settings),
        environment=settings.environment,
    )
    began_s = time.monotonic()
    done = install_engine(request, print_note)
    if json:
        print_json(_describe_managed(done.managed) | {"was_there": done.was_there})
    elif done.was_there:
        print_line(f"{_name(done.managed)} is installed already, in {done.managed.folder}")
    else:
        took = format_duration(time.monotonic() - began_s)
        print_line(f"{_name(done.managed)} is installed in {done.managed.folder} (after {took})")


def remove(settings: Settings, *, version: str | None, json: bool) -> None:
    """Remove the managed environments of the engine the settings name.

    Raises:
        InputError: there is none.
    """
    engine = _read_engine(settings)
    gone = remove_engine(read_engines_folder(settings), engine, version, print_note)
    if json:
        print_json({"removed": [_describe_managed(one) for one in gone]})
        return
    for one in gone:
        print_line(f"removed {_name(one)} from {one.folder}")


def check(settings: Settings, *, json: bool) -> None:
    """Run the engine the settings name.

    Raises:
        EngineError: it is not installed, or does not work.
    """
    name = _read_engine(settings)
    found = find_engines(settings.environment, settings.engines_dir, settings.engine_path)
    engine = next((one for one in found if one.name == name), None)
    if engine is None:
        raise EngineError(
            f"{TRAITS[name].title} is not installed", hint=f"nimctl engines install {name}"
        )
    began_s = time.monotonic()
    check_engine(engine, list_managed(settings.engines_dir), settings.environment)
    if json:
        print_json(_describe(engine, is_used=True) | {"works": True})
    else:
        took = format_duration(time.monotonic() - began_s)
        print_line(
            f"{TRAITS[name].title} {engine.version or ''} ({engine.origin}) works (after {took})"
        )


def _read_engine(settings: Settings) -> EngineName:
    if settings.engine is None:
        raise AssertionError("the command names an engine")
    return settings.engine


def read_engines_folder(settings: Settings) -> Path:
    """The folder of managed environments.

    Raises:
        InputError: there is none to keep them in.
    """
    if settings.engines_dir is None:
        raise InputError(
            "there is no home folder to keep engines in", hint="set NIMCTL_ENGINES_DIR to a folder"
        )
    return settings.engines_dir


def _name(managed: ManagedEngine) -> str:
    return f"{managed.recipe.title} {managed.version}"


def _describe_managed(managed: ManagedEngine) -> dict[str, Any]:
    return {
        "name": managed.engine,
        "version": managed.version,
        "path": str(managed.folder),
        "devices": [managed.recipe.device],
    }
