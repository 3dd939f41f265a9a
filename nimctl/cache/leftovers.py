"""What cut-off fetches left on their way, and what of it a process is still at work on."""

import shutil
import stat
import time
from contextlib import suppress
from pathlib import Path

from nimctl.cache.layout import Layout
from nimctl.cache.leases import SILENCE_S, is_locked
from nimctl.cache.locks import is_held
from nimctl.cache.owners import measure_silence_s, name_machine


def delete_leftovers(layout: Layout, age_s: float) -> None:
    """Delete what was left in the cache on its way for longer than `age_s` seconds.

    A clock that was set forward makes everything look old, so what is in use stays whatever its
    age.
    """
    oldest_s = time.time() - age_s
    for folder in (layout.partial, layout.quarantine):
        for path in folder.iterdir():
            with suppress(FileNotFoundError):
                facts = path.lstat()
                is_old = stat.S_ISREG(facts.st_mode) and facts.st_mtime < oldest_s
                if is_old and not is_in_use(path):
                    path.unlink()
    for path in layout.scratch.iterdir() if layout.scratch.is_dir() else ():
        with suppress(FileNotFoundError):
            if path.lstat().st_mtime < oldest_s and not is_in_use(path):
                shutil.rmtree(path, ignore_errors=True)


def is_in_use(path: Path) -> bool:
    """Whether a process is at work on something that lies among files on their way."""
    match path.suffix:
        case ".part" | ".blocks":
            return is_being_written(path)
        case ".lock":
            return is_held(path)
        case _:
            return path.is_dir() and is_locked(path)  # a folder of a source, which locks it


def is_being_written(part: Path) -> bool:
    """Whether the owner of a file on its way lives: its lock tells, of other machines silence."""
    key, owner = part.name.split(".", 1)[0], part.name.split(".")[1:-1]
    if is_held(part.with_name(f"{key}.lock")):
        return True
    is_of_here = bool(owner) and owner[-1].startswith(f"{name_machine()}-")
    try:
        return not is_of_here and measure_silence_s(part) < SILENCE_S
    except FileNotFoundError:  # it became whole meanwhile
        return False
