"""The starts that are kept, as tables: how long each phase took, memory predicted and held."""

from typing import Any

from nimctl.cli.evidence_tables import list_subject_rows, name_subject, print_table
from nimctl.cli.terminal import bold, drop_unknown, print_line
from nimctl.core.memory_check import WHOLE
from nimctl.core.units import format_bytes, format_duration
from nimctl.errors import InputError
from nimctl.evidence.measured import MemoryRecord, StartRecord

_HEADS = ("ID", "DAY", "PROFILE", "MODEL", "DEVICE", "ROOM", "TOOK", "PREDICTED", "HELD")


def find_start(starts: tuple[StartRecord, ...], name: str) -> StartRecord:
    """The start of a name such as `s3`.

    Raises:
        InputError: there is none.
    """
    for start in starts:
        if name == f"s{start.id}":
            return start
    raise InputError(f"there is no start {name}", hint="`nimctl evidence ls` shows what there is")


def start_document(start: StartRecord, memory: tuple[MemoryRecord, ...]) -> dict[str, Any]:
    """One start, with the memory of its engine by part."""
    subject = {name: getattr(start.subject, name) for name in start.subject.__slots__}
    return drop_unknown(
        {
            "id": start.id,
            **subject,
            "phases_s": start.phases_s,
            "memory": {
                record.part: {
                    "predicted_bytes": record.predicted_bytes,
                    "actual_bytes": record.actual_bytes,
                }
                for record in _memory_of(start, memory)
            },
        }
    )


def print_starts(starts: tuple[StartRecord, ...], memory: tuple[MemoryRecord, ...]) -> None:
    """One line a start."""
    print_table(_HEADS, [_start_cells(start, _memory_of(start, memory)) for start in starts])


def print_start(start: StartRecord, memory: tuple[MemoryRecord, ...]) -> None:
    """One start with all that is kept of it."""
    print_line(bold(f"START s{start.id}"))
    for label, text in list_subject_rows(start.subject):
        print_line(f"  {label:<12}  {text}")
    print_line()
    for phase, took_s in start.phases_s.items():
        print_line(f"  {phase:<12}  {format_duration(took_s):>10}")
    mine = _memory_of(start, memory)
    if mine:
        print_line()
        print_line(f"  {'':<12}  {'predicted':>10}  {'held':>10}")
    for record in mine:
        sizes = map(format_bytes, (record.predicted_bytes, record.actual_bytes))
        print_line(f"  {record.part:<12}  " + "  ".join(f"{size:>10}" for size in sizes))


def _start_cells(start: StartRecord, memory: list[MemoryRecord]) -> tuple[str, ...]:
    subject = start.subject
    whole = next((record for record in memory if record.part == WHOLE), None)
    sizes = (whole.predicted_bytes, whole.actual_bytes) if whole else ()
    return (
        f"s{start.id}",
        *name_subject(subject),
        f"{subject.sequences} x {subject.context_length:,}",
        format_duration(sum(start.phases_s.values())),
        *(map(format_bytes, sizes) if sizes else ("-", "-")),
    )


def _memory_of(start: StartRecord, memory: tuple[MemoryRecord, ...]) -> list[MemoryRecord]:
    """What was kept with a start, in the order it was told."""
    return [record for record in reversed(memory) if record.subject == start.subject]
