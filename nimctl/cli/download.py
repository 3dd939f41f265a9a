"""`nimctl download`: the files of what would run, or of any place, verified, into the cache."""

from pathlib import Path
from typing import Annotated

import typer

from nimctl.cli import options

Models = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="MODEL|URI...",
        help="Models of the catalogue, or the places of any files: hf://org/name[:revision], "
        "ngc://org/name:version, https://host/file, a folder.",
        show_default=False,
    ),
]
All = Annotated[bool, typer.Option("--all", help="The files of every profile.")]
Include = Annotated[
    list[str] | None,
    typer.Option(metavar="PATTERN", help="Only files like this, e.g. '*.json'; may be repeated."),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(metavar="PATTERN", help="No files like this; may be repeated."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be fetched, and stop.")]
ProgressForm = Annotated[
    str | None,
    typer.Option("--progress", metavar="FORM", help="auto, bars, plain, json or none."),
]
LimitRate = Annotated[
    str | None,
    typer.Option("--limit-rate", metavar="RATE", help="Take at most this, e.g. 50MB/s."),
]
Connections = Annotated[
    str | None, typer.Option(metavar="N", help="Open at most so many connections.")
]
Xet = Annotated[
    bool | None,
    typer.Option("--xet", help="Take large files of Hugging Face out of its Xet storage."),
]
Mirror = Annotated[
    list[str] | None,
    typer.Option(
        metavar="[PREFIX=]ADDRESS",
        help="Take the bytes from there; what they must be is still asked of the publisher.",
    ),
]
AllowPickle = Annotated[
    bool | None,
    typer.Option("--allow-pickle", help="Bring pickles where there is nothing safer."),
]
TrustRemoteCode = Annotated[
    bool | None,
    typer.Option("--trust-remote-code", help="Bring code of the publisher too."),
]
RequireSignature = Annotated[
    Path | None,
    typer.Option(metavar="KEY.pub", help="Refuse what this key did not sign."),
]


def download(
    models: Models = None,
    profile: options.Profile = None,
    engine: options.Engine = None,
    precision: options.Precision = None,
    tensor_parallel: options.TensorParallel = None,
    all_profiles: All = False,
    include: Include = None,
    exclude: Exclude = None,
    dry_run: DryRun = False,
    progress: ProgressForm = None,
    limit_rate: LimitRate = None,
    connections: Connections = None,
    xet: Xet = None,
    mirror: Mirror = None,
    allow_pickle: AllowPickle = None,
    trust_remote_code: TrustRemoteCode = None,
    require_signature: RequireSignature = None,
    hardware: options.Hardware = None,
    offline: options.Offline = None,
    cache_dir: options.CacheDir = None,
    manifest_dir: options.ManifestDir = None,
    json: options.Json = False,
) -> None:
    """Fetch the files of each MODEL's best profile for this machine, or of the one named.

    Of a place without a model, all files. The same command resumes a download that was cut short.
    """
    from nimctl.cli import asked, downloading

    settings = asked.read_command_settings(
        profile=profile,
        engine=engine,
        precision=precision,
        tensor_parallel=tensor_parallel,
        progress=progress,
        limit_rate=limit_rate,
        connections=connections,
        xet=xet,
        mirrors=mirror,
        allow_pickle=allow_pickle,
        trust_remote_code=trust_remote_code,
        require_signature=require_signature,
        offline=offline,
        cache_dir=cache_dir,
        manifest_dirs=manifest_dir,
    )
    choice = downloading.FileChoice(
        all_profiles=all_profiles, include=tuple(include or ()), exclude=tuple(exclude or ())
    )
    with downloading.interruption_in_words():
        wanted = downloading.find_wanted(models, hardware, settings, choice)
        if dry_run:
            from nimctl.cli import fetch_plans

            fetch_plans.print_fetch_plans(wanted, settings, json=json)
        else:
            downloading.bring(wanted, settings, json=json)
