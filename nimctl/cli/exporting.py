"""What `nimctl cache export` and `view` do: the cache's models for other machines and tools."""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from secrets import token_hex

from nimctl.cache import Cache, CacheEntry
from nimctl.cache.bundle import BundleOutput, BundleReport, write_bundle
from nimctl.cache.bundle_outputs import (
    FolderOutput,
    TarOutput,
    output_failures_in_words,
)
from nimctl.cache.upkeep import HeldEntry, Upkeep
from nimctl.cache.views import VIEWS, check_apart
from nimctl.cli.cache_choice import choose_entries
from nimctl.cli.carried_manifests import collect_manifests
from nimctl.cli.facts import open_catalog
from nimctl.cli.signatures import load_signer
from nimctl.cli.terminal import print_json, print_line, print_note
from nimctl.core.units import format_file_bytes
from nimctl.errors import InputError
from nimctl.settings import Settings
from nimctl.sources.oci import Bundle

FORMATS = ("oci", *VIEWS)
_VIEWED_SCHEMES = {"hf": ("hf",), "nim-cache": ("ngc", "hf")}


def export_models(
    names: list[str],
    settings: Settings,
    *,
    output: Path,
    form: str,
    since: Path | None,
    key_file: Path | None,
    json: bool,
) -> None:
    """Write what the cache holds of models to `output`, as a bundle or in another format.

    Raises:
        InputError: a name means nothing that is here whole, or the output cannot be such.
        DigestMismatchError: a file of the cache is damaged.
        DiskFullError: there is no room at the output.
    """
    if form not in FORMATS:
        raise InputError(f"there is no format {form!r}", hint=f"choose of {', '.join(FORMATS)}")
    output = output if str(output) == "-" else output.absolute()
    cache = Cache(settings.cache_dir)
    entries = _whole(choose_entries(Upkeep(cache).list_held(), names, settings))
    with ExitStack() as leases:
        for entry in entries:
            leases.enter_context(cache.lease(entry.path, entry.files, "an export"))
        if form == "oci":
            _export_bundle(entries, settings, output, since=since, key_file=key_file, json=json)
            return
        if since is not None or key_file is not None:
            raise InputError("--since and --sign are for bundles", hint="leave out --format")
        if form == "model-store":
            check_apart(entries)
        _write_views(entries, cache, output, form=form, json=json)


def write_view(
    names: list[str], settings: Settings, *, form: str, folder: Path | None, json: bool
) -> None:
    """Show models to another tool as its own cache; without names all that can be in it.

    Raises:
        InputError: a name means nothing that is here whole.
    """
    cache = Cache(settings.cache_dir)
    held = Upkeep(cache).list_held()
    if names:
        entries = _whole(choose_entries(held, names, settings))
    else:
        schemes = _VIEWED_SCHEMES[form]
        entries = tuple(
            one.entry for one in held if one.entry.uri.scheme in schemes and not one.missing
        )
    place = (folder or cache.root / "views" / form.removesuffix("-cache")).absolute()
    with ExitStack() as leases:
        for entry in entries:
            leases.enter_context(cache.lease(entry.path, entry.files, "a view"))
        _write_views(entries, cache, place, form=form, json=json)
    if not json:
        variable = f"HF_HUB_CACHE={place / 'hub'}" if form == "hf" else f"NIM_CACHE_PATH={place}"
        print_note(f"use it with {variable}; delete it whenever you like")


def _write_views(
    entries: tuple[CacheEntry, ...], cache: Cache, folder: Path, *, form: str, json: bool
) -> None:
    written = [(entry, VIEWS[form](cache.root, entry, folder)) for entry in entries]
    if json:
        print_json(
            {
                "format": form,
                "folder": str(folder),
                "models": [{"source": str(one.uri), "path": str(path)} for one, path in written],
            }
        )
        return
    for entry, path in written:
        print_line(f"{format_file_bytes(entry.size_bytes):>10}  {entry.uri}  {path}")


def _whole(held: tuple[HeldEntry, ...]) -> tuple[CacheEntry, ...]:
    for one in held:
        if one.missing:
            raise InputError(
                f"{one.entry.uri} is not whole: {', '.join(file.path for file in one.missing)}",
                hint="`nimctl cache verify --repair` fetches what is missing",
            )
    return tuple(one.entry for one in held)


def _export_bundle(
    entries: tuple[CacheEntry, ...],
    settings: Settings,
    output: Path,
    *,
    since: Path | None,
    key_file: Path | None,
    json: bool,
) -> None:
    left_out = Bundle(since.absolute()).list_blobs() if since else frozenset[str]()
    sign = load_signer(key_file, output.stem) if key_file else None
    is_stream = str(output) == "-"
    if is_stream and json:
        raise InputError("--json and -o - both want standard output", hint="leave one of them out")
    catalog = open_catalog(settings)
    manifests = [collect_manifests(entry, catalog) for entry in entries]
    with output_failures_in_words(str(output)), _opened_output(output) as place:
        report = write_bundle(
            settings.cache_dir,
            entries,
            place,
            left_out=left_out,
            sign=sign,
            manifests=manifests,
        )
    if json:
        print_json(
            {
                "bundle": str(output),
                "models": list(report.names),
                "file_bytes": report.file_bytes,
                "left_out_bytes": report.left_out_bytes,
                "signed": sign is not None,
            }
        )
        return
    print_note(_describe(report, output, is_stream=is_stream))


def _describe(report: BundleReport, output: Path, *, is_stream: bool) -> str:
    more = f", {format_file_bytes(report.left_out_bytes)} are in the earlier bundle"
    where = "standard output" if is_stream else str(output)
    return (
        f"{', '.join(report.names)}: {format_file_bytes(report.file_bytes)} written to {where}"
        + (more if report.left_out_bytes else "")
    )


@contextmanager
def _opened_output(output: Path) -> Iterator[BundleOutput]:
    """A folder, a tar that gets its name when it is whole, or standard output."""
    if str(output) == "-":
        if sys.stdout.isatty():
            raise InputError("a bundle is nothing for a terminal", hint="write it to a file")
        tar = TarOutput(sys.stdout.fileno())
        yield tar
        tar.close()
    elif output.suffix == ".tar":
        temporary = output.with_name(f".{output.name}.{token_hex(4)}.tmp")
        try:
            with temporary.open("xb") as stream:
                tar = TarOutput(stream.fileno())
                yield tar
                tar.close()
                os.fsync(stream.fileno())
            temporary.replace(output)
        finally:
            temporary.unlink(missing_ok=True)
    else:
        yield FolderOutput(output)
