"""Where a profile goes on a machine: which GPUs, how long a context, how many sequences."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from nimctl.core.engine import Capability, EngineTraits, InstalledEngine
from nimctl.core.gpu_table import find_gpu_model
from nimctl.core.hardware import Gpu, Hardware, Host
from nimctl.core.manifest import Manifest, Profile
from nimctl.core.memory import Footprint, KvPrecision, Load, MemoryBudget, MemoryTraits
from nimctl.core.plan import Device, Plan
from nimctl.core.wish import Wish

CONTEXT_STEP = 256
"""NIM suggests contexts in multiples of this."""

LEAST_CONTEXT = 4096
"""A shorter context is never chosen unasked; a user may ask for it."""

AMPLE_CONTEXT = 16_384
"""From here on, more context no longer outweighs a better engine or precision."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A device, or a set of like GPUs, that a profile could run on.

    Attributes:
        free_bytes: Free memory of the fullest of them; None where the driver does not say.
        neighbours: How many of the GPUs others use too.
        is_linked: Whether every one of the GPUs reaches every other over NVLink.
    """

    device: Device
    gpus: tuple[Gpu, ...]
    free_bytes: int | None
    total_bytes: int | None
    neighbours: int = 0
    is_linked: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Needs:
    """What of a profile decides where it could go; many profiles are alike in it."""

    precision: str
    gpu_device: str | None
    gpu_count: int


def list_places(
    needs: Needs,
    traits: EngineTraits,
    installed: InstalledEngine | None,
    host: Host,
    usable_gpus: tuple[Gpu, ...],
) -> tuple[Place, ...]:
    """Where a profile could go, the fastest first: each kind of GPU, or else the CPU.

    An engine that is not installed is judged by what it could compute on. GPUs that the profile
    cannot use are listed only where there are no others, so that the checks can say why.
    """
    devices = installed.devices if installed else traits.devices
    if "gpu" in devices:
        since = traits.find_support(needs.precision)
        suited = tuple(gpu for gpu in usable_gpus if _is_suited(gpu, needs, since))
        count = needs.gpu_count
        groups = group_gpus(suited, count) or group_gpus(usable_gpus, count)
        if groups:
            return tuple(_place_on(gpus) for gpus in groups)
    if "cpu" in devices and traits.memory_on_cpu and needs.gpu_count == 1:
        place = Place(
            device="cpu",
            gpus=(),
            free_bytes=host.memory_available_bytes,
            total_bytes=host.memory_limit_bytes or host.memory_total_bytes,
        )
        return (place,)
    return ()


def _place_on(gpus: tuple[Gpu, ...]) -> Place:
    return Place(
        device="gpu",
        gpus=gpus,
        free_bytes=_least(gpu.memory_free_bytes for gpu in gpus),
        total_bytes=_least(gpu.memory_total_bytes for gpu in gpus),
        neighbours=sum(_is_shared(gpu) for gpu in gpus),
        is_linked=_are_linked(gpus),
    )


def list_usable_gpus(hardware: Hardware, wish: Wish) -> tuple[Gpu, ...]:
    """The GPUs the wish allows; one that MIG splits stands as its slices."""
    parts = tuple(part for gpu in hardware.gpus for part in _split(gpu))
    if wish.gpus is None:
        return parts
    named = {part for name in wish.gpus for one in find_gpus(hardware, name) for part in one}
    return tuple(part for part in parts if part in named)


def find_gpus(hardware: Hardware, name: int | str) -> tuple[tuple[Gpu, ...], ...]:
    """What a name means: GPUs, each as its slices where MIG splits it, or single slices.

    Args:
        name: The driver's number, or how the UUID of a GPU or a slice begins, as CUDA reads it.
    """
    found: list[tuple[Gpu, ...]] = []
    for gpu in hardware.gpus:
        parts = _split(gpu)
        if name == gpu.index or (isinstance(name, str) and _begins(gpu, name)):
            found.append(parts)
        elif isinstance(name, str):
            found += [(part,) for part in parts if _begins(part, name)]
    return tuple(found)


def _begins(gpu: Gpu, name: str) -> bool:
    return (gpu.uuid or "").lower().startswith(name.lower())


def _split(gpu: Gpu) -> tuple[Gpu, ...]:
    if not gpu.mig_enabled:
        return (gpu,)
    return tuple(
        Gpu(
            index=gpu.index,
            name=part.name,
            uuid=part.uuid,
            compute_capability=gpu.compute_capability,
            memory_total_bytes=part.memory_total_bytes,
            memory_free_bytes=part.memory_free_bytes,
            mig_enabled=True,
        )
        for part in gpu.mig_slices
    )


def _is_suited(gpu: Gpu, needs: Needs, since: Capability | None) -> bool:
    new_enough = since is None or (gpu.compute_capability or (0, 0)) >= since
    return new_enough and needs.gpu_device in (None, gpu.pci_device_id)


def group_gpus(gpus: tuple[Gpu, ...], count: int) -> tuple[tuple[Gpu, ...], ...]:
    """For each kind of GPU the `count` with the most free memory, the fastest kind first.

    Kinds are as fast as their memory, since that bounds generation; unknown ones come last, by
    free memory. Slices of MIG cannot work together, so they serve only where one is enough.
    """
    candidates = gpus if count == 1 else tuple(gpu for gpu in gpus if not gpu.mig_enabled)
    names = dict.fromkeys(gpu.name for gpu in candidates)
    groups = [_with_most_free(candidates, name, count) for name in names]
    full = [tuple(sorted(group, key=lambda g: g.index)) for group in groups if len(group) == count]
    return tuple(sorted(full, key=_speed_order))


def _speed_order(group: tuple[Gpu, ...]) -> tuple[int, int]:
    known = find_gpu_model(group[0].name, group[0].pci_device_id)
    bandwidth = (known.bandwidth_bytes_s if known else None) or 0
    return -int(bandwidth), -min(gpu.memory_free_bytes or 0 for gpu in group)


def _is_shared(gpu: Gpu) -> bool:
    """Whether others use the GPU: they hold memory, or kernels of theirs run."""
    if gpu.memory_used_bytes is None or not gpu.memory_total_bytes:
        return False
    held = gpu.memory_used_bytes - (gpu.memory_reserved_bytes or 0)
    busy = (gpu.utilization_percent or 0) > _BUSY_PERCENT
    return busy or held > gpu.memory_total_bytes * _BUSY_PERCENT / 100


_BUSY_PERCENT = 5  # NIM's threshold for a GPU that is not free


def _are_linked(gpus: tuple[Gpu, ...]) -> bool:
    indices = {gpu.index for gpu in gpus}
    return all(indices <= {gpu.index, *(gpu.nvlink_peers or ())} for gpu in gpus)


def _with_most_free(gpus: tuple[Gpu, ...], name: str | None, count: int) -> tuple[Gpu, ...]:
    alike = [gpu for gpu in gpus if gpu.name == name]
    return tuple(sorted(alike, key=lambda gpu: -(gpu.memory_free_bytes or 0))[:count])


def _least(values: Iterator[int | None]) -> int | None:
    known = list(values)
    return None if None in known else min(value for value in known if value is not None)


def allow_share(traits: EngineTraits, share: float | None) -> EngineTraits:
    """The traits of an engine that may take another share of a GPU's memory than its own."""
    return traits if share is None else replace(traits, memory=replace(traits.memory, share=share))


