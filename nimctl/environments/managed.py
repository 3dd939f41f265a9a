"""The environments nimctl made itself: one folder each, with a record of what is in it."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from nimctl.core.engine import InstalledEngine
from nimctl.core.names import EngineName
from nimctl.environments.packages import read_cuda_version, site_packages_of
from nimctl.environments.recipes import Recipe, find_recipe_of

ORIGIN = "a managed environment"
RECORD = "nimctl-engine.json"
LLAMA_SERVER = Path(__file__).with_name("llama_server.py")


@dataclass(frozen=True, kw_only=True, slots=True)
class ManagedEngine:
    """An engine in an environment of its own.

    Attributes:
        version: The engine's own, e.g. `0.32.0+cpu`.
        folder: The environment.
    """

    recipe: Recipe
    version: str
    folder: Path

    @property
    def engine(self) -> EngineName:
        """Its name."""
        return self.recipe.engine

    @property
    def installed(self) -> InstalledEngine:
        """The engine as selection knows it."""
        packages = site_packages_of(self.folder)
        return InstalledEngine(
            name=self.recipe.engine,
            version=self.version,
            origin=ORIGIN,
            program=program_in(self.folder, self.recipe),
            devices=(self.recipe.device,),
            cuda=None if packages is None else read_cuda_version(packages),
        )


def list_managed(engines_dir: Path | None) -> tuple[ManagedEngine, ...]:
    """Every managed environment, the newest version of an engine first."""
    if engines_dir is None or not engines_dir.is_dir():
        return ()
    found = [_read(path) for path in sorted(engines_dir.glob(f"[!.]*/{RECORD}"))]
    known = [one for one in found if one is not None]
    return tuple(sorted(known, key=lambda one: _count_version(one.version), reverse=True))


def folder_of(engines_dir: Path, recipe: Recipe, version: str) -> Path:
    """Where an environment is kept, e.g. `vllm-0.32.0+cpu`."""
    return engines_dir / f"{recipe.engine}-{version}"


def python_of(folder: Path) -> Path:
    """The interpreter of an environment."""
    return folder / "bin" / "python"


def program_in(folder: Path, recipe: Recipe) -> tuple[str, ...]:
    """How the engine of an environment starts."""
    if recipe.script:
        return (str(folder / "bin" / recipe.script),)
    return (str(python_of(folder)), "-P", str(LLAMA_SERVER))


def write_record(folder: Path, recipe: Recipe, version: str) -> None:
    """Say what an environment holds; one without a record is not an engine."""
    record = {"engine": recipe.engine, "package": recipe.package, "version": version}
    (folder / RECORD).write_text(json.dumps(record, indent=1) + "\n")


def _read(path: Path) -> ManagedEngine | None:
    try:
        record = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    match record:
        case {"package": str() as package, "version": str() as version}:
            recipe = find_recipe_of(package)
            if recipe is not None:
                return ManagedEngine(recipe=recipe, version=version, folder=path.parent)
    return None


def _count_version(version: str) -> tuple[int, ...]:
    """A version as numbers, to tell the newer of two; labels behind them do not count."""
    return tuple(int(number) for number in re.findall(r"\d+", version.partition("+")[0]))
