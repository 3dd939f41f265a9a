"""Writes a `Manifest` as a NIM manifest of schema v2, which NIM's readers and nimctl read."""

from dataclasses import replace
from typing import Any

import yaml

from nimctl.core.manifest import Artifact, Manifest, Profile
from nimctl.core.source import PinnedFile, SourceUri

_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_WILDCARDS = frozenset("*?[")


def write_nim_v2(manifest: Manifest, *, extras: bool = True) -> str:
    """The YAML text of a manifest in NIM's schema v2.

    Ids are kept and tags are text, as NIM writes them. A profile whose files are known only by
    patterns has no workspace, for a part of its files would read as all of them.

    Args:
        extras: Whether to add the keys that are nimctl's own: `model` at the top, and `size` and
            `sha256` (or `checksum`) of files that are pinned. Without them a file's content is not
            fixed, and the model's name is what the files' addresses say.
    """
    document: dict[str, Any] = {"schema_version": "2.0.0", "profile_selection_criteria": "default"}
    if extras:
        document["model"] = manifest.model
    document["profiles"] = [_describe(profile, extras=extras) for profile in manifest.profiles]
    text: str = yaml.dump(
        document, Dumper=_DUMPER, sort_keys=False, allow_unicode=True, width=2**16
    )
    return text


def _describe(profile: Profile, *, extras: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {"id": profile.id, "tags": _list_tags(profile)}
    files = _list_files(profile.artifact, extras=extras)
    if files:
        entry["workspace"] = {"files": files}
    return entry


def _list_tags(profile: Profile) -> dict[str, str]:
    tags = {
        "feat_lora": str(profile.lora).lower(),
        "gpu": profile.gpu,
        "gpu_device": profile.gpu_device,
        "llm_engine": profile.engine,
        "pp": str(profile.pipeline_parallel),
        "precision": profile.precision,
        "profile": profile.goal,
        "tp": str(profile.tensor_parallel),
    }
    return {name: value for name, value in tags.items() if value is not None}


def _list_files(artifact: Artifact, *, extras: bool) -> dict[str, dict[str, Any]]:
    """The entries by path; empty where not all paths are known."""
    entries: dict[str, dict[str, Any]] = {}
    for part in artifact.places:
        pins = {file.path: file for file in part.files}
        paths = [*part.include] or [*pins] or [part.source.file or "*"]
        if any(_WILDCARDS & set(path) for path in paths):
            return {}
        for path in paths:
            own = _list_extras(pins[path]) if extras and path in pins else {}
            name = f"{part.folder}/{path}" if part.folder else path
            entries[name] = {"uri": _address(part.source, path)} | own
    return entries


def _address(source: SourceUri, path: str) -> str:
    """The address of one file; a web address is that of the file already."""
    return str(source if source.scheme in ("https", "http") else replace(source, file=path))


def _list_extras(file: PinnedFile) -> dict[str, Any]:
    sha256 = file.digest.algorithm == "sha256"
    digest = {"sha256": file.digest.hex} if sha256 else {"checksum": str(file.digest)}
    return {"size": file.size_bytes, **digest}
