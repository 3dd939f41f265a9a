"""`nimctl doctor`: the machine, the engines, the cache and the settings, and what is missing."""

from pathlib import Path
from typing import Annotated

import typer

from nimctl.cli import options

Snapshot = Annotated[
    Path | None,
    typer.Option(
        "--snapshot",
        metavar="FILE",
        help="Write this machine to FILE, without names, for --hardware or a bug report.",
    ),
]


def doctor(
    snapshot: Snapshot = None,
    cache_dir: options.CacheDir = None,
    manifest_dir: options.ManifestDir = None,
    json: options.Json = False,
) -> None:
    """Show the machine, engines, cache, settings with their origins, and what is missing."""
    from nimctl.cli import asked, diagnosis
    from nimctl.cli.terminal import print_json, print_note

    settings = asked.read_command_settings(cache_dir=cache_dir, manifest_dirs=manifest_dir)
    if snapshot is not None:
        diagnosis.save_snapshot(settings, snapshot)
        print_note(f"wrote {snapshot}; list-profiles and select take it as --hardware {snapshot}")
        return
    found = diagnosis.diagnose(settings)
    if json:
        print_json(diagnosis.diagnosis_document(found))
    else:
        diagnosis.print_diagnosis(found)
