"""Printing: results on standard output, everything else on standard error."""

import json
import shutil
import sys
import textwrap
from collections.abc import Mapping
from typing import Any

import typer

from nimctl.errors import NimctlError

_WIDEST = 120


def print_line(text: str = "") -> None:
    """A line of the result."""
    typer.echo(text)


def print_note(text: str) -> None:
    """A line about what is going on."""
    typer.echo(text, err=True)


def print_json(document: dict[str, Any]) -> None:
    """The result as JSON."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))


def drop_unknown(document: dict[str, Any]) -> dict[str, Any]:
    """The document without the keys whose value is None."""
    return {key: value for key, value in document.items() if value is not None}


def print_json_line(document: Mapping[str, Any]) -> None:
    """One event as one line of JSON, at once."""
    sys.stdout.write(json.dumps(document, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def print_warning(text: str, *, at: str = "") -> None:
    """Something that works and may not be wanted; `at` is the time, where that matters."""
    label = typer.style("warning: ", fg="yellow", bold=True)
    typer.echo(f"{at} {label}{text}".lstrip(), err=True)


def print_wrapped(head: str, text: str, *, indent: int) -> None:
    """`head`, then `text` wrapped to the terminal under itself from column `indent` on."""
    width = max(min(shutil.get_terminal_size((100, 24)).columns, _WIDEST) - indent, 30)
    lines = textwrap.wrap(text, width) or [""]
    print_line(f"{head:<{indent}}{lines[0]}".rstrip())
    for line in lines[1:]:
        print_line(" " * indent + line)


def print_cut(text: str) -> None:
    """A line of the result that must stay one line: cut where a terminal ends."""
    columns = shutil.get_terminal_size((_WIDEST, 24)).columns
    cut = sys.stdout.isatty() and len(text) > columns
    print_line(f"{text[: columns - 1]}…" if cut else text)


def bold(text: str) -> str:
    """Emphasis, dropped where the output is no terminal."""
    return typer.style(text, bold=True)


def dim(text: str) -> str:
    """The opposite of emphasis."""
    return typer.style(text, dim=True)


def report_error(error: NimctlError) -> None:
    """The failure in one sentence, and the next step on a line of its own."""
    typer.echo(typer.style("error: ", fg="red", bold=True) + error.message, err=True)
    if error.hint:
        typer.echo(typer.style("hint:  ", fg="cyan", bold=True) + error.hint, err=True)


def is_terminal() -> bool:
    """Whether a person watches standard error."""
    return sys.stderr.isatty()
