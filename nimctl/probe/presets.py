"""Machines by name, for asking what would run on them: `h100x8`, `rtx4090`, `gb10`.

A preset is an idle machine: cards of the GPU table in the host they usually come in. What the
table does not know is assumed, and the machine's notes say so.
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from nimctl.core.gpu_table import GPU_MODELS, Board, GpuModel
from nimctl.core.hardware import Gpu, Hardware, Host, Origin
from nimctl.core.units import GIB, MIB, format_bytes
from nimctl.errors import InputError

MOST_GPUS = 16
"""The largest number of GPUs one machine is built with."""

DRIVER = ("580.95.05", (13, 0))
"""NVIDIA driver and the CUDA version it supports: the newest branch that all these GPUs run."""

ORIN_DRIVER = ("540.4.0", (12, 6))
"""Jetson Linux 36 has a driver of its own."""

RESERVED_BYTES = 768 * MIB
"""What driver and firmware keep of each GPU; published machines show 340 (L4) to 717 MiB (B200)."""

_FREE_SHARE = 0.95  # of the RAM of an idle machine
_X86_FEATURES = ("sse4_2", "avx", "avx2", "fma", "f16c")
_ARM_FEATURES = ("neon", "fp16", "dotprod")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Surroundings:
    """The host a GPU usually sits in: what there is for each GPU, and at least."""

    architecture: str
    cores_per_gpu: int
    least_cores: int
    memory_per_gpu_bytes: int
    least_memory_bytes: int


_SURROUNDINGS: Mapping[Board, _Surroundings] = {
    "server": _Surroundings(
        architecture="x86_64",
        cores_per_gpu=12,
        least_cores=16,
        memory_per_gpu_bytes=192 * GIB,
        least_memory_bytes=192 * GIB,
    ),
    "grace": _Surroundings(
        architecture="aarch64",
        cores_per_gpu=36,
        least_cores=72,
        memory_per_gpu_bytes=240 * GIB,
        least_memory_bytes=480 * GIB,
    ),
    "workstation": _Surroundings(
        architecture="x86_64",
        cores_per_gpu=8,
        least_cores=16,
        memory_per_gpu_bytes=96 * GIB,
        least_memory_bytes=128 * GIB,
    ),
    "desktop": _Surroundings(
        architecture="x86_64",
        cores_per_gpu=8,
        least_cores=8,
        memory_per_gpu_bytes=32 * GIB,
        least_memory_bytes=32 * GIB,
    ),
    "module": _Surroundings(
        architecture="aarch64",
        cores_per_gpu=12,
        least_cores=12,
        memory_per_gpu_bytes=0,
        least_memory_bytes=120 * GIB,
    ),
}
# Cores of the modules by their datasheets; RAM that Linux sees, as published outputs show it.
_MODULES = {"ORIN": (12, 61 * GIB), "THOR": (14, 122 * GIB), "GB10": (20, 119 * GIB)}

_ASSUMED = ("host", "gpus[*].memory_free_bytes", "gpus[*].memory_reserved_bytes")
_ORIGINS = (
    *(Origin(fact=one, source="assumed") for one in (*_ASSUMED, "driver_version", "cuda_version")),
    Origin(fact="gpus", source="nimctl's table of GPUs"),
)

# Other names people give to cards, squeezed -> short name.
_ALIASES = {
    "a10080gb": "A100",
    "a100sxm480gb": "A100",
    "a10040gb": "A100_SXM4_40GB",
    "h100sxm": "H100",
    "h200sxm": "H200",
    "b200sxm": "B200",
    "b300sxm": "B300",
    "a6000": "RTX_A6000",
    "dgxspark": "GB10",
    "jetsonagxorin": "ORIN",
    "jetsonagxthor": "THOR",
}


def list_presets() -> tuple[str, ...]:
    """The names of all presets of one GPU; `x2`, `x8`, ... after one asks for several."""
    return tuple(_preset_name(model) for model in GPU_MODELS)


def find_preset(name: str) -> Hardware:
    """The machine a preset names; letter case, `-`, `_` and blanks make no difference.

    Raises:
        InputError: no such preset, or a number of GPUs that no machine has.
    """
    model, count = _parse_name(name)
    if not 1 <= count <= MOST_GPUS or (model.unified_memory and count > 1):
        most = 1 if model.unified_memory else MOST_GPUS
        raise InputError(f"{name!r} asks for {count} GPUs; a machine of these has 1 to {most}")
    host = _make_host(model, count)
    gpus = tuple(_make_gpu(model, index, count, host) for index in range(count))
    driver, cuda = ORIN_DRIVER if model.short_name == "ORIN" else DRIVER
    return Hardware(
        host=host,
        gpus=gpus,
        driver_version=driver,
        cuda_version=cuda,
        notes=tuple(_notes(model, host, gpus, driver)),
        origins=_ORIGINS,
    )


def _preset_name(model: GpuModel) -> str:
    return model.short_name.lower().replace("_", "-")


def _parse_name(name: str) -> tuple[GpuModel, int]:
    """The model and how many; `rtx4090` is one card although it ends like `h100x8`."""
    models = {_squeeze(model.short_name): model for model in GPU_MODELS}
    models |= {_squeeze(model.name): model for model in GPU_MODELS}
    models |= {alias: models[_squeeze(short_name)] for alias, short_name in _ALIASES.items()}
    wanted = _squeeze(name)
    readings = [(wanted, 1)]
    if several := re.fullmatch(r"(.+)x(\d+)", wanted):
        readings.append((several[1], int(several[2])))
    if several := re.fullmatch(r"(\d+)x(.+)", wanted):
        readings.append((several[2], int(several[1])))
    for kind, count in readings:
        if kind in models:
            return models[kind], count
    known = {_squeeze(one): one for one in list_presets()}
    near = [one for kind, _ in readings for one in difflib.get_close_matches(kind, known)]
    examples = [known[one] for one in dict.fromkeys(near)] or ["h100", "rtx4090", "gb10"]
    raise InputError(
        f"there is no machine {name!r}",
        hint=f"near it: {', '.join(examples)}; x2, x8, ... after a name asks for several GPUs",
    )


def _squeeze(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _make_host(model: GpuModel, count: int) -> Host:
    around = _SURROUNDINGS[model.board]
    cores = max(around.least_cores, count * around.cores_per_gpu)
    memory = max(around.least_memory_bytes, count * around.memory_per_gpu_bytes)
    cores, memory = _MODULES.get(model.short_name, (cores, memory))
    return Host(
        system="Linux",
        architecture=around.architecture,
        physical_cores=cores,
        logical_cpus=cores,
        usable_cpus=cores,
        cpu_features=_X86_FEATURES if around.architecture == "x86_64" else _ARM_FEATURES,
        memory_total_bytes=memory,
        memory_available_bytes=int(memory * _FREE_SHARE),
    )


def _make_gpu(model: GpuModel, index: int, count: int, host: Host) -> Gpu:
    total = model.memory_total_bytes
    others = tuple(other for other in range(count) if other != index)
    joined = model.nvlink == "switch"
    return Gpu(
        index=index,
        name=model.name,
        pci_device_id=model.pci_device_ids[0] if model.pci_device_ids else None,
        compute_capability=model.compute_capability,
        memory_total_bytes=host.memory_total_bytes if total is None else total,
        memory_free_bytes=host.memory_available_bytes if total is None else total - RESERVED_BYTES,
        memory_reserved_bytes=None if total is None else RESERVED_BYTES,
        unified_memory=model.unified_memory,
        mig_enabled=False,
        p2p_peers=others if joined or not others else None,
        nvlink_peers=others if joined else (),
    )


def _notes(model: GpuModel, host: Host, gpus: tuple[Gpu, ...], driver: str) -> list[str]:
    number = f"{len(gpus)} x " if len(gpus) > 1 else ""
    held = "" if model.unified_memory else f", {format_bytes(RESERVED_BYTES)} of each GPU in use"
    notes = [
        f"this is no real machine but a preset: an idle one with {number}{model.name}",
        f"assumed of it: Linux on {host.architecture}, {host.physical_cores} cores, "
        f"{format_bytes(host.memory_total_bytes or 0)} of RAM of which "
        f"{format_bytes(host.memory_available_bytes or 0)} are free, NVIDIA driver "
        f"{driver}{held}",
    ]
    if model.nvlink == "bridge" and len(gpus) > 1:
        notes.append("assumed of it: no NVLink bridges between its GPUs")
    return notes
