"""`nimctl engines`: engines in environments of their own: listed, installed, checked, removed."""

from pathlib import Path
from typing import Annotated

import typer

from nimctl.cli import options

engines = typer.Typer(
    help="Engines in environments of their own, as they exclude each other in one.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Name = Annotated[str, typer.Argument(metavar="ENGINE", help="vllm, tensorrt-llm or llama.cpp.")]
Version = Annotated[
    str | None, typer.Option("--version", metavar="VERSION", help="A version of its own.")
]
IndexUrl = Annotated[
    str | None, typer.Option(metavar="URL", help="A package index instead of the usual one.")
]
FindLinks = Annotated[
    Path | None, typer.Option(metavar="DIR", help="A folder of wheels to look into as well.")
]
Offline = Annotated[
    bool | None, typer.Option("--offline", help="Use the folder of wheels and nothing else.")
]


@engines.command("ls", short_help="The engines of this machine, and which are used.")
def list_installed(json: options.Json = False) -> None:
    """List every engine of this machine: managed, of nimctl's own environment, and on PATH."""
    from nimctl.cli import asked, engine_environments

    engine_environments.print_engines(asked.read_command_settings(), json=json)


@engines.command("install", short_help="Install one, in an environment of its own.")
def install(
    engine: Name,
    version: Version = None,
    index_url: IndexUrl = None,
    find_links: FindLinks = None,
    offline: Offline = None,
    json: options.Json = False,
) -> None:
    """Install ENGINE for this machine, check that it runs, and put it in its place.

    What is there already and works stays until the new one does.
    """
    from nimctl.cli import asked, engine_environments

    settings = asked.read_command_settings(engine=engine, offline=offline)
    engine_environments.install(
        settings, version=version, index_url=index_url, find_links=find_links, json=json
    )


@engines.command("remove", short_help="Remove what `install` installed.")
def remove(engine: Name, version: Version = None, json: options.Json = False) -> None:
    """Remove the environments of ENGINE that nimctl made."""
    from nimctl.cli import asked, engine_environments

    engine_environments.remove(
        asked.read_command_settings(engine=engine), version=version, json=json
    )


@engines.command("check", short_help="Run one, to know whether it works.")
def check(engine: Name, json: options.Json = False) -> None:
    """Start ENGINE as it would be used, far enough to know that it works."""
    from nimctl.cli import asked, engine_environments

    engine_environments.check(asked.read_command_settings(engine=engine), json=json)
