"""Makes an environment for an engine: built aside, checked by running it, then put in its place."""

import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from errno import EDQUOT, ENOSPC
from importlib import metadata
from pathlib import Path

from nimctl.core.units import format_bytes
from nimctl.environments.checking import CHECK_ENVIRONMENT, list_checks
from nimctl.environments.install_failures import explain_failure
from nimctl.environments.lock import InstallLock
from nimctl.environments.managed import (
    ManagedEngine,
    folder_of,
    list_managed,
    program_in,
    write_record,
)
from nimctl.environments.package_tools import Index, PackageTool, find_package_tools
from nimctl.environments.packages import site_packages_of
from nimctl.environments.recipes import Recipe, list_requirements
from nimctl.environments.relocating import move_environment
from nimctl.environments.running import (
    CommandFailedError,
    Running,
    clean_environment,
    open_log,
    run_command,
)
from nimctl.errors import DiskFullError, EngineError, InputError, InterruptedByUserError

_ASIDE = ".building-"
_INSTALLED_BY = "nimctl"


@dataclass(frozen=True, kw_only=True, slots=True)
class InstallRequest:
    """What to install and where.

    Attributes:
        version: The version asked for; None takes what the recipe knows.
        engines_dir: The folder of all managed environments.
        environment: Our own variables, of which the installer gets those that are no secrets.
    """

    recipe: Recipe
    version: str | None
    index: Index
    engines_dir: Path
    environment: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Installation:
    """An engine that is there now, and whether it was there before."""

    managed: ManagedEngine
    was_there: bool


def install_engine(request: InstallRequest, tell: Callable[[str], None]) -> Installation:
    """Install an engine, or find that it is installed; `tell` hears a line now and then.

    Raises:
        InputError: the folder cannot be written, or the engine needs an index that was not named.
        DiskFullError: there is too little room.
        UnreachableError: the package index cannot be asked.
        EngineError: it could not be installed, or does not run.
        InterruptedByUserError: Ctrl-C; nothing of it is kept.
    """
    _require_index(request)
    try:
        request.engines_dir.mkdir(parents=True, exist_ok=True)
        with InstallLock(request.engines_dir / ".lock", tell) as lock:
            present = _find_present(request)
            if present is not None:
                return Installation(managed=present, was_there=True)
            sweep(request.engines_dir)
            _require_room(request)
            return Installation(managed=_install(request, tell, lock), was_there=False)
    except KeyboardInterrupt:
        raise InterruptedByUserError(
            f"the installation of {request.recipe.title} was interrupted; nothing of it was kept"
        ) from None
    except OSError as error:
        if error.errno in (ENOSPC, EDQUOT):
            raise DiskFullError(
                f"the disk of {request.engines_dir} is full; nothing of {request.recipe.title} "
                "was kept",
                hint="NIMCTL_ENGINES_DIR names a folder on another disk",
            ) from error
        raise InputError(
            f"the folder of engines {request.engines_dir} cannot be used: {error.strerror}",
            hint="set NIMCTL_ENGINES_DIR to a folder that can be written",
        ) from error


def sweep(engines_dir: Path) -> None:
    """Remove what an installation that was killed left behind; under the lock only."""
    for left in engines_dir.glob(f"{_ASIDE}*"):
        shutil.rmtree(left, ignore_errors=True)


def _require_index(request: InstallRequest) -> None:
    recipe, index = request.recipe, request.index
    if not recipe.is_on_default_index and index.url is None and index.find_links is None:
        raise InputError(
            f"{recipe.title}'s wheels are on NVIDIA's own package index, which has to be named",
            hint="give its address with --index-url; the installation guide of "
            f"{recipe.title} tells it",
        )
    if index.offline and index.find_links is None:
        raise InputError(
            "offline, an engine can only be installed from a folder of wheels",
            hint="name the folder with --find-links DIR",
        )


def _find_present(request: InstallRequest) -> ManagedEngine | None:
    """The environment that was asked for, where it is there."""
    wanted = request.version or request.recipe.pinned_version
    for managed in list_managed(request.engines_dir):
        same = managed.recipe == request.recipe
        if same and wanted in (None, managed.version, managed.version.split("+")[0]):
            return managed
    return None


