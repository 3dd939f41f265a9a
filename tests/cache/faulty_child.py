"""A process that fetches one model and is killed, or meets a broken disk, at a named step.

Usage: faulty_child.py STEP COUNT KIND ROOT ENDPOINT URI

At the COUNT-th time that STEP comes, KIND happens: a signal such as `SIGKILL`, or an errno such as
`EIO`. A step is the name of a call that is about to be made, or, with a `+` behind it, that was
just made.
"""

import ctypes
import errno
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fetch_child

Call = Callable[..., Any]


def name_write(descriptor: int, data: bytes) -> str:
    """What is written: by its place in the cache."""
    return f"write{Path(f'/proc/self/fd/{descriptor}').readlink().suffix}"


def name_fsync(descriptor: int) -> str:
    """What is brought to the disk."""
    path = Path(f"/proc/self/fd/{descriptor}").readlink()
    return "fsync.folder" if path.is_dir() else f"fsync{path.suffix}"


def name_replace(source: Any, target: Any) -> str:
    """What gets its final name."""
    top = next((top for top in ("blobs", "models", "refs") if f"/{top}/" in str(target)), "other")
    return f"replace.{top}"


NAMES: dict[str, Call] = {
    "pwrite": lambda *_: "pwrite",
    "write": name_write,
    "preadv": lambda *_: "preadv",
    "fsync": name_fsync,
    "replace": name_replace,
    "posix_fallocate": lambda *_: "fallocate",
    "fchmod": lambda descriptor, mode: f"fchmod.{mode:o}",
    "link": lambda *_, **__: "link",
}


def drop_privileges() -> None:
    """Even an administrator's process heeds the permissions of files from here on."""
    header, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    ctypes.CDLL(None, use_errno=True).capset(header, none)


def arm(step: str, count: int, kind: str) -> None:
    left = [count]

    def strike(name: str) -> None:
        if name != step:
            return
        left[0] -= 1
        if left[0] != 0:
            return
        if kind.startswith("SIG"):
            os.kill(os.getpid(), signal.Signals[kind])
            return
        code = getattr(errno, kind)
        raise OSError(code, os.strerror(code))

    def wrap(call: Call, name_of: Call) -> Call:
        def wrapped(*arguments: Any, **named: Any) -> Any:
            name = name_of(*arguments, **named)
            strike(name)
            if f"{name}~" == step:  # half of it
                call(arguments[0], arguments[1][: len(arguments[1]) // 2], *arguments[2:])
                os.kill(os.getpid(), signal.SIGKILL)
            result = call(*arguments, **named)
            strike(f"{name}+")
            return result

        return wrapped

    for name, name_of in NAMES.items():
        setattr(os, name, wrap(getattr(os, name), name_of))


if __name__ == "__main__":
    drop_privileges()
    if sys.argv[1] != "never":
        arm(sys.argv[1], int(sys.argv[2]), sys.argv[3])
    sys.exit(fetch_child.main(*sys.argv[4:]))
