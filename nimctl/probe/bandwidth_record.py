"""The measured memory bandwidth of machines, kept in a file so that each is measured once."""

import json
import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nimctl.core.hardware import Host

SCHEMA = "nimctl-memory-bandwidth/1"

_KEY = ("cpu_name", "architecture", "physical_cores", "usable_cpus", "cpu_quota")
"""Facts of the host by which a measurement is found again; a shared home serves several machines,
and a container with fewer processors reads less.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class BandwidthRecord:
    """Where measurements are kept.

    Attributes:
        path: The file; None for a user without a home, who measures each time.
        again: Measure even if it was before. The higher figure is kept: whatever else ran on the
            machine can only have lowered the other.
    """

    path: Path | None
    again: bool = False

    def find(self, host: Host) -> dict[str, Any] | None:
        """`bytes_s` and `threads` of this host, as kept or measured now; None where neither can be.

        A file that cannot be read or written stops nothing.
        """
        kept = self._read()
        key = {name: getattr(host, name) for name in _KEY}
        before = next((one for one in kept if one["machine"] == key), None)
        if before is not None and not self.again:
            return _tell(before)
        measured = _measure(host)
        if measured is None or (before is not None and before["bytes_s"] >= measured["bytes_s"]):
            return before and _tell(before)
        self._write([*(one for one in kept if one is not before), {"machine": key, **measured}])
        return measured

    def _read(self) -> list[dict[str, Any]]:
        if self.path is None:
            return []
        try:
            document = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return []
        match document:
            case {"schema": schema, "machines": list() as machines} if schema == SCHEMA:
                return [one for one in machines if _is_sound(one)]
        return []

    def _write(self, machines: list[dict[str, Any]]) -> None:
        """Put a whole file in place of the old one, so that no reader meets half of it."""
        if self.path is None:
            return
        with suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            number, name = tempfile.mkstemp(dir=self.path.parent, prefix=".bandwidth-")
            with os.fdopen(number, "w", encoding="utf-8") as file:
                json.dump({"schema": SCHEMA, "machines": machines}, file, indent=1)
            Path(name).replace(self.path)


def _measure(host: Host) -> dict[str, Any] | None:
    from nimctl.probe.bandwidth import MOST_THREADS, can_measure, measure_bandwidth

    cores = min((n for n in (host.physical_cores, host.usable_cpus) if n), default=1)
    threads = min(cores, MOST_THREADS)
    if not can_measure(host.system, threads, host.memory_available_bytes):
        return None
    bytes_s = measure_bandwidth(threads)
    return None if bytes_s is None else {"bytes_s": bytes_s, "threads": threads}


def _tell(one: dict[str, Any]) -> dict[str, Any]:
    return {"bytes_s": one["bytes_s"], "threads": one["threads"]}


def _is_sound(one: object) -> bool:
    match one:
        case {"machine": dict(), "bytes_s": float() | int() as bytes_s, "threads": int()}:
            return bytes_s > 0
    return False
