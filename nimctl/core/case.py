"""One profile before the judge: everything the checks may look at."""

from dataclasses import dataclass
from functools import cached_property

from nimctl.core.engine import EngineTraits, InstalledEngine
from nimctl.core.hardware import Gpu, Hardware
from nimctl.core.manifest import Manifest, Profile
from nimctl.core.memory import Split, make_footprint
from nimctl.core.placement import Fitting, Place, choose_size, memory_traits
from nimctl.core.supply import Supply
from nimctl.core.wish import Wish

_FP8_SINCE = (8, 9)
"""The oldest compute capability whose attention kernels read 8-bit floating point."""


@dataclass(frozen=True, kw_only=True)  # without slots, as it keeps what it worked out
class Case:
    """One profile before the judge, with everything the checks may look at.

    Attributes:
        place: Where it would go; None where there is no place for it.
        asked_id: Id of the one profile that was asked for; None where any may run.
        usable_gpus: The GPUs the wish allows, as `list_usable_gpus` has them.
        supply: What is known of bringing its files; None where it is not to be judged.
    """

    manifest: Manifest
    profile: Profile
    traits: EngineTraits
    installed: InstalledEngine | None
    hardware: Hardware
    asked_id: str | None
    usable_gpus: tuple[Gpu, ...]
    wish: Wish
    supply: Supply | None = None
    place: Place | None = None

    @property
    def needs_gpu(self) -> bool:
        """Whether the engine, as installed here, computes on GPUs only."""
        return "cpu" not in (self.installed.devices if self.installed else self.traits.devices)

    @cached_property
    def kv_precision(self) -> str | None:
        """What keys and values are kept in: what was asked, else what the checkpoint declares.

        None is the engine's default. Older vLLM does not follow a declaration and newer does even
        where the GPU cannot, so both are told. `check_kv_precision` objects to an unknown one,
        which is judged as the default.
        """
        asked, declared = self.wish.kv_precision, self.profile.artifact.kv_precision
        if asked not in (None, "auto") or declared is None or self.place is None:
            return asked
        traits = memory_traits(self.traits, self.place.device)
        if traits.find_kv_precision(declared) is None:
            return asked
        capabilities = [gpu.compute_capability or (0, 0) for gpu in self.place.gpus]
        if declared == "fp8" and min(capabilities, default=(0, 0)) < _FP8_SINCE:
            return "bfloat16" if traits.find_kv_precision("bfloat16") else asked
        return declared

    @cached_property
    def fitting(self) -> Fitting | None:
        """The profile on its place; None without a place or where its memory is unknown."""
        place = self.place
        if place is None or place.free_bytes is None or place.total_bytes is None:
            return None
        traits = memory_traits(self.traits, place.device)
        profile, shape = self.profile, self.manifest.shape
        footprint = make_footprint(
            shape,
            traits,
            weight_bytes=profile.artifact.weight_bytes,
            split=Split(
                tensor_parallel=profile.tensor_parallel,
                pipeline_parallel=profile.pipeline_parallel,
                lora=profile.lora,
            ),
            free_bytes=place.free_bytes,
            total_bytes=place.total_bytes,
        )
        return Fitting(
            manifest=self.manifest,
            profile=profile,
            kv_precision=traits.find_kv_precision(self.kv_precision) or traits.kv_precisions[0],
            footprint=footprint,
        )

    @cached_property
    def size(self) -> tuple[int, int] | None:
        """Context length and sequences that fit there; None where nothing does."""
        return choose_size(self.fitting, self.traits, self.wish) if self.fitting else None
