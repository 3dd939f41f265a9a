"""What is found of one weight format in a listing: a shape, and weights that engines can load."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from glob import escape
from itertools import product

from nimctl.core.manifest import Artifact, ModelKind, Profile, Shape, WeightFormat, profile_id
from nimctl.core.names import EngineName, Goal
from nimctl.core.source import Listing, PinnedFile, RemoteFile

OWN_MANIFEST_HINT = (
    "describe the model in a manifest of your own and name its folder with --manifest-dir"
)

OTHER_SHAPE_HINT = (
    "nimctl would still try a conversion to GGUF, which says its shape itself "
    f"(`nimctl list-profiles hf://ORG/NAME-GGUF`); or {OWN_MANIFEST_HINT}"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Offer:
    """Weights an engine can load, and the ways in which it can run them: every combination."""

    engine: EngineName
    precision: str
    artifact: Artifact
    widths: tuple[int, ...] = (1,)
    goals: tuple[Goal | None, ...] = (None,)
    adapters: tuple[bool, ...] = (False,)


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """All of one format.

    Attributes:
        notes: What was left out, and why, one sentence each.
    """

    shape: Shape
    kind: ModelKind
    offers: tuple[Offer, ...]
    notes: tuple[str, ...] = ()


def make_artifact(
    listing: Listing,
    *,
    name: str,
    weight_format: WeightFormat,
    weights: tuple[RemoteFile, ...],
    companions: tuple[RemoteFile, ...] = (),
    file: str | None = None,
    scale_block: int | None = None,
    kv_precision: str | None = None,
    weight_bytes: int,
) -> Artifact:
    """Weights and what belongs to them, at the listing's revision.

    Weights are pinned by the digests of the listing. The small files are left to the fixed
    revision, for only large ones have the same kind of digest in every listing and every cache.

    Args:
        file: What an engine opens, where that is a file. On this machine it is enough, as its
            other parts lie beside it.
    """
    is_here = listing.uri.scheme == "file"
    files = (*companions, *weights)
    return Artifact(
        name=name,
        source=replace(
            listing.uri,
            revision=None if is_here else listing.revision,
            file=file if is_here or len(files) == 1 else None,
        ),
        format=weight_format,
        include=tuple(escape(one.path) for one in files) if len(files) > 1 else (),
        files=tuple(_pin(weights)),
        scale_block=scale_block,
        kv_precision=kv_precision,
        weight_bytes=weight_bytes,
        download_bytes=sum(one.size_bytes or 0 for one in files),
    )


def _pin(files: Iterable[RemoteFile]) -> Iterator[PinnedFile]:
    for file in files:
        if file.digest and file.digest.algorithm == "sha256" and file.size_bytes is not None:
            yield PinnedFile(path=file.path, size_bytes=file.size_bytes, digest=file.digest)


def list_profiles(model: str, offer: Offer) -> Iterator[Profile]:
    """Every combination of an offer as a profile."""
    for width, goal, lora in product(offer.widths, offer.goals, offer.adapters):
        identity = profile_id(
            model=model,
            engine=offer.engine,
            precision=offer.precision,
            artifact=offer.artifact,
            tensor_parallel=width,
            pipeline_parallel=1,
            goal=goal,
            lora=lora,
            gpu_device=None,
        )
        yield Profile(
            id=identity,
            engine=offer.engine,
            precision=offer.precision,
            artifact=offer.artifact,
            tensor_parallel=width,
            goal=goal,
            lora=lora,
        )
