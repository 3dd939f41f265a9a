"""What engines have compiled: one folder a version and GPU generation, of one user alone.

It is code that the next start runs, so a folder that somebody else may write is not used.
"""

import os
import stat
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from nimctl.cache.layout import Layout, count_bytes
from nimctl.cache.leases import read_leases
from nimctl.errors import FetchError

UNUSED_S = 30 * 24 * 3600.0
"""Compiled code that no start used for so long goes with the next `prune`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CompiledCode:
    """What one version of an engine has compiled for one kind of GPU.

    Attributes:
        name: Engine, version and generation, e.g. `vllm-0.20.0-sm90`.
        used_at_s: Seconds since 1970: when an engine last started with it.
        is_in_use: Whether one runs with it.
    """

    name: str
    path: Path
    size_bytes: int
    used_at_s: float
    is_in_use: bool


def compiled_path(layout: Layout, name: str) -> Path:
    """Where the folder of that name is, or would be."""
    return layout.compiled / f"user-{os.geteuid()}" / name


def open_compiled(layout: Layout, name: str) -> Path | None:
    """The folder of that name, made where it is missing; None where none can be trusted."""
    folder = compiled_path(layout, name)
    try:
        layout.create()
        layout.make_folder(layout.compiled)
        for step in (folder.parent, folder):
            with suppress(FileExistsError):
                step.mkdir(mode=0o700)
            if not _is_ours_alone(step):
                return None
        os.utime(folder)
    except (OSError, FetchError):
        return None
    return folder


def list_compiled(layout: Layout) -> tuple[CompiledCode, ...]:
    """All compiled code of this user, the largest first."""
    user = compiled_path(layout, "any").parent
    if not layout.holds(user / "any"):
        return ()
    used = {layout.root / folder for lease in read_leases(layout) for folder in lease.folders}
    found = [
        CompiledCode(
            name=path.name,
            path=path,
            size_bytes=count_bytes(path),
            used_at_s=path.stat().st_mtime,
            is_in_use=path in used,
        )
        for path in user.iterdir()
        if path.is_dir() and not path.is_symlink()
    ]
    return tuple(sorted(found, key=lambda code: (-code.size_bytes, code.name)))


def choose_old(
    code: tuple[CompiledCode, ...], *, unused_s: float | None, everything: bool
) -> tuple[CompiledCode, ...]:
    """What goes to make room; never what an engine runs with.

    Args:
        unused_s: What no start used for so long; None is a month.
        everything: However young.
    """
    before_s = time.time() - (UNUSED_S if unused_s is None else unused_s)
    return tuple(
        one for one in code if not one.is_in_use and (everything or one.used_at_s < before_s)
    )


def _is_ours_alone(folder: Path) -> bool:
    facts = folder.lstat()
    is_private = not facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.geteuid() and is_private
