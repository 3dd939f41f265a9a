"""What was measured, as tables, CSV and JSON."""

import csv
import io
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nimctl.cli.evidence_tables import list_subject_rows, name_subject, print_table
from nimctl.cli.start_text import print_starts
from nimctl.cli.terminal import bold, drop_unknown, print_line
from nimctl.core.names import GOALS
from nimctl.core.percentiles import Percentiles
from nimctl.core.speed import speaks_for
from nimctl.core.units import format_bytes, format_duration
from nimctl.errors import InputError
from nimctl.evidence.measured import (
    BenchRecord,
    ConcessionRecord,
    MemoryRecord,
    StartRecord,
)

SCHEMA = "nimctl-evidence/1"
_PERCENTILES = ("p50", "p90", "p95", "p99")
_FIGURES = (
    ("time to first token", "time_to_first_token"),
    ("inter-token latency", "inter_token_latency"),
    ("tokens/s per user", "user_tokens_per_second"),
)


def find_bench(benches: tuple[BenchRecord, ...], number: str) -> BenchRecord:
    """The bench of that number.

    Raises:
        InputError: there is none.
    """
    for bench in benches:
        if str(bench.id) == number:
            return bench
    raise InputError(f"there is no bench {number}", hint="`nimctl evidence ls` shows what there is")


def evidence_document(
    benches: tuple[BenchRecord, ...],
    starts: tuple[StartRecord, ...],
    memory: tuple[MemoryRecord, ...],
    learned: tuple[ConcessionRecord, ...],
) -> dict[str, Any]:
    """Everything, the newest first."""
    return {
        "schema": SCHEMA,
        "benches": [bench_document(bench) for bench in benches],
        "starts": [_flatten(start) for start in starts],
        "memory": [_flatten(record) for record in memory],
        "learned": [_flatten(record) for record in learned],
    }


def bench_document(bench: BenchRecord) -> dict[str, Any]:
    """One bench, with the goals it counts for."""
    return _flatten(bench) | {"counts_for": _list_goals(bench)}


def _flatten(
    record: BenchRecord | MemoryRecord | StartRecord | ConcessionRecord,
) -> dict[str, Any]:
    document = asdict(record)
    subject = document.pop("subject")
    return drop_unknown({"id": document.pop("id"), **subject, **document})


def _list_goals(bench: BenchRecord) -> list[str]:
    device = bench.subject.device
    return [goal for goal in GOALS if speaks_for(bench.traffic, device, goal)]


def print_evidence(
    path: Path,
    benches: tuple[BenchRecord, ...],
    starts: tuple[StartRecord, ...],
    memory: tuple[MemoryRecord, ...],
    learned: tuple[ConcessionRecord, ...],
) -> None:
    """One line a bench, then one line a start, then what failed starts taught."""
    if not (benches or starts or learned):
        print_line(f"nothing was measured yet: neither bench nor start is kept in {path}")
        print_line("`nimctl bench MODEL` measures a model and keeps the figures.")
        return
    if benches:
        print_table(
            ("ID", "DAY", "PROFILE", "MODEL", "DEVICE", "REQUESTS", "FIRST", "BETWEEN", "TOKENS/S"),
            [_bench_cells(bench) for bench in benches],
        )
    if benches and starts:
        print_line()
    if starts:
        print_starts(starts, memory)
    if learned:
        if benches or starts:
            print_line()
        print_table(
            ("ID", "DAY", "PROFILE", "MODEL", "DEVICE", "FAILED WITH", "STARTS WITH"),
            [_learned_cells(record) for record in learned],
        )


def _bench_cells(bench: BenchRecord) -> tuple[str, ...]:
    between = bench.inter_token_latency
    return (
        str(bench.id),
        *name_subject(bench.subject),
        f"{bench.concurrency} x {bench.prompt_tokens}+{bench.output_tokens}",
        format_duration(bench.time_to_first_token.p50 / 1000),
        format_duration(between.p50 / 1000) if between else "-",
        f"{bench.tokens_per_second:,.1f}",
    )


def _learned_cells(record: ConcessionRecord) -> tuple[str, ...]:
    given_up = (
        f"context {record.most_context:,}" if record.most_context else "",
        f"{record.most_sequences} sequences" if record.most_sequences else "",
        f"{format_bytes(record.spare_bytes)} left free" if record.spare_bytes else "",
        "no graphs and compilation" if record.eager else "",
        "another profile" if record.passed_over else "",
    )
    told = ", ".join(filter(None, given_up))
    return (str(record.id), *name_subject(record.subject), record.symptom, told)


def print_bench(bench: BenchRecord) -> None:
    """One bench with all that is kept of it."""
    rows = (
        *list_subject_rows(bench.subject),
        ("requests", f"{bench.requests}, {bench.concurrency} at once"),
        ("tokens", f"{bench.prompt_tokens} in, {bench.output_tokens} out"),
        ("measured", f"in {format_duration(bench.duration_s)}"),
        ("counts for", " and ".join(_list_goals(bench)) or "no goal"),
    )
    print_line(bold(f"BENCH {bench.id}"))
    for label, text in rows:
        print_line(f"  {label:<12}  {text}")
    print_line()
    print_line(f"{'':<22}" + "".join(f"{name:>10}" for name in _PERCENTILES) + "  unit")
    for label, name in _FIGURES:
        figure: Percentiles | None = getattr(bench, name)
        if figure is not None:
            cells = "".join(f"{getattr(figure, one):>10.1f}" for one in _PERCENTILES)
            print_line(f"  {label:<20}{cells}  {figure.unit}")
    print_line(f"  {'output throughput':<20}{bench.tokens_per_second:>10.1f}  tokens/sec")


def print_csv(benches: tuple[BenchRecord, ...]) -> None:
    """One line a bench, with a heading; percentiles in columns of their own."""
    rows = [_csv_row(bench) for bench in benches]
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        print_line(text.getvalue().rstrip("\n"))


def _csv_row(bench: BenchRecord) -> dict[str, object]:
    document = {"id": bench.id, **asdict(bench.subject), **asdict(bench)}
    del document["subject"]
    for _, name in _FIGURES:
        figure: Percentiles | None = getattr(bench, name)
        del document[name]
        for one in _PERCENTILES:
            document[f"{name}_{one}"] = getattr(figure, one) if figure else None
    return document
