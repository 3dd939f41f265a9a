"""Manifests that travel with models, so that their names mean the same on another machine."""

from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from nimctl.cache import CacheEntry
from nimctl.cache.papers import write_manifests
from nimctl.catalog import (
    Catalog,
    UnjudgedModelError,
    load_catalog,
    shipped_manifest_dir,
)
from nimctl.cli.terminal import print_note, print_warning
from nimctl.core.source import SourceUri
from nimctl.errors import InputError
from nimctl.settings import Settings
from nimctl.sources.oci import BundledManifest


def collect_manifests(entry: CacheEntry, catalog: Catalog) -> list[dict[str, Any]]:
    """What describes the models that are made of an entry, for a bundle."""
    shipped = shipped_manifest_dir().resolve()
    found = []
    for model in list_models(entry, catalog):
        paths = catalog.layers_of(model)
        carried = BundledManifest(
            model=model,
            is_own=not all(path.is_relative_to(shipped) for path in paths),
            layers=tuple(path.read_text(encoding="utf-8-sig") for path in paths),
        )
        found.append(asdict(carried))
    return found


def list_models(entry: CacheEntry, catalog: Catalog) -> list[str]:
    """The models of the catalogue whose weights, or a part of them, are of the entry's place."""
    place = _place(entry.uri)
    judged = [
        manifest.model
        for manifest in catalog.manifests()
        if any(
            _place(part.source) == place
            for profile in manifest.profiles
            for part in profile.artifact.places
        )
    ]
    unjudged = [one.model for one in catalog.list_unjudged() if place in map(_place, one.places)]
    return judged + unjudged


def keep_manifests(
    settings: Settings, entry: CacheEntry, manifests: tuple[BundledManifest, ...]
) -> None:
    """Keep the manifests an entry came with, as far as they say what is not known here.

    Those that another nimctl ships are left out where this one ships the model too; what the user
    of the other machine wrote is taken, and told where it stands in for a shipped one.

    Raises:
        FetchError, DiskFullError: the cache cannot be written.
    """
    shipped = set(load_catalog().models)
    for carried in manifests:
        if carried.model in shipped and not carried.is_own:
            continue
        problem = _find_problem(carried)
        if problem is not None:
            print_warning(f"the manifest of {carried.model} in the bundle is left out: {problem}")
            continue
        write_manifests(settings.cache_dir, entry, carried.model, carried.layers)
        if carried.model in shipped:
            print_note(
                f"note: {carried.model} is what the bundle says from now on, not what nimctl "
                f"ships; `nimctl cache rm {entry.uri}` undoes it"
            )


def _find_problem(carried: BundledManifest) -> str | None:
    """Why this nimctl cannot use a manifest; None where it can."""
    with TemporaryDirectory() as folder:
        paths = tuple(Path(folder, f"{number}.yaml") for number in range(len(carried.layers)))
        for path, text in zip(paths, carried.layers, strict=True):
            path.write_text(text, encoding="utf-8")
        try:
            load_catalog(carried={carried.model: paths}).find(carried.model)
        except UnjudgedModelError:
            return None
        except InputError as error:
            return error.message.replace(f"{folder}/", "")
    return None


def _place(uri: SourceUri) -> tuple[str, str]:
    return uri.scheme, uri.location
