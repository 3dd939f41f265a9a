"""`nimctl cache`: what the cache holds, whether it is whole, and how to be rid of some of it."""

from typing import Annotated

import typer

from nimctl.cli import cache_transfer, options

cache = typer.Typer(
    help="What the cache holds: listed, verified, removed, moved.", no_args_is_help=True
)

Models = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[MODEL]...",
        help="Models of the catalogue, sources such as hf://org/name, or the ends of their names.",
        show_default=False,
    ),
]
NamedModels = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL...",
        help="Models of the catalogue, sources such as hf://org/name, or the ends of their names.",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Tell what would go, and stop.")]
Deep = Annotated[bool, typer.Option("--deep", help="Hash every file, whatever it looks like.")]
Repair = Annotated[bool, typer.Option("--repair", help="Fetch what is damaged again.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Force = Annotated[bool, typer.Option("--force", help="Remove what is pinned too.")]
MaxSize = Annotated[
    str | None, typer.Option(metavar="SIZE", help="How large the cache may be, e.g. 200GB.")
]
OlderThan = Annotated[
    str | None, typer.Option(metavar="AGE", help="Not used for so long, e.g. 30d, 12h or 2w.")
]
Partials = Annotated[
    bool, typer.Option("--partials", help="Downloads that were cut off too, however young.")
]
Compiled = Annotated[
    bool, typer.Option("--compiled", help="What engines have compiled too, however young.")
]


@cache.command("ls", short_help="Every entry, and what is not whole yet.")
def list_cache(
    models: Models = None,
    cache_dir: options.CacheDir = None,
    manifest_dir: options.ManifestDir = None,
    json: options.Json = False,
) -> None:
    """List what the cache holds: size, last use, who keeps it, and what is not whole yet."""
    from nimctl.cli import asked, cache_choice, cache_text

    settings = asked.read_command_settings(cache_dir=cache_dir, manifest_dirs=manifest_dir)
    contents = cache_choice.read_contents(settings, models or [])
    cache_text.print_contents(contents, json=json)


@cache.command("du", short_help="How much disk each source takes, and what removing it frees.")
def show_disk_usage(
    cache_dir: options.CacheDir = None,
    manifest_dir: options.ManifestDir = None,
    json: options.Json = False,
) -> None:
    """Show the disk each source takes; files that several entries share count once."""
    from nimctl.cli import asked, cache_choice, cache_text

    settings = asked.read_command_settings(cache_dir=cache_dir, manifest_dirs=manifest_dir)
    cache_text.print_disk_usage(cache_choice.measure_sources(settings), json=json)


@cache.command("verify", short_help="Whether every file is as it was published.")
def verify_cache(
    models: Models = None,
    deep: Deep = False,
    repair: Repair = False,
    cache_dir: options.CacheDir = None,
    manifest_dir: options.ManifestDir = None,
    json: options.Json = False,
) -> None:
    """Check the files of MODEL, or all of the cache, without any network.

    A file that looks as it did when it was last hashed is taken as whole, unless --deep is given.
    """
    from nimctl.cli import asked, cache_actions

    settings = asked.read_command_settings(cache_dir=cache_dir, manifest_dirs=manifest_dir)
    cache_actions.verify_models(models or [], settings, deep=deep, repair=repair, json=json)


@cache.command("rm", short_help="Remove models, and the files only they need.")
def remove_from_cache(
    models: NamedModels,
    dry_run: DryRun = False,
    yes: Yes = False,
    force: Force = False,
    cache_dir: options.CacheDir = None,
    manifest_dir: options.ManifestDir = None,
    json: options.Json = False,
) -> None:
    """Remove MODEL from the cache; files that other models share, or that are in use, stay."""
    from nimctl.cli import asked, cache_actions

    settings = asked.read_command_settings(cache_dir=cache_dir, manifest_dirs=manifest_dir)
    cache_actions.remove_models(models, settings, dry_run=dry_run, yes=yes, force=force, json=json)


@cache.command("prune", short_help="Make room: what was left behind, and what is long unused.")
def prune_cache(
    max_size: MaxSize = None,
    older_than: OlderThan = None,
    partials: Partials = False,
    compiled: Compiled = False,
    dry_run: DryRun = False,
    cache_dir: options.CacheDir = None,
    json: options.Json = False,
) -> None:
    """Remove what killed downloads left behind; models only with --max-size or --older-than.

    The ones that were used longest ago go first; what is pinned or being served never goes.
    """
    from nimctl.cli import asked, cache_actions

    settings = asked.read_command_settings(cache_dir=cache_dir)
    request = cache_actions.parse_prune_request(
        max_size, older_than, partials=partials, compiled=compiled
    )
    cache_actions.prune_models(request, settings, dry_run=dry_run, json=json)


@cache.command("pin", short_help="Keep models from being removed.")
def pin_models(
    models: NamedModels,
    cache_dir: options.CacheDir = None,
    manifest_dir: options.ManifestDir = None,
    json: options.Json = False,
) -> None:
    """Keep what the cache holds of MODEL: neither `prune` nor a plain `rm` removes it."""
    from nimctl.cli import asked, cache_actions

    settings = asked.read_command_settings(cache_dir=cache_dir, manifest_dirs=manifest_dir)
    cache_actions.pin_models(models, settings, pinned=True, json=json)


@cache.command("unpin", short_help="Let pinned models be removed again.")
def unpin_models(
    models: NamedModels,
    cache_dir: options.CacheDir = None,
    manifest_dir: options.ManifestDir = None,
    json: options.Json = False,
) -> None:
    """Let what the cache holds of MODEL be removed again."""
    from nimctl.cli import asked, cache_actions

    settings = asked.read_command_settings(cache_dir=cache_dir, manifest_dirs=manifest_dir)
    cache_actions.pin_models(models, settings, pinned=False, json=json)


cache.command("import", short_help="Take models over from other tools, or out of a bundle.")(
    cache_transfer.import_into_cache
)
cache.command("export", short_help="Write models to a bundle for a machine without a network.")(
    cache_transfer.export_from_cache
)
cache.command("view", short_help="Show models to other tools as their own cache.")(
    cache_transfer.view_cache
)
cache.command("serve", short_help="A read-only mirror for other machines.")(
    cache_transfer.serve_cache
)
