"""`nimctl stop`: end servers as a signal would."""

from typing import Annotated

import typer

from nimctl.cli import options

Servers = Annotated[
    list[str] | None,
    typer.Argument(metavar="[MODEL|PID]...", help="Running servers, as `nimctl ps` shows them."),
]
All = Annotated[bool, typer.Option("--all", help="Every server of this user.")]
Now = Annotated[bool, typer.Option("--now", help="Cut open requests instead of finishing them.")]


def stop(
    servers: Servers = None,
    everything: All = False,
    now: Now = False,
    json: options.Json = False,
) -> None:
    """Stop servers: no new requests, open ones are finished, then the engine ends."""
    from nimctl.cli import server_actions

    server_actions.stop_servers(servers or [], everything=everything, now=now, json=json)
