"""The command of an engine with who set each of its arguments, for a person and as JSON."""

import shlex
from collections.abc import Iterable
from typing import Any

from nimctl.cli.terminal import bold, print_line
from nimctl.core.launch_arguments import Argument, Overridden
from nimctl.core.plan import Launch


def launch_document(launch: Launch) -> dict[str, Any]:
    """Each argument with who set it, what is overridden, and the options file, as JSON."""
    return {
        "arguments": [_describe(one) for one in launch.arguments],
        "overridden": [
            _describe(one.argument) | {"by": _describe(one.by)} for one in launch.overridden
        ],
        "options_file": [
            {"key": key, "value": value, "origin": one.origin}
            for one in launch.entries
            for key, value in (one.words,)
        ],
    }


def _describe(argument: Argument) -> dict[str, Any]:
    return {
        "name": argument.name,
        "values": list(argument.values),
        "origin": argument.origin,
    }


def print_arguments(launch: Launch) -> None:
    """The arguments one a line, each with who set it."""
    _print_table("Arguments", ((shlex.join(one.words), one) for one in launch.arguments))
    if launch.entries:
        _print_table("Options file", (("  ".join(one.words), one) for one in launch.entries))


def print_overridden(launch: Launch) -> None:
    """What nimctl would have said, and is overridden by something stronger."""
    for one in launch.overridden:
        print_line(f"  {describe_overridden(one)}")


def describe_overridden(one: Overridden) -> str:
    """Which argument stands instead of which."""
    return (
        f"{shlex.join(one.by.words)} ({one.by.origin}) overrides "
        f"{shlex.join(one.argument.words)} ({one.argument.origin})"
    )


def _print_table(title: str, rows: Iterable[tuple[str, Argument]]) -> None:
    told = [(text, argument.origin) for text, argument in rows]
    width = max(len(origin) for _, origin in told)
    print_line()
    print_line(bold(title))
    for text, origin in told:
        print_line(f"  {origin:<{width}}  {text}")
