"""Expands the entries of a manifest file into the values of the core, one profile a combination."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from nimctl.catalog.schema import (
    ArtifactEntry,
    KvEntry,
    LatentEntry,
    ManifestFile,
    ProfileEntry,
    ShapeEntry,
    StateEntry,
)
from nimctl.core.manifest import (
    Artifact,
    CacheLayers,
    KvLayers,
    LatentLayers,
    Manifest,
    Profile,
    Shape,
    StateLayers,
    profile_id,
)
from nimctl.core.names import EngineName, Goal
from nimctl.core.source import PinnedFile


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """One combination of a profile entry's lists; `artifact` is a name."""

    engine: EngineName
    precision: str
    artifact: str
    tensor_parallel: int
    pipeline_parallel: int
    goal: Goal | None
    lora: bool
    gpu: str | None
    gpu_device: str | None


def list_variants(entry: ProfileEntry) -> Iterator[Variant]:
    """Every combination of the lists; without `artifact`, the one named as the precision."""
    for precision, tensor_parallel, pipeline_parallel, goal, lora in product(
        entry.precision,
        entry.tensor_parallel,
        entry.pipeline_parallel,
        entry.goal or (None,),
        entry.lora,
    ):
        yield Variant(
            engine=entry.engine,
            precision=precision,
            artifact=entry.artifact or precision,
            tensor_parallel=tensor_parallel,
            pipeline_parallel=pipeline_parallel,
            goal=goal,
            lora=lora,
            gpu=entry.gpu,
            gpu_device=entry.gpu_device,
        )


def make_manifest(file: ManifestFile, *, origin: str) -> Manifest:
    """The manifest that a faultless file describes."""
    artifacts = {
        name: _make_artifact(name, entry, model_gated=file.gated)
        for name, entry in file.artifacts.items()
    }
    return Manifest(
        model=file.model,
        title=file.title,
        licence=file.licence,
        kind=file.kind,
        gated=file.gated,
        shape=_make_shape(file.shape),
        profiles=tuple(
            _make_profile(file.model, variant, artifacts[variant.artifact])
            for entry in file.profiles
            for variant in list_variants(entry)
        ),
        origin=origin,
    )


def _make_shape(entry: ShapeEntry) -> Shape:
    return Shape(
        architecture=entry.architecture,
        parameters=entry.parameters,
        active_parameters=entry.active_parameters,
        hidden_size=entry.hidden_size,
        feed_forward_size=entry.feed_forward_size,
        expert_size=entry.expert_size,
        attention_heads=entry.attention_heads,
        vocab_size=entry.vocab_size,
        max_context_length=entry.max_context_length,
        kv=tuple(_make_layers(group) for group in entry.kv),
    )


def _make_layers(entry: KvEntry | LatentEntry | StateEntry) -> CacheLayers:
    match entry:
        case KvEntry():
            return KvLayers(**entry.model_dump())
        case LatentEntry():
            return LatentLayers(**entry.model_dump())
        case StateEntry():
            return StateLayers(**entry.model_dump())


def _make_artifact(name: str, entry: ArtifactEntry, *, model_gated: bool) -> Artifact:
    return Artifact(
        name=name,
        source=entry.source,
        format=entry.format,
        include=tuple(entry.include),
        files=tuple(
            PinnedFile(
                path=file.path or entry.source.file or "",
                size_bytes=file.size_bytes,
                digest=file.digest,
            )
            for file in entry.files
        ),
        gated=model_gated if entry.gated is None else entry.gated,
        scale_block=entry.scale_block,
        kv_precision=entry.kv_precision,
        weight_bytes=entry.weight_bytes,
        download_bytes=entry.download_bytes or sum(file.size_bytes for file in entry.files),
    )


def _make_profile(model: str, variant: Variant, artifact: Artifact) -> Profile:
    identity = profile_id(
        model=model,
        engine=variant.engine,
        precision=variant.precision,
        artifact=artifact,
        tensor_parallel=variant.tensor_parallel,
        pipeline_parallel=variant.pipeline_parallel,
        goal=variant.goal,
        lora=variant.lora,
        gpu_device=variant.gpu_device,
    )
    return Profile(
        id=identity,
        engine=variant.engine,
        precision=variant.precision,
        artifact=artifact,
        tensor_parallel=variant.tensor_parallel,
        pipeline_parallel=variant.pipeline_parallel,
        goal=variant.goal,
        lora=variant.lora,
        gpu=variant.gpu,
        gpu_device=variant.gpu_device,
    )
