"""What was measured, as tables, CSV and JSON."""

import csv
import io
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nimctl.cli.terminal import bold, drop_unknown, print_line
from nimctl.core.names import GOALS
from nimctl.core.report import Percentiles
from nimctl.core.speed import speaks_for
from nimctl.core.units import format_bytes, format_duration
from nimctl.errors import InputError
from nimctl.evidence.measured import BenchRecord, MemoryRecord

SCHEMA = "nimctl-evidence/1"
_PERCENTILES = ("p50", "p90", "p95", "p99")
_FIGURES = (
    ("time to first token", "time_to_first_token"),
    ("inter-token latency", "inter_token_latency"),
    ("tokens/s per user", "user_tokens_per_second"),
)


def find_bench(benches: tuple[BenchRecord, ...], number: int) -> BenchRecord:
    """The bench of that number.

    Raises:
        InputError: there is none.
    """
    for bench in benches:
        if bench.id == number:
            return bench
    raise InputError(f"there is no bench {number}", hint="`nimctl evidence ls` shows what there is")


def evidence_document(
    benches: tuple[BenchRecord, ...], memory: tuple[MemoryRecord, ...]
) -> dict[str, Any]:
    """Everything, the newest first."""
    return {
        "schema": SCHEMA,
        "benches": [bench_document(bench) for bench in benches],
        "memory": [_flatten(record) for record in memory],
    }


def bench_document(bench: BenchRecord) -> dict[str, Any]:
    """One bench, with the goals it counts for."""
    return _flatten(bench) | {"counts_for": _list_goals(bench)}


def _flatten(record: BenchRecord | MemoryRecord) -> dict[str, Any]:
    document = asdict(record)
    subject = document.pop("subject")
    return drop_unknown({"id": document.pop("id"), **subject, **document})


def _list_goals(bench: BenchRecord) -> list[str]:
    device = bench.subject.device
    return [goal for goal in GOALS if speaks_for(bench.traffic, device, goal)]


def print_evidence(
    path: Path, benches: tuple[BenchRecord, ...], memory: tuple[MemoryRecord, ...]
) -> None:
    """One line a bench, then one line for each part of an engine's memory."""
    if not benches and not memory:
        print_line(f"nothing was measured yet: no bench is kept in {path}")
        print_line("`nimctl bench MODEL` measures a model and keeps the figures.")
        return
    _print_table(
        ("ID", "DAY", "PROFILE", "MODEL", "DEVICE", "REQUESTS", "FIRST", "BETWEEN", "TOKENS/S"),
        [_bench_cells(bench) for bench in benches],
    )
    if memory:
        print_line()
        _print_table(
            ("ID", "DAY", "PROFILE", "MODEL", "DEVICE", "PART", "PREDICTED", "ACTUAL"),
            [_memory_cells(record) for record in memory],
        )


def _bench_cells(bench: BenchRecord) -> tuple[str, ...]:
    between = bench.inter_token_latency
    return (
        *_subject_cells(bench),
        f"{bench.concurrency} x {bench.prompt_tokens}+{bench.output_tokens}",
        format_duration(bench.time_to_first_token.p50 / 1000),
        format_duration(between.p50 / 1000) if between else "-",
        f"{bench.tokens_per_second:,.1f}",
    )


def _memory_cells(record: MemoryRecord) -> tuple[str, ...]:
    sizes = (record.predicted_bytes, record.actual_bytes)
    return (*_subject_cells(record), record.part, *map(format_bytes, sizes))


def _subject_cells(record: BenchRecord | MemoryRecord) -> tuple[str, ...]:
    subject = record.subject
    day = datetime.fromtimestamp(subject.at_unix_s, UTC).date().isoformat()
    model = subject.model.rpartition("/")[2]
    return str(record.id), day, subject.profile, model, subject.device_name


def _print_table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Columns as wide as their widest cell, figures to the right."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    for place, row in enumerate((heads, *rows)):
        cells = (
            cell.rjust(width) if head in _FIGURE_COLUMNS else cell.ljust(width)
            for head, cell, width in zip(heads, row, widths, strict=True)
        )
        line = "  ".join(cells).rstrip()
        print_line(line if place else bold(line))


_FIGURE_COLUMNS = ("ID", "FIRST", "BETWEEN", "TOKENS/S", "PREDICTED", "ACTUAL")


def print_bench(bench: BenchRecord) -> None:
    """One bench with all that is kept of it."""
    subject = bench.subject
    at = datetime.fromtimestamp(subject.at_unix_s, UTC)
    rows = (
        ("model", subject.model),
        ("profile", f"{subject.profile}  ({subject.profile_id[:12]})"),
        ("engine", f"{subject.engine} {subject.engine_version or '(version unknown)'}"),
        ("device", subject.device_name),
        ("threads", str(subject.threads)),
        ("driver", subject.driver or "none"),
        ("machine", subject.fingerprint),
        ("room", f"{subject.sequences} x {subject.context_length:,} tokens"),
        ("KV cache in", subject.kv_precision or "the engine's default"),
        ("requests", f"{bench.requests}, {bench.concurrency} at once"),
        ("tokens", f"{bench.prompt_tokens} in, {bench.output_tokens} out"),
        ("measured", f"{at:%Y-%m-%d %H:%M} UTC, in {format_duration(bench.duration_s)}"),
        ("by", f"nimctl {subject.nimctl_version}"),
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
