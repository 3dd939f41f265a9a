"""The two programs that fill an environment, uv and pip, and their command lines."""

import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from nimctl.environments.managed import python_of
from nimctl.environments.recipes import Recipe


@dataclass(frozen=True, kw_only=True, slots=True)
class Index:
    """Where packages come from.

    Attributes:
        url: A package index instead of the usual one; it may hold a login, so it is never shown.
        is_extra: Whether `url` is asked beside the usual index.
        find_links: A folder of wheels to look into as well.
        offline: Look nowhere else.
    """

    url: str | None = field(default=None, repr=False)
    is_extra: bool = False
    find_links: Path | None = None
    offline: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class PackageTool:
    """One of the two programs."""

    name: Literal["uv", "pip"]
    command: tuple[str, ...]

    def make_environment(self, folder: Path) -> tuple[str, ...]:
        """The command that makes an empty environment in an empty folder."""
        if self.name == "uv":
            return (
                *self.command,
                "venv",
                "--allow-existing",
                "--python",
                sys.executable,
                str(folder),
            )
        return (sys.executable, "-m", "venv", "--without-pip", str(folder))

    def install(self, folder: Path, index: Index, arguments: tuple[str, ...]) -> tuple[str, ...]:
        """The command that installs requirements into an environment."""
        python = str(python_of(folder))
        if self.name == "uv":
            command = (*self.command, "pip", "install", "--python", python)
            offline: tuple[str, ...] = ("--offline", "--no-index")
        else:
            command = (*self.command, "--python", python, "install", *_PIP_OPTIONS)
            offline = ("--no-index",)
        if index.offline:
            command += offline
        if index.find_links is not None:
            command += ("--find-links", str(index.find_links))
        return (*command, *arguments)

    def variables(self, index: Index, recipe: Recipe) -> Mapping[str, str]:
        """The address of the index: not in the command, which everybody on the machine sees."""
        variables = {}
        if index.url is not None:
            names = _EXTRA_INDEX if index.is_extra else _INDEX
            variables[names[self.name]] = index.url
        # It makes uv ask PyTorch's own index, which one's own index stands for too.
        if self.name == "uv" and (index.url is None or index.is_extra):
            variables["UV_TORCH_BACKEND"] = "cpu" if recipe.device == "cpu" else "auto"
        return variables


_PIP_OPTIONS = ("--no-input", "--progress-bar", "off", "--disable-pip-version-check")
_INDEX = {"uv": "UV_DEFAULT_INDEX", "pip": "PIP_INDEX_URL"}
_EXTRA_INDEX = {"uv": "UV_INDEX", "pip": "PIP_EXTRA_INDEX_URL"}


def find_package_tools(environment: Mapping[str, str]) -> tuple[PackageTool, ...]:
    """What is here, to be tried in this order: uv is faster, pip has its own configuration."""
    tools = []
    uv = shutil.which("uv", path=environment.get("PATH", ""))
    if uv is not None:
        tools.append(PackageTool(name="uv", command=(uv,)))
    if find_spec("pip") is not None:
        tools.append(PackageTool(name="pip", command=(sys.executable, "-m", "pip")))
    return tuple(tools)
