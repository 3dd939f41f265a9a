"""The engine that is not here and would run a model best: told with its command, or installed."""

import shlex
from dataclasses import dataclass, replace

from nimctl.cli.facts import Machine, judge, read_machine
from nimctl.cli.terminal import print_json_line, print_note
from nimctl.core.engine import InstalledEngine
from nimctl.core.manifest import Manifest
from nimctl.core.verdict import Selection, Verdict
from nimctl.core.wish import Wish
from nimctl.environments.installing import InstallRequest, install_engine
from nimctl.environments.package_tools import Index
from nimctl.environments.recipes import Recipe, find_recipe
from nimctl.settings import Settings


@dataclass(frozen=True, kw_only=True, slots=True)
class MissingEngine:
    """An engine that would run a model's best profile, were it installed.

    Attributes:
        verdict: That profile, judged as if it were.
        recipe: How it is installed on the machine judged.
        offline: Whether it may come from a folder only.
    """

    verdict: Verdict
    recipe: Recipe
    offline: bool

    @property
    def command(self) -> str:
        """The command that installs it."""
        words = ["nimctl", "engines", "install", self.recipe.engine.replace("_", "-")]
        if not self.recipe.is_on_default_index:
            words += ["--index-url", "URL"]
        if self.offline:
            words += ["--offline", "--find-links", "DIR"]
        return shlex.join(words)

    @property
    def can_install_itself(self) -> bool:
        """Whether the command needs nothing that only the user knows."""
        return self.recipe.is_on_default_index and not self.offline


def find_missing_engine(
    manifest: Manifest, machine: Machine, wish: Wish, settings: Settings, selection: Selection
) -> MissingEngine | None:
    """The engine to install for a better profile than `selection` has; None where none would help.

    Every profile is judged once more as if each engine that is missing were here.
    """
    have = {engine.name for engine in machine.engines}
    lacking = {profile.engine for profile in manifest.profiles} - have
    if not lacking or settings.container is not None:
        return None
    has_gpu = bool(machine.hardware.gpus)
    recipes = {name: find_recipe(name, has_gpu=has_gpu) for name in lacking}
    as_if = replace(
        machine, engines=(*machine.engines, *(_as_if_installed(one) for one in recipes.values()))
    )
    chosen = judge(manifest, as_if, wish, settings).chosen
    if chosen is None or chosen.profile.engine not in lacking:
        return None
    if selection.chosen is not None and selection.chosen.rank <= chosen.rank:
        return None
    recipe = recipes[chosen.profile.engine]
    return MissingEngine(verdict=chosen, recipe=recipe, offline=settings.offline)


def _as_if_installed(recipe: Recipe) -> InstalledEngine:
    version = recipe.pinned_version
    return InstalledEngine(
        name=recipe.engine,
        version=f"{version}+{recipe.device}" if version and recipe.stands_for else version,
        origin="assumption",
        program=(),
        devices=(recipe.device,),
    )


def install_missing_engine(
    manifest: Manifest, machine: Machine, wish: Wish, settings: Settings, *, json: bool
) -> Machine:
    """The machine with the engine that the best profile needs, installed now if it was missing.

    Args:
        json: Tell lines of JSON instead of notes.

    Raises:
        NimctlError: it could not be installed.
    """
    from nimctl.cli.engine_environments import read_engines_folder

    selection = judge(manifest, machine, wish, settings)
    missing = find_missing_engine(manifest, machine, wish, settings, selection)
    if missing is None:
        return machine
    title, engine = missing.recipe.title, missing.recipe.engine
    if selection.chosen is not None and not missing.can_install_itself:
        print_note(f"note: {title} is not installed: {missing.command}")
        return machine

    def tell(line: str) -> None:
        if json:
            print_json_line({"event": "installing", "engine": engine, "text": line.strip()})
        else:
            print_note(line)

    tell(f"{missing.verdict.profile.description} needs {title}, which is not installed")
    request = InstallRequest(
        recipe=missing.recipe,
        version=None,
        index=Index(offline=settings.offline),
        engines_dir=read_engines_folder(settings),
        environment=settings.environment,
    )
    done = install_engine(request, tell).managed
    if json:
        document = {"event": "installed", "engine": engine, "version": done.version}
        print_json_line(document | {"path": str(done.folder)})
    else:
        print_note(f"{title} {done.version} is installed in {done.folder}")
    return read_machine(settings, None)
