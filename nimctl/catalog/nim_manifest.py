"""Turns what a NIM manifest says into a `Manifest`, with what nimctl knows of the same model.

A NIM manifest says nothing of the model's shape, licence, or the size of its weights. They come
from the manifest of the same model that nimctl knows; nothing is guessed. A profile that cannot
be described truly is left out and said so.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from nimctl.catalog.nim import NimManifest, NimProfile
from nimctl.catalog.nim_files import LeftOutError, find_artifact, find_checkpoints
from nimctl.catalog.sheet import ManifestSheet, UnjudgedModel
from nimctl.core.gpu_table import GPU_MODELS, find_gpu_model
from nimctl.core.manifest import Artifact, LeftOutProfile, Manifest, Profile
from nimctl.core.names import EngineName, Goal

ENGINES: dict[str, EngineName] = {
    "tensorrt_llm": "tensorrt_llm",
    "trtllm": "tensorrt_llm",
    "vllm": "vllm",
    "sglang": "sglang",
    "llama.cpp": "llama.cpp",
}


def to_manifest(nim: NimManifest, known: Manifest | None) -> ManifestSheet | UnjudgedModel:
    """The profiles nimctl can judge and bring, under NIM's ids; the others in `left_out`.

    Args:
        known: What nimctl knows of the model: its shape, and the bytes of its weights by precision.
    """
    if known is None:
        left_out = tuple(_leave_out(entry, nim, _SHAPELESS) for entry in nim.profiles)
        return UnjudgedModel(
            nim=nim, reason=_SHAPELESS, left_out=left_out, places=find_checkpoints(nim)
        )
    profiles: list[Profile] = []
    skipped: list[LeftOutProfile] = []
    names: dict[Artifact, str] = {}
    for entry in nim.profiles:
        try:
            profile = _make_profile(entry, known)
        except LeftOutError as reason:
            skipped.append(_leave_out(entry, nim, str(reason)))
        else:
            profiles.append(_name_artifact(profile, names))
    if not profiles:
        return UnjudgedModel(
            nim=nim, reason=_summarize(skipped), left_out=tuple(skipped), places=()
        )
    manifest = replace(
        known,
        model=nim.model,
        profiles=tuple(profiles),
        origin=nim.origin,
        left_out=tuple(skipped),
    )
    return ManifestSheet(manifest=manifest, overrides=nim.overrides)


_SHAPELESS = (
    "its attention shape is not known (a NIM manifest does not say it, and no other manifest "
    "describes the model), so memory cannot be predicted"
)


def _summarize(left_out: Sequence[LeftOutProfile]) -> str:
    """Why nothing is left, each reason once."""
    reasons = "; ".join(dict.fromkeys(one.reason for one in left_out))
    return f"none of its {len(left_out)} profiles can be used: {reasons}"


def _leave_out(profile: NimProfile, nim: NimManifest, reason: str) -> LeftOutProfile:
    place = f"{nim.origin}:{profile.line}"
    return LeftOutProfile(
        place=place, id=profile.id, description=profile.description, reason=reason
    )


def _make_profile(entry: NimProfile, known: Manifest) -> Profile:
    if entry.engine is None:
        raise LeftOutError("its tags name no engine")
    engine = ENGINES.get(entry.engine)
    if engine is None:
        raise LeftOutError(f"nimctl has no engine {entry.engine}")
    if entry.precision is None:
        raise LeftOutError("its tags name no precision")
    goal = entry.goal if entry.goal in ("latency", "throughput") else None
    gpu, gpu_device = _find_gpu(entry)
    return Profile(
        id=entry.id,
        engine=engine,
        precision=entry.precision,
        artifact=find_artifact(entry, engine, entry.precision, known),
        tensor_parallel=entry.tensor_parallel,
        pipeline_parallel=entry.pipeline_parallel,
        goal=cast("Goal | None", goal),
        lora=entry.lora,
        gpu=gpu,
        gpu_device=gpu_device,
    )


def _find_gpu(entry: NimProfile) -> tuple[str | None, str | None]:
    """The short name and the PCI id of the GPU it was built for; one may be told by the other.

    Raises:
        LeftOutError: there is only a name, and it may be that of several GPUs.
    """
    if entry.gpu_device:
        model = find_gpu_model(None, entry.gpu_device)
        return entry.gpu or (model.short_name if model else None), entry.gpu_device
    if entry.gpu is None:
        return None, None
    named = (model for model in GPU_MODELS if model.short_name == entry.gpu.upper())
    ids = [device for model in named for device in model.pci_device_ids]
    if len(ids) != 1:
        known = f"there are {' and '.join(ids)}" if ids else "none of that name is known"
        raise LeftOutError(
            f"it was built for {entry.gpu} of which no tag says the PCI id, and {known}"
        )
    return entry.gpu, ids[0]


def _name_artifact(profile: Profile, names: dict[Artifact, str]) -> Profile:
    """One name for one set of files, with a number where another set has the name already."""
    artifact = profile.artifact
    if artifact not in names:
        number = sum(other.name == artifact.name for other in names) + 1
        names[artifact] = artifact.name if number == 1 else f"{artifact.name}-{number}"
    return replace(profile, artifact=replace(artifact, name=names[artifact]))
