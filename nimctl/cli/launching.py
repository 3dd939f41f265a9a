"""From a chosen profile to its process: names, folders, adapters, and the address of the engine."""

import os
import socket
import tempfile
from collections.abc import Mapping
from pathlib import Path

from nimctl.core.engine import InstalledEngine
from nimctl.core.engine_address import EngineAddress
from nimctl.core.manifest import Manifest
from nimctl.core.plan import Launch, Plan, Site
from nimctl.engines import ENGINES
from nimctl.errors import InputError
from nimctl.settings import Settings

_LONGEST_SOCKET_PATH = 100  # the kernel allows 107 bytes and some systems 103
_WITHOUT_SOCKET = ("tensorrt_llm",)  # trtllm-serve listens on ports only


def choose_served_names(settings: Settings, manifest: Manifest) -> tuple[str, ...]:
    """The names clients use: what the user set, else the full and the short name."""
    return settings.served_model_names or (manifest.model, manifest.short_name)


def make_state_dir(environment: Mapping[str, str]) -> Path:
    """A new folder that only this user can enter, for the engine's socket and files."""
    runtime = environment.get("XDG_RUNTIME_DIR")
    parent = runtime if runtime and Path(runtime).is_dir() else None
    folder = Path(tempfile.mkdtemp(prefix="nimctl-", dir=parent))
    if len(os.fsencode(folder / "engine.sock")) > _LONGEST_SOCKET_PATH:
        folder.rmdir()
        folder = Path(tempfile.mkdtemp(prefix="nimctl-", dir="/tmp"))
    return folder


def choose_address(engine: str, state_dir: Path) -> EngineAddress:
    """A unix socket in the state folder where the engine can, else a free port of loopback."""
    if engine not in _WITHOUT_SOCKET:
        return EngineAddress(uds=str(state_dir / "engine.sock"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return EngineAddress(port=probe.getsockname()[1])


def find_adapters(folder: Path | None) -> tuple[tuple[str, Path], ...]:
    """Name and folder of each LoRA adapter under `folder`.

    Raises:
        InputError: there is no such folder, or no adapter in it.
    """
    if folder is None:
        return ()
    if not folder.is_dir():
        raise InputError(f"the folder of LoRA adapters {folder} does not exist")
    found = sorted(path for path in folder.iterdir() if (path / "adapter_config.json").exists())
    if not found:
        raise InputError(
            f"{folder} holds no LoRA adapter",
            hint="each adapter is a subfolder with adapter_config.json and its weights",
        )
    return tuple((path.name, path) for path in found)


def make_launch(
    plan: Plan,
    installed: InstalledEngine,
    *,
    weights_dir: Path,
    state_dir: Path,
    served_names: tuple[str, ...],
    settings: Settings,
    engine_args: tuple[str, ...],
) -> Launch:
    """The process that runs a plan; arguments after `--` come last and win over the settings'."""
    engine = plan.profile.engine
    site = Site(
        program=installed.program or (engine,),
        weights_dir=weights_dir,
        address=choose_address(engine, state_dir),
        served_names=served_names,
        state_dir=state_dir,
        engine_args=(*settings.engine_args, *engine_args),
        lora_adapters=find_adapters(settings.lora_dir),
    )
    return ENGINES[engine].launch(plan, site)
