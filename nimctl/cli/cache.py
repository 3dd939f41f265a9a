"""`nimctl cache`: what the cache holds, whether it is whole, and how to be rid of some of it."""

import typer

from nimctl.cli import options

cache = typer.Typer(
    help="What the cache holds: listed, verified, removed, moved.", no_args_is_help=True
)


@cache.command("ls", short_help="Every entry, one a line.")
def list_cache(cache_dir: options.CacheDir = None) -> None:
    """List what the cache holds."""
    from nimctl.cache import Cache
    from nimctl.cli import facts
    from nimctl.cli.terminal import print_line

    settings = facts.read_command_settings(cache_dir=cache_dir)
    for entry in Cache(settings.cache_dir).entries():
        print_line(f"{entry.uri}  {entry.revision}")
