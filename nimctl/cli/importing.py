"""What `nimctl cache import` does: models of other tools by hash, models of a bundle by digest."""

from collections import Counter
from glob import escape
from pathlib import Path
from typing import Any

from nimctl.cache import Cache, CacheEntry, FetchRequest, Note
from nimctl.cache.adopting import AdoptedModel, adopt_model
from nimctl.cache.foreign import ForeignFile, ForeignModel
from nimctl.cache.layout import Layout
from nimctl.cache.moving import write_moving
from nimctl.cache.papers import write_signature
from nimctl.cli.carried_manifests import keep_manifests, list_models
from nimctl.cli.facts import open_catalog
from nimctl.cli.foreign_places import (
    ForeignPlace,
    is_bundle,
    is_tool,
    list_usual_places,
    recognize,
)
from nimctl.cli.guarded_source import GuardedSource
from nimctl.cli.listing_check import ListingCheck
from nimctl.cli.pickle_scan import scan_pickles
from nimctl.cli.progress import show_progress
from nimctl.cli.safety_policy import make_policy
from nimctl.cli.signed_files import check_bundle_or_models
from nimctl.cli.terminal import print_json, print_line, print_note, print_warning
from nimctl.core.units import format_file_bytes
from nimctl.errors import DigestMismatchError, FetchError, InputError
from nimctl.settings import Settings
from nimctl.sources.oci import Bundle, BundledModel, OciSource

_TOLD_FROM_BYTES = 1024**3


def import_models(
    place: str | None, settings: Settings, *, key_file: Path | None, dry_run: bool, json: bool
) -> None:
    """Take over what is at `place`; without one what other tools keep where they usually do.

    Raises:
        InputError: there is no such place.
        FetchError: some of it could not be taken; DigestMismatchError where some is damaged.
    """
    path = None if place is None or is_tool(place) else Path(place).expanduser()
    if path is not None and is_bundle(path):
        wanted = key_file or settings.require_signature
        import_bundle(path.absolute(), settings, key_file=wanted, dry_run=dry_run, json=json)
        return
    if key_file is not None:
        raise InputError("only a bundle is signed", hint="name one, or leave out the key")
    usual = list_usual_places(settings.environment, place) if path is None else ()
    places = usual if path is None else (recognize(path),)
    models = [model for one in places for model in one.find(one.folder)]
    if path is not None and not models:
        raise InputError(f"{path} holds no model that nimctl can use")
    if dry_run:
        _print_found(models, places, json=json)
        return
    _adopt_all(models, places, settings, json=json)


def _adopt_all(
    models: list[ForeignModel], places: tuple[ForeignPlace, ...], settings: Settings, *, json: bool
) -> None:
    adopted = []
    for model in models:
        adopted.append(adopt_model(settings.cache_dir, model, _tell_large))
        if not json:
            _print_adopted(adopted[-1])
    if json:
        print_json({"models": [_adopted_document(one) for one in adopted]})
    elif not models:
        _print_nothing(places)
    refused = [sentence for one in adopted for sentence in one.refused]
    if refused:
        more = f", and {len(refused) - 1} more files could not be taken" if refused[1:] else ""
        is_damaged = any(one.is_damaged for one in adopted)
        raise (DigestMismatchError if is_damaged else FetchError)(f"{refused[0]}{more}")


def _tell_large(file: ForeignFile) -> None:
    if file.size_bytes >= _TOLD_FROM_BYTES:
        print_note(f"hashing {file.location} ({format_file_bytes(file.size_bytes)})")


def _print_nothing(places: tuple[ForeignPlace, ...]) -> None:
    where = ", ".join(str(place.folder) for place in places)
    print_line(f"no models in {where}" if where else "no cache of another tool is on this machine")


def _print_found(
    models: list[ForeignModel], places: tuple[ForeignPlace, ...], *, json: bool
) -> None:
    if json:
        print_json({"models": [_found_document(model) for model in models]})
        return
    for model in models:
        size = format_file_bytes(model.size_bytes)
        print_line(f"{size:>10}  {model.uri}  ({model.tool}, {_count(len(model.files), 'file')})")
        for note in model.notes:
            print_line(f"{'':>10}  {note}")
    if not models:
        _print_nothing(places)


def _print_adopted(adopted: AdoptedModel) -> None:
    model, ways = adopted.model, Counter(file.way for file in adopted.files)
    taken_bytes = sum(file.file.size_bytes for file in adopted.files)
    how = ", ".join(f"{_count(n, 'file')}: {way}" for way, n in sorted(ways.items()))
    print_line(f"{format_file_bytes(taken_bytes):>10}  {model.uri}  ({model.tool})")
    unchecked = sum(not file.was_checked for file in adopted.files)
    for line in (how, *model.notes, *adopted.refused):
        print_line(f"{'':>10}  {line}")
    if unchecked:
        print_line(f"{'':>10}  {_count(unchecked, 'file')}: no digest to check against")
    command = _serve_command(adopted)
    if command:
        print_line(f"{'':>10}  {command}")


