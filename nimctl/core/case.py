"""One profile before the judge: everything the checks may look at."""

from dataclasses import dataclass

from nimctl.core.engine import EngineTraits, InstalledEngine
from nimctl.core.hardware import Gpu, Hardware
from nimctl.core.manifest import Manifest, Profile
from nimctl.core.placement import Fitting, Place, memory_traits
from nimctl.core.supply import Supply
from nimctl.core.wish import Wish


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One profile before the judge, with everything the checks may look at.

    Attributes:
        place: Where it would go; None where there is no place for it.
        asked_id: Id of the one profile that was asked for; None where any may run.
        usable_gpus: The GPUs the wish allows, as `list_usable_gpus` has them.
        supply: What is known of bringing its files; None where it is not to be judged.
        size: Context length and sequences that fit there; None where nothing does.
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
    size: tuple[int, int] | None = None

    @property
    def needs_gpu(self) -> bool:
        """Whether the engine, as installed here, computes on GPUs only."""
        return "cpu" not in (self.installed.devices if self.installed else self.traits.devices)

    @property
    def fitting(self) -> Fitting | None:
        """The profile on its place; None without a place or where its memory is unknown.

        Where none is asked for, keys and values are kept as the checkpoint declares, as vLLM from
        0.16 and TensorRT-LLM do. An unknown one is judged as the engine's default;
        `check_kv_precision` objects to it.
        """
        place = self.place
        if place is None or place.free_bytes is None or place.total_bytes is None:
            return None
        traits = memory_traits(self.traits, place.device)
        default = traits.kv_precisions[0]
        asked = traits.find_kv_precision(self.wish.kv_precision) or default
        declared = traits.find_kv_precision(self.profile.artifact.kv_precision) or default
        return Fitting(
            manifest=self.manifest,
            profile=self.profile,
            traits=traits,
            kv_precision=declared if asked is default else asked,
            free_bytes=place.free_bytes,
            total_bytes=place.total_bytes,
        )
