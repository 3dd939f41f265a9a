"""From the probe to the page of metrics: how busy the GPUs of a plan are."""

from collections.abc import Callable, Iterable
from dataclasses import asdict

from nimctl.core.hardware import Gpu
from nimctl.probe.gpu_load import read_gpu_loads
from nimctl.server import GpuFigures


def make_gpu_reader(gpus: Iterable[Gpu]) -> Callable[[], tuple[GpuFigures, ...]] | None:
    """Tells of these GPUs whenever it is called; None where there are none to tell of."""
    uuids = frozenset(gpu.uuid for gpu in gpus if gpu.uuid is not None)
    if not uuids:
        return None

    def read() -> tuple[GpuFigures, ...]:
        return tuple(GpuFigures(**asdict(load)) for load in read_gpu_loads(uuids))

    return read
