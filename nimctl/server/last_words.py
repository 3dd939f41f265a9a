"""Why an engine ended, from its exit code and the end of its log."""

import signal
from pathlib import Path

from nimctl.core.symptom import Diagnosis, Symptom, find_symptom
from nimctl.errors import EngineError
from nimctl.server.guard import START_MARK

_TAIL_BYTES = 512 * 1024  # the cause stands before the tracebacks of all of a model's processes
_TAIL_LINES = 6


def describe_exit(code: int | None) -> str:
    """What an exit code of the guard says of the engine, e.g. `was ended by SIGKILL`."""
    if code == 0:
        return "ended by itself"
    if code is not None and code < 0:
        return f"lost its guard to {_name_signal(-code)}"
    if code is not None and code > 128:
        return f"was ended by {_name_signal(code - 128)}"
    return f"ended with exit code {code}"


def explain_end(code: int | None, log_path: Path, symptoms: tuple[Symptom, ...]) -> EngineError:
    """The cause in one sentence: a known symptom, else the last lines of the log."""
    tail = read_tail(log_path)
    how = describe_exit(code)
    known = find_symptom(symptoms, tail, code)
    if known is not None:
        return explain(known, f" (the engine {how})")
    last = [line for line in tail.splitlines() if line.strip()][-_TAIL_LINES:]
    shown = "".join(f"\n    {line.rstrip()}" for line in last)
    return EngineError(
        f"the engine {how}; its last words:{shown}" if last else f"the engine {how}",
        hint=f"its whole log is {log_path}",
    )


def explain(known: Diagnosis, how: str = "") -> EngineError:
    """A known failure, and how the engine ended of it."""
    return EngineError(
        f"{known.cause}{how}",
        hint=known.symptom.hint,
        symptom=known.symptom.code,
        cause=known.symptom.cause,
        detail=known.detail,
    )


def read_tail(log_path: Path) -> str:
    """The end of what the engine has printed since it was last started."""
    tail = _read_end(log_path, _TAIL_BYTES)
    if len(tail) < _TAIL_BYTES and START_MARK.encode() not in tail:  # it was just set aside
        tail = _read_end(log_path.with_name(f"{log_path.name}.1"), _TAIL_BYTES) + tail
    _, _, life = tail.rpartition(START_MARK.encode())
    if len(life) < len(tail):
        life = life.partition(b"\n")[2]
    return life.decode("utf-8", "replace")


def _read_end(path: Path, size_bytes: int) -> bytes:
    try:
        with path.open("rb") as log:
            size = log.seek(0, 2)
            log.seek(max(size - size_bytes, 0))
            return log.read()
    except FileNotFoundError:
        return b""


def _name_signal(number: int) -> str:
    known = number in set(signal.Signals)
    return signal.Signals(number).name if known else f"signal {number}"
