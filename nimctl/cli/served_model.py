"""What clients are told of the model that is served: names, files, licence, what they may ask."""

import time
from pathlib import PurePath
from typing import Any

from nimctl import __version__
from nimctl.cache import CachedFile, CacheEntry
from nimctl.cli.adapters import find_adapters
from nimctl.cli.choosing import Choice
from nimctl.cli.launching import choose_served_names
from nimctl.core.plan import Launch
from nimctl.core.request_fields import read_version
from nimctl.core.surface import offer, read_sequences
from nimctl.engines import ENGINES
from nimctl.server import ServedModel

API_VERSION = "1"
_LICENCE_NAMES = ("license", "licence", "copying")
_LONGEST_LICENCE_BYTES = 1 << 20


def describe_served_model(choice: Choice, entry: CacheEntry, launch: Launch) -> ServedModel:
    """The model of a choice whose files are here, as this launch serves it."""
    surface = ENGINES[choice.installed.name].surface
    version = read_version(choice.installed.version)
    what = offer(surface, version=version, argv=launch.argv)
    licence = _describe_licence(choice, entry)
    traits = ENGINES[choice.installed.name].traits
    adapters = find_adapters(choice.settings, traits) if what.adapters_by_name else ()
    return ServedModel(
        names=choose_served_names(choice.settings, choice.manifest),
        created=int(time.time()),
        context_length=choice.plan.context_length,
        metadata=_describe_metadata(choice, entry, licence),
        version={"release": __version__, "api": API_VERSION},
        manifest=_describe_files(choice, entry),
        licence=licence,
        offer=what,
        sequences=read_sequences(surface, launch.argv),
        adapters=tuple(one.name for one in adapters),
    )


def _describe_metadata(
    choice: Choice, entry: CacheEntry, licence: dict[str, Any]
) -> dict[str, Any]:
    """NIM's fields, and the engine."""
    profile = choice.verdict.profile
    return {
        "version": __version__,
        "assetInfo": [f"{file.path} sha256:{file.sha256}" for file in entry.files],
        "licenseInfo": {name: value for name, value in licence.items() if name != "content"},
        "modelInfo": [
            {
                "shortName": f"{choice.manifest.short_name}:{entry.revision}",
                "modelUrl": str(entry.uri),
            }
        ],
        "repository_override": "",
        "selectedModelProfileId": profile.id,
        "selectedModelProfile": profile.description,
        "engine": {"name": choice.installed.name, "version": choice.installed.version or ""},
    }


def _describe_files(choice: Choice, entry: CacheEntry) -> dict[str, Any]:
    profile = choice.verdict.profile
    return {
        "object": "manifest",
        "model": choice.manifest.model,
        "profile": {"id": profile.id, "description": profile.description},
        "source": str(entry.uri),
        "revision": entry.revision,
        "size_bytes": entry.size_bytes,
        "files": [
            {"path": file.path, "size_bytes": file.size_bytes, "sha256": file.sha256}
            for file in entry.files
        ],
    }


def _describe_licence(choice: Choice, entry: CacheEntry) -> dict[str, Any]:
    """NIM's fields: the licence's name, and its text where the publisher put it with the model."""
    licence: dict[str, Any] = {"name": choice.manifest.licence}
    for file in filter(_is_licence, entry.files):
        text = (entry.path / file.path).read_text(errors="replace")
        place = {"path": file.path, "sha": file.sha256, "size": file.size_bytes, "type": "file"}
        return licence | place | {"content": text}
    return licence


def _is_licence(file: CachedFile) -> bool:
    stem = PurePath(file.path).name.lower().partition(".")[0]
    return stem in _LICENCE_NAMES and file.size_bytes <= _LONGEST_LICENCE_BYTES
