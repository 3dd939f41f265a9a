"""The `nimctl` program: its commands, and how a failure becomes a message and an exit code."""

import errno
import sys
from typing import Annotated

import typer

from nimctl import __version__
from nimctl.cli.bench import bench
from nimctl.cli.cache import cache
from nimctl.cli.doctor import doctor
from nimctl.cli.download import download
from nimctl.cli.engines import engines
from nimctl.cli.evidence import evidence
from nimctl.cli.list_profiles import list_profiles
from nimctl.cli.quick_command import QuickCommand, QuickGroup
from nimctl.cli.select import select
from nimctl.cli.serve import serve
from nimctl.cli.terminal import report_error
from nimctl.errors import InputError, NimctlError

# Plain help: Rich would double the time `nimctl --help` takes.
app = typer.Typer(
    name="nimctl",
    cls=QuickGroup,
    help="Find the best published version of a language model for this machine, download it, "
    "and serve it behind one OpenAI-compatible server.",
    epilog="Start with: nimctl serve smollm2-135m-instruct",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command(
    "list-profiles", cls=QuickCommand, short_help="What this machine is, and what it can run."
)(list_profiles)
app.command(
    "select", cls=QuickCommand, short_help="The profile that would run, why, and its command."
)(select)
app.command(
    "download", cls=QuickCommand, short_help="Fetch a model's files, verified and resumable."
)(download)
app.command(
    "serve",
    cls=QuickCommand,
    short_help="Choose, fetch, start and watch a model.",
    context_settings={"allow_extra_args": True},
)(serve)
app.command("bench", cls=QuickCommand, short_help="Measure latency and throughput under load.")(
    bench
)
app.add_typer(cache, name="cache")
app.add_typer(evidence, name="evidence")
app.add_typer(engines, name="engines")
app.command("doctor", cls=QuickCommand, short_help="What is here, what is set, what is missing.")(
    doctor
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
    try:
        app()
    except NimctlError as error:
        report_error(error)
        sys.exit(error.exit_code)
    except OSError as error:
        # Only our own output goes to a place that no room watches over.
        if error.errno != errno.ENOSPC or error.filename is not None:
            raise
        report_error(InputError("the output cannot be written: the disk it goes to is full"))
        sys.exit(InputError.exit_code)
