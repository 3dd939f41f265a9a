"""Tables of evidence, and what a piece of it is about."""

from datetime import UTC, datetime

from nimctl.cli.terminal import bold, print_line
from nimctl.evidence.measured import Subject

_FIGURE_COLUMNS = ("ID", "FIRST", "BETWEEN", "TOKENS/S", "TOOK", "PREDICTED", "HELD")


def name_subject(subject: Subject) -> tuple[str, str, str, str]:
    """Day, profile, model and device, as cells of a table."""
    day = datetime.fromtimestamp(subject.at_unix_s, UTC).date().isoformat()
    return day, subject.profile, subject.model.rpartition("/")[2], subject.device_name


def list_subject_rows(subject: Subject) -> tuple[tuple[str, str], ...]:
    """What ran, where and when, as labels and texts."""
    at = datetime.fromtimestamp(subject.at_unix_s, UTC)
    return (
        ("model", subject.model),
        ("profile", f"{subject.profile}  ({subject.profile_id[:12]})"),
        ("engine", f"{subject.engine} {subject.engine_version or '(version unknown)'}"),
        ("device", subject.device_name),
        ("threads", str(subject.threads)),
        ("driver", subject.driver or "none"),
        ("machine", subject.fingerprint),
        ("room", f"{subject.sequences} x {subject.context_length:,} tokens"),
        ("KV cache in", subject.kv_precision or "the engine's default"),
        ("at", f"{at:%Y-%m-%d %H:%M} UTC, by nimctl {subject.nimctl_version}"),
    )


def print_table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Columns as wide as their widest cell, figures to the right."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    for place, row in enumerate((heads, *rows)):
        cells = (
            cell.rjust(width) if head in _FIGURE_COLUMNS else cell.ljust(width)
            for head, cell, width in zip(heads, row, widths, strict=True)
        )
        line = "  ".join(cells).rstrip()
        print_line(line if place else bold(line))
