"""The weights of a profile: what the cache is asked for, what is here, and in which folder."""

from pathlib import Path

from nimctl.cache import Cache, CacheEntry, FetchRequest
from nimctl.cli.safety_policy import make_policy
from nimctl.cli.workspace import join_parts, workspace_folder
from nimctl.core.manifest import Artifact
from nimctl.core.units import format_file_bytes
from nimctl.errors import SignatureError
from nimctl.settings import Settings


def request_files(artifact: Artifact, settings: Settings) -> tuple[FetchRequest, ...]:
    """What the cache is asked for, place by place."""
    return tuple(
        FetchRequest(
            uri=part.source,
            include=part.include,
            pinned=part.files,
            policy=make_policy(settings),
        )
        for part in artifact.places
    )


def find_files(artifact: Artifact, settings: Settings) -> tuple[CacheEntry, ...] | None:
    """What the cache holds of each place; None where something is missing."""
    cache, requests = Cache(settings.cache_dir), request_files(artifact, settings)
    entries = tuple(entry for one in requests if (entry := cache.find(one)))
    return entries if len(entries) == len(artifact.places) else None


def is_in_place(artifact: Artifact) -> bool:
    """Whether the weights are a folder of this machine that needs no check: it is not copied."""
    source = artifact.source
    as_published = not artifact.files and not artifact.parts
    return source.scheme == "file" and as_published and Path(source.location).is_dir()


def fetch_artifact(artifact: Artifact, settings: Settings) -> CacheEntry:
    """Bring an artifact into the cache, telling how it goes; nothing is told if it is there.

    Files of this machine that nobody pinned are used where they lie.

    Raises:
        FetchError: it cannot be had.
    """
    if is_in_place(artifact):
        if settings.require_signature is not None:
            raise SignatureError(
                f"{artifact.source.location} is used where it lies, its signature unchecked",
                hint="download it with --include '*' first, and serve the folder that is printed",
            )
        return CacheEntry(
            uri=artifact.source, revision="local", path=Path(artifact.source.location), files=()
        )
    from nimctl.cli.fetching import fetch_request

    requests = request_files(artifact, settings)
    entries = tuple(fetch_request(request, settings) for request in requests)
    if artifact.parts:
        return join_parts(settings.cache_dir, artifact, entries)
    return entries[0]


def find_weights_dir(artifact: Artifact, settings: Settings) -> Path:
    """Where the files of an artifact are, or will be once they are fetched."""
    if is_in_place(artifact):
        return Path(artifact.source.location)
    if artifact.parts:
        return workspace_folder(settings.cache_dir, artifact)
    cache, (request,) = Cache(settings.cache_dir), request_files(artifact, settings)
    entry = cache.find(request)
    return entry.path if entry else cache.expected_path(request)


def list_weight_files(folder: Path, artifact: Artifact) -> dict[Path, int]:
    """Sizes of the files of weights that an engine opens, by their path in `folder`."""
    if artifact.format == "gguf":
        names = tuple(file.path for file in artifact.files) or (artifact.single_file or "",)
        files = [folder / name for name in names]
    else:
        files = sorted(folder.rglob("*.safetensors"))
    return {path: path.stat().st_size for path in files if path.is_file()}


def describe_files(artifact: Artifact, settings: Settings) -> str:
    """Where the files of an artifact come from, and whether they are here."""
    size = format_file_bytes(artifact.download_bytes)
    if is_in_place(artifact):
        return f"{artifact.source} ({size}, used where it lies)"
    here = find_files(artifact, settings) is not None
    more = f" and {len(artifact.parts) - 1} more places" if len(artifact.parts) > 1 else ""
    return f"{artifact.source}{more} ({size}, {'in the cache' if here else 'to download'})"