def _require_room(request: InstallRequest) -> None:
    need, free = request.recipe.disk_bytes, shutil.disk_usage(request.engines_dir).free
    if need is not None and free < need:
        raise DiskFullError(
            f"{request.recipe.title} needs {format_bytes(need)} of disk, "
            f"{request.engines_dir} has {format_bytes(free)} free",
            hint="NIMCTL_ENGINES_DIR names a folder on another disk",
        )


def _install(
    request: InstallRequest, tell: Callable[[str], None], lock: InstallLock
) -> ManagedEngine:
    """Try with each package tool that is here; what the last one said is the failure."""
    title = request.recipe.title
    log_path = request.engines_dir / f"{request.recipe.engine}-install.log"
    tools = find_package_tools(request.environment)
    if not tools:
        raise EngineError(
            "neither pip nor uv is here to install with",
            hint="put uv on PATH, or run `python -m ensurepip` in nimctl's environment",
        )
    with open_log(log_path) as log:
        running = Running(
            environment=clean_environment(request.environment),
            log=log,
            tell=tell,
            lock_descriptor=lock.descriptor,
        )
        failures = []
        for tool in tools:
            tell(f"installing {title} with {tool.name}; its log is {log_path}")
            try:
                return _build(request, tool, running)
            except CommandFailedError as error:
                failures.append(error)
                if tool is not tools[-1]:
                    tell(f"{tool.name} could not: {error}")
    raise explain_failure(title, str(failures[-1]), failures[-1].told, log_path)


def _build(request: InstallRequest, tool: PackageTool, running: Running) -> ManagedEngine:
    """Build, check and move one environment; whatever happens, nothing half-done is left."""
    recipe = request.recipe
    aside = Path(tempfile.mkdtemp(prefix=_ASIDE, dir=request.engines_dir))
    try:
        run_command(running, tool.make_environment(aside))
        _install_packages(request, tool, running, aside)
        version = _read_version(aside, recipe)
        running.tell(f"checking {recipe.title} {version}")
        for check in list_checks(program_in(aside, recipe), recipe, aside):
            run_command(running, check, CHECK_ENVIRONMENT)
        write_record(aside, recipe, version)
        folder = folder_of(request.engines_dir, recipe, version)
        move_environment(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return ManagedEngine(recipe=recipe, version=version, folder=folder)


def _install_packages(
    request: InstallRequest, tool: PackageTool, running: Running, folder: Path
) -> None:
    recipe, index = request.recipe, request.index
    variables = tool.variables(index, recipe)
    main = recipe.requirement(request.version)

    def install(*arguments: str) -> None:
        run_command(running, tool.install(folder, index, arguments), variables)

    if recipe.requires_its_own:
        install(main)
        return
    install("--no-deps", main)
    published = tuple(_find_distribution(folder, recipe).requires or ())
    requirements = folder / "requirements.txt"
    requirements.write_text("\n".join(list_requirements(recipe, published)) + "\n")
    install("--requirement", str(requirements))
    if recipe.stands_for is not None:
        _stand_for(folder, recipe)


def _stand_for(folder: Path, recipe: Recipe) -> None:
    """Let a distribution answer for another one, whose metadata its programs look up."""
    version = f"{_find_distribution(folder, recipe).version}+{recipe.device}"
    beside = _site_packages(folder) / f"{recipe.stands_for}-{version}.dist-info"
    beside.mkdir()
    (beside / "INSTALLER").write_text(f"{_INSTALLED_BY}\n")
    (beside / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {recipe.stands_for}\nVersion: {version}\n"
    )


def _read_version(folder: Path, recipe: Recipe) -> str:
    version = _find_distribution(folder, recipe).version
    return f"{version}+{recipe.device}" if recipe.stands_for else version


def _find_distribution(folder: Path, recipe: Recipe) -> metadata.Distribution:
    folders = [str(_site_packages(folder))]
    found = next(iter(metadata.distributions(name=recipe.package, path=folders)), None)
    if found is None:
        raise CommandFailedError(f"the installer left no {recipe.package} in the environment")
    return found


def _site_packages(folder: Path) -> Path:
    packages = site_packages_of(folder)
    if packages is None:
        raise CommandFailedError("the environment has no folder for packages")
    return packages
