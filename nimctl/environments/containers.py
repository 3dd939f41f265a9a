"""Docker and podman on this machine: found, and given the image that shall run."""

import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from nimctl.environments.running import CommandFailedError, Running, open_log, run_command
from nimctl.errors import EngineError

_INSPECT_TIMEOUT_S = 30.0


def find_container_program(tool: str, environment: Mapping[str, str]) -> str:
    """The program of a container engine.

    Raises:
        EngineError: it is not on PATH.
    """
    program = shutil.which(tool, path=environment.get("PATH", ""))
    if program is None:
        raise EngineError(
            f"{tool} is not on PATH, and --container {tool} runs the engine with it",
            hint=f"install {tool}, or leave --container out to use an engine of this machine",
        )
    return program


def bring_image(
    program: str,
    image: str,
    environment: Mapping[str, str],
    *,
    offline: bool,
    log_path: Path,
    tell: Callable[[str], None],
) -> None:
    """Pull an image, unless it is here; `tell` hears a line now and then.

    Raises:
        EngineError: it cannot be had.
    """
    if _has_image(program, image, environment):
        return
    if offline:
        raise EngineError(
            f"the image {image} is not here, and offline nothing is pulled",
            hint=f"on a machine with a network: {Path(program).name} pull {image}",
        )
    tell(f"pulling {image}; the log is {log_path}")
    with open_log(log_path) as log:
        running = Running(environment=environment, log=log, tell=tell, lock_descriptor=log.fileno())
        try:
            run_command(running, (program, "pull", image))
        except CommandFailedError as error:
            raise EngineError(
                f"the image {image} cannot be pulled: {error}", hint=f"see {log_path}"
            ) from error


def _has_image(program: str, image: str, environment: Mapping[str, str]) -> bool:
    quiet = subprocess.DEVNULL
    try:
        done = subprocess.run(
            (program, "image", "inspect", image),
            stdin=quiet,
            stdout=quiet,
            stderr=quiet,
            env=environment,
            timeout=_INSPECT_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EngineError(f"{program} does not answer: {error}") from error
    return done.returncode == 0
