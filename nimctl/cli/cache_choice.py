"""What the cache holds, with the names people know it by, and which of it they mean."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from nimctl.cache import Cache, CacheUsage
from nimctl.cache.upkeep import CompiledCode, HeldEntry, HeldPart, Upkeep
from nimctl.cli.facts import open_catalog
from nimctl.core.manifest import Manifest
from nimctl.core.source import SourceSyntaxError, SourceUri, parse_source_uri
from nimctl.errors import InputError, UnknownModelError
from nimctl.settings import Settings


@dataclass(frozen=True, kw_only=True, slots=True)
class Contents:
    """What the cache holds.

    Attributes:
        models: By place, the models of the catalogue that come from there.
        files: By digest as in `sha256-<hex>`, the file of the catalogue that has it.
    """

    usage: CacheUsage
    entries: tuple[HeldEntry, ...]
    parts: tuple[HeldPart, ...]
    models: Mapping[tuple[str, str], tuple[str, ...]]
    files: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceUsage:
    """What the entries of one place take.

    Attributes:
        size_bytes: Their files, each once.
        own_bytes: What the cache would be smaller by without them.
        freed_bytes: What the disk would get back.
    """

    place: str
    entries: int
    size_bytes: int
    own_bytes: int
    freed_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class DiskUsage:
    """The disk the cache takes, as a whole, by place, and for what engines have compiled."""

    usage: CacheUsage
    sources: tuple[SourceUsage, ...]
    compiled: tuple[CompiledCode, ...]


def read_contents(settings: Settings, names: Iterable[str]) -> Contents:
    """Everything the cache holds; of entries only those that `names` mean, if there are any.

    Raises:
        InputError: a name means nothing that is here.
    """
    upkeep = Upkeep(Cache(settings.cache_dir))
    entries, wanted = upkeep.list_held(), tuple(names)
    manifests = open_catalog(settings).manifests()
    return Contents(
        usage=upkeep.usage(),
        entries=choose_entries(entries, wanted, settings) if wanted else entries,
        parts=() if wanted else upkeep.list_parts(),
        models=_name_places(manifests),
        files=_name_files(manifests),
    )


def measure_sources(settings: Settings) -> DiskUsage:
    """The disk each place takes, the largest first."""
    upkeep = Upkeep(Cache(settings.cache_dir))
    places: dict[str, list[HeldEntry]] = defaultdict(list)
    for held in upkeep.list_held():
        places[_name_place(held.entry.uri)].append(held)
    sources = []
    for place, entries in places.items():
        removal = upkeep.plan_removal({held.key for held in entries})
        sizes = {file.sha256: file.size_bytes for held in entries for file in held.entry.files}
        sources.append(
            SourceUsage(
                place=place,
                entries=len(entries),
                size_bytes=sum(sizes.values()),
                own_bytes=removal.blob_bytes,
                freed_bytes=removal.freed_bytes,
            )
        )
    sources.sort(key=lambda source: (-source.size_bytes, source.place))
    return DiskUsage(usage=upkeep.usage(), sources=tuple(sources), compiled=upkeep.list_compiled())


def choose_entries(
    entries: Iterable[HeldEntry], names: Iterable[str], settings: Settings
) -> tuple[HeldEntry, ...]:
    """The entries that names mean: sources, models of the catalogue, or the ends of places.

    Raises:
        InputError: a name is no source, or means nothing that is here.
    """
    held, chosen = tuple(entries), dict[str, HeldEntry]()
    for name in names:
        found = _find_entries(held, name, settings)
        if not found:
            raise InputError(
                f"the cache {settings.cache_dir} holds nothing of {name}",
                hint="`nimctl cache ls` shows what it holds",
            )
        chosen |= {one.key: one for one in found}
    return tuple(chosen.values())


def _find_entries(held: tuple[HeldEntry, ...], name: str, settings: Settings) -> list[HeldEntry]:
    if "://" in name or name.startswith(("pypi:", "/")):
        try:
            uri = parse_source_uri(name)
        except SourceSyntaxError as error:
            raise InputError(str(error)) from error
        return [one for one in held if _is_meant(uri, one)]
    try:
        places = _list_places(open_catalog(settings).find(name))
    except UnknownModelError:
        places = set()
    found = [one for one in held if (one.entry.uri.scheme, one.entry.uri.location) in places]
    return found or [one for one in held if _ends_with(one.entry.uri.location, name)]


def _is_meant(uri: SourceUri, held: HeldEntry) -> bool:
    """Whether an entry is of that place, revision and file, as far as `uri` names them."""
    entry = held.entry
    return (
        (entry.uri.scheme, entry.uri.location) == (uri.scheme, uri.location)
        and uri.revision in (None, entry.revision, entry.uri.revision)
        and uri.file in (None, entry.uri.file)
    )


def _ends_with(location: str, name: str) -> bool:
    return f"/{location}".lower().endswith(f"/{name.strip('/')}".lower())


def _list_places(manifest: Manifest) -> set[tuple[str, str]]:
    return {
        (part.source.scheme, part.source.location)
        for profile in manifest.profiles
        for part in profile.artifact.places
    }


def _name_places(manifests: Iterable[Manifest]) -> dict[tuple[str, str], tuple[str, ...]]:
    models: dict[tuple[str, str], tuple[str, ...]] = {}
    for manifest in manifests:
        for place in sorted(_list_places(manifest)):
            models[place] = (*models.get(place, ()), manifest.model)
    return models


def _name_files(manifests: Iterable[Manifest]) -> dict[str, str]:
    return {
        f"{file.digest.algorithm}-{file.digest.hex}": f"{file.path} of {part.source}"
        for manifest in manifests
        for profile in manifest.profiles
        for part in profile.artifact.places
        for file in part.files
    }


def _name_place(uri: SourceUri) -> str:
    return str(SourceUri(scheme=uri.scheme, location=uri.location))
