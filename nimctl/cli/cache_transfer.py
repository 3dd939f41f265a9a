"""The commands of `nimctl cache` that carry models in and out: import, export, view, serve."""

from pathlib import Path
from typing import Annotated

import typer

from nimctl.cli import options

Place = Annotated[
    str | None,
    typer.Argument(
        metavar="[PLACE]",
        help="hf, ollama, lmstudio, nim, a folder, or a bundle; without it all tools here.",
        show_default=False,
    ),
]
From = Annotated[
    str | None, typer.Option("--from", metavar="PLACE", help="The same, as an option.")
]
RequireSignature = Annotated[
    Path | None,
    typer.Option(metavar="KEY.pub", help="Refuse a bundle that this key did not sign."),
]
ImportDryRun = Annotated[bool, typer.Option("--dry-run", help="Show what is there, and stop.")]
Names = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL...",
        help="Models of the catalogue, sources such as hf://org/name, or the ends of their names.",
    ),
]
AnyNames = Annotated[
    list[str] | None,
    typer.Argument(metavar="[MODEL]...", help="The same; without any all that can be shown."),
]
Output = Annotated[
    Path,
    typer.Option("--output", "-o", metavar="FILE.tar|DIR|-", help="Where it is written."),
]
Since = Annotated[
    Path | None,
    typer.Option(metavar="BUNDLE", help="Leave out the files of this earlier bundle."),
]
Sign = Annotated[
    Path | None, typer.Option(metavar="KEY", help="Sign it with this private key (PEM).")
]
Form = Annotated[
    str,
    typer.Option(
        "--format", metavar="FORM", help="oci (a bundle), hf, nim-cache, model-store or nim-s3."
    ),
]
Tool = Annotated[str, typer.Argument(metavar="hf|nim", help="For which tool.")]
ViewFolder = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="DIR", help="Where; inside the cache without it."),
]
Host = Annotated[str, typer.Option(help="The address to listen at.")]
Port = Annotated[int, typer.Option(help="The port; 0 takes a free one.")]
AllowPickle = Annotated[
    bool | None, typer.Option("--allow-pickle", help="Take pickles out of a bundle too.")
]
TrustRemoteCode = Annotated[
    bool | None, typer.Option("--trust-remote-code", help="Take code out of a bundle too.")
]


def import_into_cache(
    place: Place = None,
    from_place: From = None,
    require_signature: RequireSignature = None,
    dry_run: ImportDryRun = False,
    allow_pickle: AllowPickle = None,
    trust_remote_code: TrustRemoteCode = None,
    cache_dir: options.CacheDir = None,
    json: options.Json = False,
) -> None:
    """Take models into the cache, from other tools of this machine or out of a bundle.

    Files of other tools are hashed and shared, not copied, where the disk allows it; nothing of
    theirs is changed. A bundle is checked byte by byte while it is copied; no network is needed.
    """
    from nimctl.cli import asked, importing
    from nimctl.errors import InputError

    if place is not None and from_place is not None:
        raise InputError("the place is given twice", hint="leave out --from")
    settings = asked.read_command_settings(
        cache_dir=cache_dir, allow_pickle=allow_pickle, trust_remote_code=trust_remote_code
    )
    importing.import_models(
        place or from_place, settings, key_file=require_signature, dry_run=dry_run, json=json
    )


def export_from_cache(
    models: Names,
    output: Output,
    since: Since = None,
    sign: Sign = None,
    form: Form = "oci",
    cache_dir: options.CacheDir = None,
    manifest_dir: options.ManifestDir = None,
    json: options.Json = False,
) -> None:
    """Write MODEL to a bundle that `nimctl cache import` reads on a machine without a network.

    A folder shares the files of the cache, a .tar or - (standard output) is one stream. Other
    formats are folders that other tools read.
    """
    from nimctl.cli import asked, exporting

    settings = asked.read_command_settings(cache_dir=cache_dir, manifest_dirs=manifest_dir)
    exporting.export_models(
        models, settings, output=output, form=form, since=since, key_file=sign, json=json
    )


def view_cache(
    tool: Tool,
    models: AnyNames = None,
    output: ViewFolder = None,
    cache_dir: options.CacheDir = None,
    manifest_dir: options.ManifestDir = None,
    json: options.Json = False,
) -> None:
    """Show MODEL to another tool as its own cache, without a second copy of any byte.

    hf is a Hugging Face cache (HF_HUB_CACHE), nim one of NIM (NIM_CACHE_PATH).
    """
    from nimctl.cli import asked, exporting
    from nimctl.errors import InputError

    forms = {"hf": "hf", "nim": "nim-cache"}
    if tool not in forms:
        raise InputError(f"there is no view for {tool!r}", hint="choose hf or nim")
    settings = asked.read_command_settings(cache_dir=cache_dir, manifest_dirs=manifest_dir)
    exporting.write_view(models or [], settings, form=forms[tool], folder=output, json=json)


def serve_cache(
    host: Host = "127.0.0.1",
    port: Port = 8090,
    cache_dir: options.CacheDir = None,
    json: options.Json = False,
) -> None:
    """Serve what the cache holds, read-only, to machines that name this one as HF_ENDPOINT."""
    from nimctl.cli import asked, mirror_serving

    settings = asked.read_command_settings(cache_dir=cache_dir)
    mirror_serving.serve_cache(settings, host=host, port=port, json=json)
