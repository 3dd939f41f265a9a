"""`nimctl ps`: the servers that run here."""

from nimctl.cli import options


def ps(json: options.Json = False) -> None:
    """List the servers this user runs: model, address, whether they are ready, since when."""
    from nimctl.cli import server_actions

    server_actions.print_servers(json=json)
