"""How busy GPUs are at this moment, for the metrics of a model that is served on them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from nimctl.probe.nvml import MEMORY_QUERIES, answer_of, read_loads


@dataclass(frozen=True, kw_only=True, slots=True)
class GpuLoad:
    """One GPU now; None is what the driver does not tell.

    Attributes:
        index: The driver's index.
        utilization: Share of the last sample period with a kernel running, 0 to 1.
        power_w: Watts.
        energy_j: Joules since the driver was loaded.
    """

    index: int
    utilization: float | None
    memory_used_bytes: int | None
    memory_total_bytes: int | None
    power_w: float | None
    energy_j: float | None


def read_gpu_loads(uuids: Iterable[str]) -> tuple[GpuLoad, ...]:
    """The load of these GPUs; takes some milliseconds, and starts no CUDA."""
    wanted = set(uuids)
    return tuple(
        _parse(index, answers)
        for index, answers in enumerate(read_loads())
        if answer_of(answers, "nvmlDeviceGetUUID") in wanted
    )


def _parse(index: int, answers: Mapping[str, Any]) -> GpuLoad:
    rates = answer_of(answers, "nvmlDeviceGetUtilizationRates")
    told = (answer_of(answers, query) for query in MEMORY_QUERIES)
    memory: Mapping[str, int] = next(filter(None, told), {})
    return GpuLoad(
        index=index,
        utilization=None if rates is None else rates["gpu"] / 100,
        memory_used_bytes=memory.get("used"),
        memory_total_bytes=memory.get("total"),
        power_w=_thousandth(answer_of(answers, "nvmlDeviceGetPowerUsage")),
        energy_j=_thousandth(answer_of(answers, "nvmlDeviceGetTotalEnergyConsumption")),
    )


def _thousandth(value: int | None) -> float | None:
    """NVML tells milliwatts and millijoules."""
    return None if value is None else value / 1000
