"""The shipped manifests as they were parsed once, so that reading them needs no YAML and no checks.

    python -m nimctl.catalog.compiled

writes `shipped.json` beside this module. A manifest is found in it by the hash of its file: one
that was edited since is parsed like any other, and a test tells that the file is to be written
again. The whole catalogue is read in a third of the time this way, and one model without YAML.
"""

import json
from dataclasses import asdict, fields
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from nimctl.catalog.folders import list_manifest_files, shipped_manifest_dir
from nimctl.catalog.sheet import ManifestSheet
from nimctl.core.manifest import (
    Artifact,
    CacheLayers,
    KvLayers,
    LatentLayers,
    Manifest,
    Profile,
    Shape,
    StateLayers,
)
from nimctl.core.source import Digest, PinnedFile, SourceUri

COMPILED_FILE = Path(__file__).with_name("shipped.json")
SCHEMA = "nimctl-compiled/1"

_LAYERS: dict[str, type[CacheLayers]] = {
    kind.__name__: kind for kind in (KvLayers, LatentLayers, StateLayers)
}
_PROFILE_FIELDS = tuple(one.name for one in fields(Profile) if one.name != "artifact")


def find_compiled(content: bytes, *, origin: str, model: str) -> ManifestSheet | None:
    """The sheet of a file with that content; None where it is not of the shipped ones.

    Args:
        origin: The file, as the manifest names it.
        model: The model that the file's place stands for.
    """
    document = _read_compiled().get(sha256(content).hexdigest())
    if document is None or document["model"] != model:
        return None
    artifacts = {one["name"]: _read_artifact(one) for one in document["artifacts"]}
    shape = document["shape"]
    layers = (_LAYERS[kind](**group) for kind, group in shape["kv"])
    return ManifestSheet(
        manifest=Manifest(
            model=model,
            title=document["title"],
            licence=document["licence"],
            kind=document["kind"],
            gated=document["gated"],
            shape=Shape(**{**shape, "kv": tuple(layers)}),
            profiles=tuple(
                Profile(artifact=artifacts[name], **dict(zip(_PROFILE_FIELDS, values, strict=True)))
                for name, *values in document["profiles"]
            ),
            origin=origin,
        ),
        aliases=tuple(document["aliases"]),
    )


@lru_cache(maxsize=1)
def _read_compiled() -> dict[str, dict[str, Any]]:
    try:
        document = json.loads(COMPILED_FILE.read_bytes())
    except FileNotFoundError:  # it was not written yet
        return {}
    manifests: dict[str, dict[str, Any]] = document["manifests"]
    return manifests if document["schema"] == SCHEMA else {}


def _read_artifact(document: dict[str, Any]) -> Artifact:
    return Artifact(
        **{
            **document,
            "source": SourceUri(**document["source"]),
            "include": tuple(document["include"]),
            "files": tuple(
                PinnedFile(
                    path=path, size_bytes=size_bytes, digest=Digest(algorithm=algorithm, hex=digits)
                )
                for path, size_bytes, algorithm, digits in document["files"]
            ),
        }
    )


def compile_manifest(content: bytes, *, model: str) -> dict[str, Any]:
    """What `shipped.json` holds of one file, in JSON's types.

    Raises:
        ManifestError: the file has faults.
    """
    from nimctl.catalog.parse import parse_manifest

    sheet = parse_manifest(content, origin="", model=model)
    if not isinstance(sheet, ManifestSheet) or sheet.overrides or sheet.manifest.left_out:
        raise ValueError(f"{model} is no manifest of nimctl's own")
    manifest = sheet.manifest
    artifacts = {profile.artifact.name: profile.artifact for profile in manifest.profiles}
    return {
        "model": model,
        "title": manifest.title,
        "licence": manifest.licence,
        "kind": manifest.kind,
        "gated": manifest.gated,
        "aliases": list(sheet.aliases),
        "shape": asdict(manifest.shape)
        | {"kv": [[type(group).__name__, asdict(group)] for group in manifest.shape.kv]},
        "artifacts": [_compile_artifact(one) for one in artifacts.values()],
        "profiles": [
            [one.artifact.name, *(getattr(one, name) for name in _PROFILE_FIELDS)]
            for one in manifest.profiles
        ],
    }


def _compile_artifact(artifact: Artifact) -> dict[str, Any]:
    if artifact.parts:
        raise ValueError(f"{artifact.name} has parts, which only NIM's manifests have")
    document = asdict(artifact)
    del document["parts"]
    document["files"] = [
        [file.path, file.size_bytes, file.digest.algorithm, file.digest.hex]
        for file in artifact.files
    ]
    return document


def main() -> None:
    """Write the compiled form of the shipped manifests."""
    lines = []
    for model, (path, *_) in sorted(list_manifest_files([shipped_manifest_dir()]).items()):
        content = path.read_bytes()
        document = json.dumps(compile_manifest(content, model=model), separators=(",", ":"))
        lines.append(f'"{sha256(content).hexdigest()}":{document}')
    text = ",\n".join(lines)
    COMPILED_FILE.write_text(f'{{"schema":"{SCHEMA}","manifests":{{\n{text}\n}}}}\n')


if __name__ == "__main__":
    main()
