"""Whether an engine works: found out by running it."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

from nimctl.core.engine import InstalledEngine
from nimctl.environments.managed import ORIGIN, ManagedEngine, python_of
from nimctl.environments.recipes import Recipe
from nimctl.environments.running import clean_environment, hide_logins
from nimctl.errors import EngineError

CHECK_ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
_TIMEOUT_S = 300.0
# trtllm-serve does not tell its version; SGLang has a command for it.
_ARGUMENT = {"tensorrt_llm": "--help", "sglang": "version"}


def list_checks(
    program: tuple[str, ...], recipe: Recipe, folder: Path
) -> tuple[tuple[str, ...], ...]:
    """The commands that a working engine of an environment runs to the end."""
    imports = "; ".join(f"import {module}" for module in recipe.imports)
    return (
        (str(python_of(folder)), "-P", "-c", imports),
        (*program, _ARGUMENT.get(recipe.engine, "--version")),
    )


def check_engine(
    installed: InstalledEngine,
    managed: tuple[ManagedEngine, ...],
    environment: Mapping[str, str],
) -> None:
    """Run an engine far enough to know that it can start.

    Raises:
        EngineError: it cannot.
    """
    own = next((one for one in managed if one.installed.program == installed.program), None)
    if own is None:
        checks: tuple[tuple[str, ...], ...] = (
            (*installed.program, _ARGUMENT.get(installed.name, "--version")),
        )
    else:
        checks = list_checks(installed.program, own.recipe, own.folder)
    for command in checks:
        cause = _run(command, {**clean_environment(environment), **CHECK_ENVIRONMENT})
        if cause is not None:
            again = f"nimctl engines remove {installed.name}, then install it again"
            raise EngineError(
                f"{installed.name} ({installed.origin}) does not work: {cause}",
                hint=again if installed.origin == ORIGIN else None,
            )


def _run(command: tuple[str, ...], environment: Mapping[str, str]) -> str | None:
    """Why a command fails; None where it does not."""
    try:
        ended = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            env=environment,
            check=False,
        )
    except OSError as error:
        return f"{command[0]} cannot be started: {error.strerror}"
    except subprocess.TimeoutExpired:
        return f"it did not end within {_TIMEOUT_S:.0f} s"
    if ended.returncode == 0:
        return None
    told = [line.strip() for line in ended.stdout.splitlines() if line.strip()]
    return hide_logins(told[-1]) if told else f"exit code {ended.returncode}"
