"""Keeps an environment from being removed while its engine runs.

Whoever runs an engine holds a shared lock on the record of its environment; the kernel lets go of
it however that process ends.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from nimctl.core.engine import InstalledEngine
from nimctl.environments.managed import RECORD, list_managed
from nimctl.errors import EngineError


@contextlib.contextmanager
def hold_engine(engine: InstalledEngine, engines_dir: Path | None) -> Iterator[None]:
    """Say, for as long as a `with` lasts, that a managed engine is used; others need no hold.

    Raises:
        EngineError: it was removed meanwhile.
    """
    managed = list_managed(engines_dir)
    own = next((one for one in managed if one.installed.program == engine.program), None)
    if own is None:
        yield
        return
    try:
        descriptor = os.open(own.folder / RECORD, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise EngineError(
            f"{own.recipe.title} {own.version} was removed a moment ago",
            hint=f"nimctl engines install {engine.name}",
        ) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def is_held(folder: Path) -> bool:
    """Whether somebody runs the engine of a managed environment."""
    descriptor = os.open(folder / RECORD, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
