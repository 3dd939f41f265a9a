"""`nimctl download`: the files of the profile that would run, verified, into the shared cache."""

from typing import Annotated

import typer

from nimctl.cli import options

DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be fetched, and stop.")]
All = Annotated[bool, typer.Option("--all", help="The files of every profile.")]


def download(
    model: options.Model = None,
    profile: options.Profile = None,
    engine: options.Engine = None,
    precision: options.Precision = None,
    tensor_parallel: options.TensorParallel = None,
    all_profiles: All = False,
    dry_run: DryRun = False,
    hardware: options.Hardware = None,
    offline: options.Offline = None,
    cache_dir: options.CacheDir = None,
    manifest_dir: options.ManifestDir = None,
    json: options.Json = False,
) -> None:
    """Fetch the files of MODEL's best profile for this machine, or of the one named.

    The same command resumes a download that was cut short.
    """
    from nimctl.cli import facts, fetching

    settings = facts.read_command_settings(
        profile=profile,
        engine=engine,
        precision=precision,
        tensor_parallel=tensor_parallel,
        offline=offline,
        cache_dir=cache_dir,
        manifest_dirs=manifest_dir,
    )
    manifest = facts.find_model(facts.open_catalog(settings), settings, model)
    machine = facts.read_machine(settings, hardware)
    wish = facts.make_wish(settings, None)
    artifacts = fetching.choose_artifacts(
        manifest, machine, wish, settings, all_profiles=all_profiles
    )
    if dry_run:
        fetching.print_fetch_plans(artifacts, settings, json=json)
    else:
        fetching.fetch_all(artifacts, settings, json=json)
