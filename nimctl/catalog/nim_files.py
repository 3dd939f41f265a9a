"""Which artifact the files of a NIM profile are: where they come from, lie, and what they weigh."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatch
from glob import escape

from nimctl.catalog.nim import NimFile, NimManifest, NimProfile, is_engine_file
from nimctl.core.manifest import Artifact, Manifest, Part, WeightFormat
from nimctl.core.names import EngineName
from nimctl.core.source import PinnedFile, SourceUri
from nimctl.core.units import GIB

_LOADS_WEIGHTS_OF: dict[EngineName, EngineName] = {"sglang": "vllm"}
_WEIGHT_FILES = ("*.safetensors", "*.gguf", "*.engine")
_CHECKPOINT_FILES = ("config.json", "*.safetensors")
_LOOKED_INTO = ("hf", "ngc", "file")
# Both keep a weight in 16 bits.
_LIKE = {"fp16": "bf16"}


class LeftOutError(Exception):
    """A profile cannot be described truly; the message is the end of a sentence."""


def find_artifact(
    entry: NimProfile, engine: EngineName, precision: str, known: Manifest
) -> Artifact:
    """The weights: by NIM's files, else those nimctl knows of this engine and precision.

    An id that nimctl gave itself is a hash of the weights, so they are the same.

    Raises:
        LeftOutError: they are not known, or cannot be brought as they shall lie.
    """
    for profile in known.profiles:
        if profile.id == entry.id:
            return profile.artifact
    if entry.files:
        return _make_artifact(entry, precision, known)
    for profile in known.profiles:
        loads = _LOADS_WEIGHTS_OF.get(engine, engine)
        if (profile.engine, _like(profile.precision)) == (loads, _like(precision)):
            return profile.artifact
    raise LeftOutError(f"it names no files, and {precision} weights for {engine} are not known")


def find_checkpoints(nim: NimManifest) -> tuple[SourceUri, ...]:
    """The places that hold a model's published weights or config, those of most profiles first."""
    places = Counter(
        place
        for entry in nim.profiles
        for place in {
            replace(file.uri, file=None)
            for file in entry.files
            if file.uri and file.uri.file == file.path and _matches(file.path, _CHECKPOINT_FILES)
        }
    )
    return tuple(place for place, _ in places.most_common() if place.scheme in _LOOKED_INTO)


def _make_artifact(entry: NimProfile, precision: str, known: Manifest) -> Artifact:
    parts = _split_places(entry.files)
    main = next((part for part in parts if _holds_weights(part)), parts[0])
    as_published = len(parts) == 1 and not main.folder
    weight_format = _find_format(entry.files)
    if weight_format == "gguf" and not as_published:
        raise LeftOutError("its GGUF file has to lie in another folder than it is published in")
    weight_bytes, download_bytes = _measure(entry, precision, known)
    alone = entry.files[0].uri if as_published and len(entry.files) == 1 else None
    return Artifact(
        name=precision,
        source=alone or main.source,
        format=weight_format,
        include=main.include if as_published and not alone else (),
        files=main.files if as_published else (),
        gated=any(_is_gated(part.source, known) for part in parts),
        weight_bytes=weight_bytes,
        download_bytes=download_bytes,
        parts=() if as_published else parts,
    )


def _split_places(files: Sequence[NimFile]) -> tuple[Part, ...]:
    """The files by the place they come from and the folder they go to.

    Raises:
        LeftOutError: a place is not said, a file shall get another name than it is published under,
            or two shall lie at one path.
    """
    groups: dict[tuple[SourceUri, str], list[tuple[NimFile, str]]] = {}
    for file in files:
        if file.uri is None:
            raise LeftOutError("the place its files come from is not said")
        published = file.uri.file or (file.path if len(files) == 1 else None)
        if published is None:
            raise LeftOutError(f"the address of {file.path} names no file")
        if not f"/{file.path}".endswith(f"/{published}"):
            raise LeftOutError(
                f"{published} has to lie at {file.path}, and nimctl keeps published names"
            )
        folder = file.path.removesuffix(published).rstrip("/")
        groups.setdefault((replace(file.uri, file=None), folder), []).append((file, published))
    if len({file.path for file in files}) < len(files):
        raise LeftOutError("two of its files have to lie at one path")
    return tuple(_make_part(place, folder, found) for (place, folder), found in groups.items())


def _make_part(source: SourceUri, folder: str, files: Sequence[tuple[NimFile, str]]) -> Part:
    """Pins say which files there are only if there is one for each."""
    pins = tuple(
        PinnedFile(path=published, size_bytes=file.size_bytes, digest=file.digest)
        for file, published in files
        if file.digest and file.size_bytes is not None
    )
    names = tuple(escape(published) for _, published in files)
    return Part(
        source=source,
        include=() if len(pins) == len(files) else names,
        files=pins,
        folder=folder,
    )


def _holds_weights(part: Part) -> bool:
    names = (*part.include, *(file.path for file in part.files))
    return any(_matches(name, _WEIGHT_FILES) for name in names)


def _matches(path: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch(path, pattern) for pattern in patterns)


def _is_gated(source: SourceUri, known: Manifest) -> bool:
    """NGC's organisation `nim` wants a key for every model; elsewhere it is as far as known."""
    if source.scheme == "ngc":
        return source.location.startswith("nim/")
    places = {one.artifact.source.location: one.artifact.gated for one in known.profiles}
    return places.get(source.location, known.gated)


def _find_format(files: Sequence[NimFile]) -> WeightFormat:
    if any(is_engine_file(file.path) for file in files):
        return "tensorrt_engine"
    return "gguf" if any(file.path.endswith(".gguf") for file in files) else "safetensors"


def _measure(entry: NimProfile, precision: str, known: Manifest) -> tuple[int, int]:
    """Bytes of the tensors and of the download: said by the sizes, else known by the precision.

    Where neither helps, NIM's own figure of the memory each GPU needs counts as weights whole, so
    that nothing is promised that NIM would refuse.
    """
    sizes = [file.size_bytes for file in entry.files if file.size_bytes is not None]
    whole = sum(sizes) if len(sizes) == len(entry.files) else None
    for profile in known.profiles:
        if _like(profile.precision) == _like(precision):
            artifact = profile.artifact
            return artifact.weight_bytes, whole or artifact.download_bytes
    if whole is not None:
        weights = sum(
            file.size_bytes or 0 for file in entry.files if _matches(file.path, _WEIGHT_FILES)
        )
        return weights or whole, whole
    if entry.min_vram_gb is None:
        raise LeftOutError(f"the bytes of {precision} weights are neither said nor known")
    most = int(entry.min_vram_gb * GIB) * entry.tensor_parallel * entry.pipeline_parallel
    return most, most


def _like(precision: str) -> str:
    return _LIKE.get(precision, precision)
