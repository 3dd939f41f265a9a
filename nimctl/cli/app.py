"""The `nimctl` program: its commands, and how a failure becomes a message and an exit code."""

import errno
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.main import get_group

from nimctl import __version__
from nimctl.cli.quick_command import QuickCommand, QuickGroup
from nimctl.cli.terminal import report_error
from nimctl.cli.termination import Termination
from nimctl.errors import InputError, NimctlError


@dataclass(frozen=True, kw_only=True, slots=True)
class _Command:
    """What is known of a command before it is imported: in which module it has its own name.

    Attributes:
        short_help: Its line in the list of commands; that of a group of commands is its own.
        takes_more: Whether what follows `--` is taken too.
    """

    name: str
    short_help: str = ""
    takes_more: bool = False


_COMMANDS: Mapping[str, _Command] = {
    "list-profiles": _Command(
        name="list_profiles", short_help="What this machine is, and what it can run."
    ),
    "select": _Command(
        name="select", short_help="The profile that would run, why, and its command."
    ),
    "download": _Command(
        name="download", short_help="Fetch a model's files, verified and resumable."
    ),
    "serve": _Command(
        name="serve", short_help="Choose, fetch, start and watch a model.", takes_more=True
    ),
    "ps": _Command(name="ps", short_help="The servers that run here."),
    "logs": _Command(name="logs", short_help="What a server, or its engine, said."),
    "stop": _Command(name="stop", short_help="End servers, once open requests are finished."),
    "bench": _Command(name="bench", short_help="Measure latency and throughput under load."),
    "cache": _Command(name="cache"),
    "evidence": _Command(name="evidence"),
    "engines": _Command(name="engines"),
    "doctor": _Command(name="doctor", short_help="What is here, what is set, what is missing."),
}


class _Program(QuickGroup):
    """All commands; each is imported when it is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Their names, in the order of the help."""
        return list(_COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command; where there is none all are loaded, for the nearest name to be told."""
        for name in (cmd_name,) if cmd_name in _COMMANDS else _COMMANDS:
            if name not in self.commands:
                self.commands[name] = _load_command(name)
        return self.commands.get(cmd_name)


def _load_command(name: str) -> Any:
    known = _COMMANDS[name]
    found = getattr(import_module(f"nimctl.cli.{known.name}"), known.name)
    part = typer.Typer(rich_markup_mode=None)
    if isinstance(found, typer.Typer):
        part.add_typer(found, name=name)
    else:
        context_settings = {"allow_extra_args": True} if known.takes_more else None
        part.command(
            name,
            cls=QuickCommand,
            short_help=known.short_help,
            context_settings=context_settings,
        )(found)
    return get_group(part).commands[name]


# Plain help: Rich would double the time `nimctl --help` takes.
app = typer.Typer(
    name="nimctl",
    cls=_Program,
    help="Find the best published version of a language model for this machine, download it, "
    "and serve it behind one OpenAI-compatible server.",
    epilog="Start with: nimctl serve smollm2-135m-instruct",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"nimctl {__version__}")
        raise typer.Exit


@app.callback()
def _main_options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the program; a `NimctlError` becomes one message and its own exit code."""
    termination = Termination()
    try:
        app()
    except SystemExit as end:
        sys.exit(termination.choose_exit_code(end.code))
    except NimctlError as error:
        failure = termination.explain(error)
        report_error(failure)
        sys.exit(failure.exit_code)
    except OSError as error:
        # Only our own output goes to a place that no room watches over.
        if error.errno != errno.ENOSPC or error.filename is not None:
            raise
        report_error(InputError("the output cannot be written: the disk it goes to is full"))
        sys.exit(InputError.exit_code)
