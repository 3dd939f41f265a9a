"""`nimctl logs`: what a server said."""

from typing import Annotated

import typer

Server = Annotated[
    str, typer.Argument(metavar="MODEL|PID", help="A running server, as `nimctl ps` shows it.")
]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on until it ends, or Ctrl-C.")]
Engine = Annotated[bool, typer.Option("--engine", help="What the engine said instead.")]
Lines = Annotated[int, typer.Option("--lines", "-n", metavar="N", help="How many lines.")]


def logs(server: Server, follow: Follow = False, engine: Engine = False, lines: Lines = 50) -> None:
    """Show the last lines of a server that was started with --detach, or of its engine."""
    from nimctl.cli import server_actions

    server_actions.print_log(server, follow=follow, of_engine=engine, lines=lines)