def _serve_command(adopted: AdoptedModel) -> str | None:
    address = None if adopted.entry is None else _serve_address(adopted.entry)
    return f"nimctl serve {address}" if address else None


def _serve_address(entry: CacheEntry) -> str | None:
    """The address that an entry is served by; None where nothing of it can be."""
    if entry.uri.scheme in ("hf", "ngc"):
        return str(entry.uri)
    heads = [file.path for file in entry.files if file.path.endswith(".gguf")]
    main = [path for path in heads if not path.rpartition("/")[2].startswith("mmproj")]
    if main:
        return str(entry.path / main[0])
    is_model = any(file.path.endswith(".safetensors") for file in entry.files)
    return str(entry.path) if is_model else None


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _found_document(model: ForeignModel) -> dict[str, Any]:
    return {
        "tool": model.tool,
        "source": str(model.uri),
        "revision": model.revision,
        "is_whole": model.is_whole,
        "size_bytes": model.size_bytes,
        "files": [{"path": one.path, "size_bytes": one.size_bytes} for one in model.files],
        "notes": list(model.notes),
    }


def _adopted_document(adopted: AdoptedModel) -> dict[str, Any]:
    files = [
        {
            "path": one.file.path,
            "size_bytes": one.file.size_bytes,
            "sha256": one.file.sha256,
            "way": one.way,
            "checked": one.was_checked,
        }
        for one in adopted.files
    ]
    path = {"path": str(adopted.entry.path)} if adopted.entry else {}
    command = _serve_command(adopted)
    served = {"serve": command} if command else {}
    return (
        _found_document(adopted.model)
        | path
        | {"files": files, "refused": list(adopted.refused)}
        | served
    )


def import_bundle(
    path: Path, settings: Settings, *, key_file: Path | None, dry_run: bool, json: bool
) -> None:
    """Bring every model of a bundle into the cache; each byte is checked while it is copied.

    Raises:
        DigestMismatchError: it was tampered with.
        SignatureError: its signature is missing or wrong.
        FetchError: it cannot be trusted or is not whole; what was taken is kept.
    """
    bundle = Bundle(path)
    if key_file is not None:
        check_bundle_or_models(bundle, key_file)
    elif bundle.read_signature() is not None:
        print_warning(f"{path} is signed; --require-signature KEY.pub checks by whom")
    if dry_run:
        _print_bundle(bundle, json=json)
        return
    entries = [_bring(bundle, model, settings) for model in bundle.models]
    if json:
        print_json({"models": [_entry_document(entry) for entry in entries]})
        return
    for entry in entries:
        print_line(f"{format_file_bytes(entry.size_bytes):>10}  {entry.uri}")
        for place in _list_served(entry, settings):
            print_line(f"{'':>10}  nimctl serve --offline {place}")


def _list_served(entry: CacheEntry, settings: Settings) -> list[str]:
    """What `nimctl serve` takes to serve what came out of a bundle: names, or an address."""
    names = list_models(entry, open_catalog(settings))
    address = _serve_address(entry)
    return names or ([address] if address else [])


def _bring(bundle: Bundle, model: BundledModel, settings: Settings) -> CacheEntry:
    is_all = model.is_whole or model.uri.file is not None
    request = FetchRequest(
        uri=model.uri,
        include=() if is_all else tuple(escape(file.path) for file in model.files),
        policy=make_policy(settings),
    )
    cache = Cache(settings.cache_dir)
    with show_progress(settings.progress, request, cache.root) as on_progress:
        check = ListingCheck(
            request=request, layout=Layout(root=cache.root), on_progress=on_progress
        )
        source = GuardedSource(
            OciSource(bundle=bundle, model=model),
            connections=None,
            rate_limit=None,
            look_at=check.look_at,
        )
        entry = cache.fetch(request, source, on_progress)
        scan_pickles(entry, lambda text: on_progress(Note(text=text)))
    write_moving(cache.root, entry, model.moving)
    if model.signature is not None:
        write_signature(cache.root, entry, model.signature)
    keep_manifests(settings, entry, model.manifests)
    return entry


def _print_bundle(bundle: Bundle, *, json: bool) -> None:
    if json:
        print_json({"models": [_bundled_document(model) for model in bundle.models]})
        return
    for model in bundle.models:
        size = format_file_bytes(sum(file.size_bytes or 0 for file in model.files))
        print_line(f"{size:>10}  {model.uri}  (as {model.name})")


def _bundled_document(model: BundledModel) -> dict[str, Any]:
    return {
        "name": model.name,
        "source": str(model.uri),
        "revision": model.revision,
        "is_whole": model.is_whole,
        "files": [{"path": one.path, "size_bytes": one.size_bytes} for one in model.files],
    }


def _entry_document(entry: CacheEntry) -> dict[str, Any]:
    return {
        "source": str(entry.uri),
        "revision": entry.revision,
        "path": str(entry.path),
        "size_bytes": entry.size_bytes,
        "files": [
            {"path": one.path, "size_bytes": one.size_bytes, "sha256": one.sha256}
            for one in entry.files
        ],
    }
