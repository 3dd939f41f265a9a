"""Moves a finished Python environment to its final folder, scripts included."""

import os
import shutil
from pathlib import Path

_LARGEST_SCRIPT_BYTES = 1024 * 1024


def move_environment(source: Path, target: Path) -> None:
    """Rename `source` to `target` in one step, replacing what is there.

    The first line of a script and `pyvenv.cfg` name the folder they were made in.
    """
    scripts = [path for path in (source / "bin").iterdir() if _is_script(path)]
    for path in (*scripts, source / "pyvenv.cfg"):
        _replace_text(path, bytes(source), bytes(target))
    if target.exists():
        # A folder cannot replace one that is not empty.
        old = source.with_name(f"{source.name}-old")
        target.rename(old)
        source.rename(target)
        shutil.rmtree(old, ignore_errors=True)
    else:
        source.rename(target)


def _is_script(path: Path) -> bool:
    is_file = path.is_file() and not path.is_symlink()
    return is_file and path.stat().st_size <= _LARGEST_SCRIPT_BYTES


def _replace_text(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    if old in content and b"\0" not in content:
        mode = path.stat().st_mode
        path.unlink()  # uv may have linked it to its cache
        path.write_bytes(content.replace(old, new))
        os.chmod(path, mode)  # noqa: PTH101 - as it was