def memory_traits(traits: EngineTraits, device: Device) -> MemoryTraits:
    """The memory rule of an engine on a device.

    Raises:
        ValueError: the engine does not run on a CPU.
    """
    if device == "gpu":
        return traits.memory
    if traits.memory_on_cpu is None:
        raise ValueError(f"{traits.name} does not run on a CPU")
    return traits.memory_on_cpu


def count_default_context(manifest: Manifest, traits: EngineTraits) -> int:
    """The context a profile is given unasked where memory allows, in tokens."""
    longest = manifest.shape.max_context_length
    return min(longest, traits.default_context_length or longest)


@dataclass(frozen=True, kw_only=True, slots=True)
class Fitting:
    """One profile on one place, ready to be measured at different contexts and concurrencies."""

    manifest: Manifest
    profile: Profile
    kv_precision: KvPrecision
    footprint: Footprint

    def budget(self, context_length: int, sequences: int) -> MemoryBudget:
        """The memory each device needs."""
        return self.footprint.make_budget(self._load(context_length, sequences))

    def count_room(self, context_length: int, sequences: int) -> int:
        """Bytes each device has left beside what the engine wants free; negative: missing."""
        footprint = self.footprint
        return footprint.free_bytes - footprint.count_total(self._load(context_length, sequences))

    def _load(self, context_length: int, sequences: int) -> Load:
        return Load(
            context_length=context_length,
            sequences=sequences,
            kv_element_bytes=self.kv_precision.element_bytes,
        )

    def fits(self, context_length: int, sequences: int) -> bool:
        """Whether each device has that much free."""
        return self.count_room(context_length, sequences) >= 0

    def longest_context(self, limit: int, sequences: int) -> int:
        """The longest context that fits, in steps of `CONTEXT_STEP` up to `limit`; 0 if none."""
        steps = limit // CONTEXT_STEP
        most = find_most(steps, lambda n: self.count_room(n * CONTEXT_STEP, sequences))
        if most == steps and self.fits(limit, sequences):
            return limit
        return most * CONTEXT_STEP

    def most_sequences(self, context_length: int, limit: int) -> int:
        """The most sequences of that length that fit, up to `limit`; 0 if not even one does."""
        return find_most(limit, lambda n: self.count_room(context_length, n))


