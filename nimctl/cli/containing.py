"""`--container`: engines out of the images their makers publish, run by docker or podman."""

import os
import re
from dataclasses import replace
from pathlib import Path

from nimctl.cli.log_files import new_log_file
from nimctl.cli.terminal import print_note
from nimctl.core.engine import InstalledEngine
from nimctl.core.manifest import Manifest
from nimctl.core.names import EngineName
from nimctl.core.plan import Launch, Plan
from nimctl.engines.container import IMAGES, ContainerSite, contain
from nimctl.environments.containers import bring_image, find_container_program
from nimctl.errors import InputError
from nimctl.settings import Settings

_INHERITED = re.compile(r"(VLLM|TRTLLM|TLLM|NCCL|UCX)_.*")
_SECRET = re.compile(r".*(TOKEN|SECRET|PASSWORD|API_?KEY|CREDENTIAL).*", re.IGNORECASE)


def list_image_engines(settings: Settings) -> tuple[InstalledEngine, ...]:
    """The engines that have an image, each in the version that it would run."""
    tool = settings.container
    if tool is None:
        return ()
    return tuple(
        InstalledEngine(
            name=name,
            version=_read_version(name, settings),
            origin=f"{name_image(name, settings)}, run by {tool}",
            program=(image.program,),
            devices=("gpu",),
        )
        for name, image in IMAGES.items()
    )


def keep_image_profiles(manifest: Manifest, settings: Settings) -> Manifest:
    """The model with the profiles that a container can run, where one was asked for.

    Raises:
        InputError: it has none.
    """
    if settings.container is None:
        return manifest
    profiles = tuple(one for one in manifest.profiles if one.engine in IMAGES)
    if not profiles:
        raise InputError(
            f"{manifest.model} has no profile of an engine that comes as an image",
            hint=f"leave --container {settings.container} out",
        )
    return replace(manifest, profiles=profiles)


def name_image(engine: EngineName, settings: Settings) -> str:
    """The image of an engine: what the user named, else the one of the version nimctl takes.

    Raises:
        InputError: the engine has none.
    """
    image = IMAGES.get(engine)
    if image is None:
        raise InputError(
            f"nimctl knows no image of {engine}", hint="leave --container out, or use vLLM's"
        )
    return settings.container_image or image.name(image.version)


def _read_version(engine: EngineName, settings: Settings) -> str | None:
    """The version in the tag; None where an image that was named tells none."""
    if settings.container_image is None:
        return IMAGES[engine].version
    tag = settings.container_image.rpartition(":")[2]
    found = re.fullmatch(r"v?(\d+\.\d+(?:\.\d+)?(?:rc\d+|\.post\d+)?)", tag)
    return found[1] if found else None


def require_container_program(settings: Settings) -> None:
    """Refuse what cannot be run before anything is fetched.

    Raises:
        EngineError: docker or podman is not here.
    """
    if settings.container is not None:
        find_container_program(settings.container, settings.environment)


def bring_engine_image(engine: EngineName, settings: Settings) -> None:
    """Pull the engine's image, where it runs in a container and the image is not here.

    Raises:
        EngineError: it cannot be had.
    """
    if settings.container is None:
        return
    bring_image(
        find_container_program(settings.container, settings.environment),
        name_image(engine, settings),
        settings.environment,
        offline=settings.offline,
        log_path=new_log_file("logs", "-image.log"),
        tell=print_note,
    )


def contain_launch(
    launch: Launch,
    plan: Plan,
    settings: Settings,
    *,
    state_dir: Path,
    read_only: tuple[Path, ...],
    writable: tuple[Path, ...],
) -> Launch:
    """The launch in a container, where one was asked for.

    Args:
        read_only: What the engine reads: weights and adapters.
        writable: What it writes besides the state folder.
    """
    tool, engine = settings.container, plan.profile.engine
    if tool is None:
        return launch
    site = ContainerSite(
        tool=tool,
        program=tool,
        image=name_image(engine, settings),
        user_id=os.getuid(),
        group_id=os.getgid(),
        shm_size=settings.shm_size,
        state_dir=state_dir,
        read_only=tuple(folder for path in read_only for folder in _list_folders(path)),
        writable=writable,
        inherited=tuple(
            name
            for name in sorted(settings.environment)
            if _INHERITED.fullmatch(name) and not _SECRET.fullmatch(name) and name not in launch.env
        ),
    )
    return contain(launch, plan, engine, site)


def _list_folders(folder: Path) -> tuple[Path, ...]:
    """A folder, and the one its links lead to, if they lead out of it."""
    folder = folder.absolute()
    links = [path for path in folder.rglob("*") if path.is_symlink()] if folder.is_dir() else []
    outside = [path.resolve() for path in links if not path.resolve().is_relative_to(folder)]
    if not outside:
        return (folder,)
    return (folder, Path(os.path.commonpath([path.parent for path in outside])))
