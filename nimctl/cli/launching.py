"""From a chosen profile to its process: names, folders, adapters, and the address of the engine."""

import os
import socket
import tempfile
from collections.abc import Mapping
from pathlib import Path

from nimctl.cli.adapters import find_adapters
from nimctl.core.engine import EngineTraits, InstalledEngine
from nimctl.core.engine_address import EngineAddress
from nimctl.core.engine_options import EngineOptions
from nimctl.core.launch_arguments import NativeArguments, split_words
from nimctl.core.manifest import Manifest
from nimctl.core.plan import Launch, Plan, Site
from nimctl.core.request_fields import read_version
from nimctl.engines import ENGINES
from nimctl.errors import InputError
from nimctl.settings import Settings

_LONGEST_SOCKET_PATH = 100  # the kernel allows 107 bytes and some systems 103


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


def choose_address(traits: EngineTraits, state_dir: Path) -> EngineAddress:
    """A unix socket in the state folder where the engine can, else a free port of loopback."""
    if traits.listens_on_sockets:
        return EngineAddress(uds=str(state_dir / "engine.sock"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return EngineAddress(port=probe.getsockname()[1])


def read_options(settings: Settings) -> EngineOptions:
    """What was asked of the engine beside size and place.

    Raises:
        InputError: the chat template is not a file.
    """
    template = settings.chat_template
    if template is not None and not template.is_file():
        raise InputError(f"the chat template {template} is no file")
    return EngineOptions(
        tool_parser=settings.tool_parser,
        reasoning_parser=settings.reasoning_parser,
        chat_template=template,
        prefix_caching=settings.prefix_caching,
        chunked_prefill=settings.chunked_prefill,
        structured_output_backend=settings.structured_output_backend,
        speculative=settings.speculative,
        speculative_tokens=settings.speculative_tokens,
        seed=settings.seed,
        trust_remote_code=settings.trust_remote_code or None,
        max_lora_rank=settings.max_lora_rank,
        max_loras=settings.max_loras,
        max_cpu_loras=settings.max_cpu_loras,
    )


def read_native(settings: Settings, command_line: tuple[str, ...]) -> NativeArguments:
    """The engine's own arguments: those of the settings, and those after `--`."""
    return NativeArguments(
        passthrough=split_words(settings.engine_args, settings.origins["engine_args"]),
        command_line=split_words(command_line, "after --"),
    )


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
    """The process that runs a plan; what the user wrote in the engine's own words comes last."""
    engine = ENGINES[plan.profile.engine]
    site = Site(
        program=installed.program or (engine.traits.name,),
        weights_dir=weights_dir,
        address=choose_address(engine.traits, state_dir),
        served_names=served_names,
        state_dir=state_dir,
        version=read_version(installed.version),
        options=read_options(settings),
        native=read_native(settings, engine_args),
        adapters=find_adapters(settings, engine.traits),
        origins={name: who for name, who in settings.origins.items() if who != "default"},
    )
    return engine.launch(plan, site)