def find_most(limit: int, count_room: Callable[[int], int]) -> int:
    """The largest number from 1 to `limit` that leaves room, or 0; more must never leave more.

    Room falls in nearly a straight line: the search looks where the line crosses nothing, and at
    every third step halves what is left, for the bends.
    """
    if limit < 1 or (low_room := count_room(1)) < 0:
        return 0
    if (high_room := count_room(limit)) >= 0:
        return limit
    low, high = 1, limit
    for step in itertools.count():
        if high - low == 1:
            break
        crossing = low + (high - low) * low_room // (low_room - high_room)
        number = (low + high) // 2 if step % 3 == 2 else min(max(crossing, low + 1), high - 1)
        room = count_room(number)
        if room >= 0:
            low, low_room = number, room
        else:
            high, high_room = number, room
    return low


def choose_size(fitting: Fitting, traits: EngineTraits, wish: Wish) -> tuple[int, int] | None:
    """The context length and the number of sequences to run with; None where nothing fits.

    What the user fixed stays as it is. What is left free gives way to memory in this order:
    fewer sequences, then a shorter context, never under `LEAST_CONTEXT`.
    """
    longest = count_default_context(fitting.manifest, traits)
    context = wish.context_length or longest
    unasked = tuple(dict.fromkeys((traits.default_sequences, 1)))
    wanted = (wish.concurrency,) if wish.concurrency else unasked
    for sequences in wanted:
        if fitting.fits(context, sequences):
            return context, sequences
    if wish.context_length:
        return None
    sequences = wanted[-1]
    shorter = fitting.longest_context(longest, sequences)
    return (shorter, sequences) if shorter >= min(LEAST_CONTEXT, longest) else None


def make_plan(
    fitting: Fitting,
    place: Place,
    hardware: Hardware,
    *,
    context_length: int,
    sequences: int,
    kv_precision: str | None,
    memory_share: float | None,
) -> Plan:
    """The plan of a profile at its place."""
    return Plan(
        model=fitting.manifest.model,
        architecture=fitting.manifest.shape.architecture,
        profile=fitting.profile,
        device=place.device,
        gpus=place.gpus,
        context_length=context_length,
        sequences=sequences,
        kv_precision=kv_precision,
        budget=fitting.budget(context_length, sequences),
        free_bytes=fitting.footprint.free_bytes,
        total_bytes=fitting.footprint.total_bytes,
        threads=count_threads(hardware),
        memory_share=memory_share if place.device == "gpu" else None,
    )


def count_threads(hardware: Hardware) -> int:
    """Threads to compute with on the CPU: the physical cores that this process may use."""
    host = hardware.host
    known = [n for n in (host.physical_cores, host.usable_cpus) if n]
    return min(known, default=1)
