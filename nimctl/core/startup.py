"""How an engine starts: its phases, and the lines of its log that tell of them and its memory."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Literal

from nimctl.core.units import GIB, MIB


class Phase(Enum):
    """How far a start has come; engines go through them in different orders, or leave some out."""

    STARTING = "starting"
    LOADING = "loading"
    COMPILING = "compiling"
    ALLOCATING = "allocating"
    CAPTURING = "capturing"
    WARMING = "warming"
    READY = "ready"


@dataclass(frozen=True, kw_only=True, slots=True)
class PhaseSign:
    """A line of an engine's log by which a phase is known.

    Attributes:
        pattern: Regular expression found in the line; its groups `done` and `total`, where it has
            them, count pieces of the phase's work.
    """

    phase: Phase
    pattern: str


@dataclass(frozen=True, kw_only=True, slots=True)
class MemorySign:
    """A line of an engine's log that tells the size of one part of its memory.

    Attributes:
        part: A part of `MemoryBudget`, e.g. `weights`.
        pattern: Regular expression found in the line; its groups `size` and `unit`, and
            `device`, where the engine tells each device's.
        adds: The sizes of several lines for one device are added up; else the last one counts.
    """

    part: str
    pattern: str
    adds: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceSigns:
    """Lines of an engine's log by which the device that it computes on is known.

    Attributes:
        failed: No GPU can be used, whatever follows; a group `detail` is why.
        on_gpu: A GPU is used.
        on_host: None is, unless another line says that one is.
    """

    failed: str
    on_gpu: str
    on_host: str


@dataclass(frozen=True, kw_only=True, slots=True)
class LogSigns:
    """What one engine's log tells of its start.

    Attributes:
        devices: Where it computes; None for an engine that ends where it finds no GPU.
        host_devices: Names of `MemorySign` devices that are the host's memory and no GPU's, a
            regular expression; None where an engine's figures are of what it computes on.
    """

    phases: tuple[PhaseSign, ...] = ()
    memory: tuple[MemorySign, ...] = ()
    host_devices: str | None = None
    devices: DeviceSigns | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class PhaseSeen:
    """A phase that a line told of, and how many pieces of how many are done, where it counts."""

    phase: Phase
    done: int | None = None
    total: int | None = None


_UNITS = {"MiB": MIB, "GiB": GIB, "GB": GIB}  # SGLang calls them so


def read_phase(signs: LogSigns, line: str) -> PhaseSeen | None:
    """The phase that a line of the log is a sign of."""
    for sign in signs.phases:
        match = _compile(sign.pattern).search(line)
        if match:
            counts = match.groupdict()
            done, total = counts.get("done"), counts.get("total")
            return PhaseSeen(
                phase=sign.phase,
                done=int(done) if done else None,
                total=int(total) if total else None,
            )
    return None


def is_memory_line(signs: LogSigns, line: str) -> bool:
    """Whether a line tells the size of a part."""
    return any(_compile(sign.pattern).search(line) for sign in signs.memory)


def is_device_line(signs: LogSigns, line: str) -> bool:
    """Whether a line tells what the engine computes on."""
    told = signs.devices
    return told is not None and any(
        _compile(pattern).search(line) for pattern in (told.failed, told.on_gpu, told.on_host)
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class FallToHost:
    """An engine uses no GPU; `detail` is why, where it says."""

    detail: str | None


def find_fall(signs: LogSigns, lines: Iterable[str], *, is_ready: bool) -> FallToHost | None:
    """Whether an engine uses no GPU, as its log tells.

    Args:
        is_ready: Its start is over: what no line said of a GPU until now, none will say.
    """
    told = signs.devices
    if told is None:
        return None
    log = "\n".join(lines)
    failed = _compile(told.failed).search(log)
    if failed:
        return FallToHost(detail=failed.groupdict().get("detail"))
    on_host = is_ready and _compile(told.on_host).search(log)
    return FallToHost(detail=None) if on_host and not _compile(told.on_gpu).search(log) else None


def read_memory(
    signs: LogSigns, lines: Iterable[str], device: Literal["gpu", "cpu"]
) -> dict[str, int]:
    """Bytes of each part on the fullest device, as an engine's log tells them.

    Args:
        device: What the engine computes on: memory of other kinds does not count.
    """
    sizes: dict[tuple[str, str], int] = {}
    for line in lines:
        for sign in signs.memory:
            match = _compile(sign.pattern).search(line)
            if match is None:
                continue
            where = match.groupdict().get("device") or ""
            if signs.host_devices is not None:
                is_of_host = bool(_compile(signs.host_devices).search(where))
                if is_of_host is (device == "gpu"):
                    continue
                # All of the host's memory is one device, whatever an engine calls its buffers.
                where = "" if is_of_host else where
            size = int(float(match["size"].replace(",", "")) * _UNITS[match["unit"]])
            place = (sign.part, where)
            sizes[place] = size + (sizes.get(place, 0) if sign.adds else 0)
    parts = {part for part, _ in sizes}
    return {part: max(size for (one, _), size in sizes.items() if one == part) for part in parts}


@cache
def _compile(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)
