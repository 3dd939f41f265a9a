"""Takes managed environments away again."""

from collections.abc import Callable
from pathlib import Path

from nimctl.core.names import EngineName
from nimctl.environments.in_use import is_held
from nimctl.environments.installing import sweep
from nimctl.environments.lock import InstallLock
from nimctl.environments.managed import ManagedEngine, list_managed
from nimctl.errors import InputError, InUseError


def remove_engine(
    engines_dir: Path, engine: EngineName, version: str | None, tell: Callable[[str], None]
) -> tuple[ManagedEngine, ...]:
    """Remove the managed environments of an engine, or the one of a version; gives what went.

    Raises:
        InputError: there is none.
        InUseError: one of them is running.
    """
    if not engines_dir.is_dir():
        raise InputError(_describe_absence(engine, version))
    with InstallLock(engines_dir / ".lock", tell):
        going = tuple(
            one
            for one in list_managed(engines_dir)
            if one.engine == engine and version in (None, one.version, one.version.split("+")[0])
        )
        if not going:
            raise InputError(_describe_absence(engine, version))
        for one in filter(lambda one: is_held(one.folder), going):
            raise InUseError(
                f"{one.recipe.title} {one.version} is being used, so nothing was removed",
                hint="`nimctl ps` shows what runs, `nimctl stop` ends it",
            )
        for one in going:
            # Out of sight at once: a removal that is cut short leaves no half engine.
            one.folder.rename(engines_dir / f".building-{one.folder.name}")
        sweep(engines_dir)
    return going


def _describe_absence(engine: EngineName, version: str | None) -> str:
    which = f"{engine} {version}" if version else engine
    return f"nimctl manages no environment of {which}, so there is nothing to remove"
