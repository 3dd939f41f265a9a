"""Reads the model folders of Ollama and LM Studio, and plain folders of weights."""

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

from nimctl.cache.foreign import ForeignFile, ForeignModel, list_folders, list_names, locate
from nimctl.cache.safety import SafetyPolicy, describe_left_out, sort_out
from nimctl.core.source import Digest, SourceSyntaxError, SourceUri, parse_digest

_MOST_MANIFEST_BYTES = 4 * 1024**2
_NAMES_OF_LAYERS = {
    "application/vnd.ollama.image.model": "{name}.gguf",
    "application/vnd.ollama.image.projector": "mmproj-{name}.gguf",
    "application/vnd.ollama.image.license": "LICENSE",
}
"""What is taken of an Ollama model, under which name; the others are its prompts and settings."""


def find_ollama_models(models: Path) -> Iterator[ForeignModel]:
    """Every GGUF model of Ollama, whose folder of models is `models`."""
    manifests = models / "manifests"
    for name in list_names(manifests) if manifests.is_dir() else []:
        layers = _read_layers(manifests / name)
        files = tuple(_take_layers(models, _short_name(name), layers))
        if any(file.path.endswith(".gguf") for file in files):
            yield ForeignModel(
                tool="Ollama",
                uri=SourceUri(scheme="file", location=str(manifests / name)),
                revision=_revision_of(files),
                files=files,
                is_whole=True,
            )


def find_lm_studio_models(models: Path) -> Iterator[ForeignModel]:
    """Every folder `publisher/repository` of GGUF files, as LM Studio keeps them."""
    for publisher in list_folders(models):
        for repository in list_folders(publisher):
            yield from _read_folder("LM Studio", repository, only=".gguf")


def find_folder_models(folder: Path) -> Iterator[ForeignModel]:
    """The files of one folder, as one model."""
    yield from _read_folder("folder", folder, only="")


def _read_folder(tool: str, folder: Path, *, only: str) -> Iterator[ForeignModel]:
    files = {
        name: ForeignFile(path=name, location=found[0], size_bytes=found[1], digest=None)
        for name in list_names(folder)
        if name.lower().endswith(only) and (found := locate(folder / name, folder))
    }
    chosen = sort_out(files, SafetyPolicy())
    kept = tuple(files[name] for name in chosen.kept)
    note = describe_left_out(chosen)
    if kept:
        yield ForeignModel(
            tool=tool,
            uri=SourceUri(scheme="file", location=str(folder)),
            revision=_revision_of(kept),
            files=kept,
            is_whole=True,
            notes=(note,) if note else (),
        )


def _revision_of(files: tuple[ForeignFile, ...]) -> str:
    """Tells these files from others that once lie there, 16 hex digits."""
    facts = "\n".join(f"{one.path}\0{one.size_bytes}\0{_stamp(one)}" for one in files)
    return sha256(facts.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _stamp(file: ForeignFile) -> str:
    return str(file.digest) if file.digest else str(file.location.stat().st_mtime_ns)


def _short_name(manifest: str) -> str:
    """`llama3-8b` of `registry.ollama.ai/library/llama3/8b`."""
    return "-".join(manifest.split("/")[-2:])


def _read_layers(manifest: Path) -> list[dict[str, Any]]:
    try:
        if manifest.stat().st_size > _MOST_MANIFEST_BYTES:
            return []
        layers = json.loads(manifest.read_text("utf-8"))["layers"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [layer for layer in layers if isinstance(layer, dict)]


def _take_layers(models: Path, name: str, layers: list[dict[str, Any]]) -> Iterator[ForeignFile]:
    taken: set[str] = set()
    for layer in layers:
        form = _NAMES_OF_LAYERS.get(str(layer.get("mediaType")))
        digest = _parse_layer_digest(layer)
        if form is None or digest is None:
            continue
        path = form.format(name=name)
        found = locate(models / "blobs" / f"sha256-{digest.hex}", models)
        if found is not None and path not in taken:
            taken.add(path)
            yield ForeignFile(path=path, location=found[0], size_bytes=found[1], digest=digest)


def _parse_layer_digest(layer: dict[str, Any]) -> Digest | None:
    try:
        digest = parse_digest(str(layer.get("digest")))
    except SourceSyntaxError:
        return None
    return digest if digest.algorithm == "sha256" else None
