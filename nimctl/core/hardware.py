"""What a machine is: frozen facts about GPUs and host; unknown is None, never 0."""

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, cast, get_args, get_origin, get_type_hints

SCHEMA = "nimctl-hardware/1"


@dataclass(frozen=True, kw_only=True, slots=True)
class GpuProcess:
    """A process that holds memory of a GPU."""

    pid: int
    name: str | None
    memory_bytes: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class MigSlice:
    """One MIG device: a part of a GPU with memory of its own.

    Attributes:
        uuid: `MIG-...`, what CUDA_VISIBLE_DEVICES takes.
        name: As the driver says, e.g. `NVIDIA A100-SXM4-40GB MIG 3g.20gb`.
    """

    uuid: str | None = None
    name: str | None = None
    memory_total_bytes: int | None = None
    memory_free_bytes: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Gpu:
    """One GPU as the driver describes it.

    Attributes:
        index: The driver's index.
        name: Marketing name, e.g. `NVIDIA H100 80GB HBM3`.
        uuid: `GPU-...`.
        pci_device_id: Device and vendor, e.g. `2330:10de`, the form NIM's manifests use.
        compute_capability: (major, minor), e.g. (9, 0).
        memory_total_bytes: All memory of the device; the system's RAM where it is shared.
        memory_free_bytes: What nobody holds at the time of the probe; where memory is shared,
            what the host has available.
        memory_reserved_bytes: What the driver and the firmware keep for themselves: neither free
            nor held by a process.
        unified_memory: Whether the GPU has no memory of its own and uses the system's RAM.
        utilization_percent: Share of the last sample period with a kernel running.
        power_limit_w: The limit the driver enforces, in watts.
        ecc_enabled: Whether memory is protected by ECC; None where there is no such switch.
        mig_enabled: Whether the GPU is split by MIG and cannot be used as a whole.
        mig_slices: The MIG devices it is split into.
        p2p_peers: Indices of GPUs whose memory it can access directly.
        nvlink_peers: Indices of GPUs that it reaches over NVLink.
        processes: Who holds memory, as far as the driver says.
    """

    index: int
    name: str | None = None
    uuid: str | None = None
    pci_device_id: str | None = None
    compute_capability: tuple[int, int] | None = None
    memory_total_bytes: int | None = None
    memory_free_bytes: int | None = None
    memory_reserved_bytes: int | None = None
    unified_memory: bool = False
    utilization_percent: int | None = None
    power_limit_w: float | None = None
    ecc_enabled: bool | None = None
    mig_enabled: bool | None = None
    mig_slices: tuple[MigSlice, ...] = ()
    p2p_peers: tuple[int, ...] | None = None
    nvlink_peers: tuple[int, ...] | None = None
    processes: tuple[GpuProcess, ...] = ()

    @property
    def memory_used_bytes(self) -> int | None:
        """Bytes that are not free, the driver's reserve included; None when unknown."""
        if self.memory_total_bytes is None or self.memory_free_bytes is None:
            return None
        return self.memory_total_bytes - self.memory_free_bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Host:
    """The machine around the GPUs, as this process may use it.

    Attributes:
        system: `Linux`, `Darwin` or `Windows`.
        architecture: `x86_64`, `aarch64`, `arm64`.
        cpu_name: Model name of the processor.
        physical_cores: Cores of the machine, hyper-threads counted once.
        logical_cpus: Processors of the machine.
        usable_cpus: Processors this process may use: affinity and cgroup quota applied
            (a quota of 1.5 counts 1).
        cpu_quota: Processors' worth of time the cgroup grants, e.g. 1.5; None without a quota.
        cpu_features: Instruction sets that matter, e.g. `avx2`, `avx512f`, `amx_tile`, `neon`.
        memory_total_bytes: RAM of the machine.
        memory_available_bytes: What this process may still take: free and reclaimable RAM,
            cut to the cgroup's limit.
        memory_limit_bytes: The cgroup's memory limit; None without one.
        memory_bandwidth_bytes_s: Bytes a second that all usable processors together read from RAM;
            measured, so None on machines that were only described.
        container: `docker`, `podman`, `kubernetes` or None.
    """

    system: str
    architecture: str
    cpu_name: str | None = None
    physical_cores: int | None = None
    logical_cpus: int | None = None
    usable_cpus: int | None = None
    cpu_quota: float | None = None
    cpu_features: tuple[str, ...] = ()
    memory_total_bytes: int | None = None
    memory_available_bytes: int | None = None
    memory_limit_bytes: int | None = None
    memory_bandwidth_bytes_s: float | None = None
    container: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """Who said a fact.

    Attributes:
        fact: Its place in the machine's JSON, e.g. `host.cpu_name` or `gpus[0].name`;
            `gpus[*].name` is that of every GPU, `host` everything under it.
        source: A file, a query or a command of the system, or `assumed`.
    """

    fact: str
    source: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Hardware:
    """One machine: host, GPUs, driver, and notes on what could not be seen.

    Attributes:
        driver_version: NVIDIA driver, e.g. `580.65.06`; None without a driver.
        cuda_version: Highest CUDA version the driver supports, (major, minor).
        notes: One sentence for each fact that could not be read or that limits what can be used,
            with the reason.
        origins: Where each known fact comes from.
    """

    host: Host
    gpus: tuple[Gpu, ...] = ()
    driver_version: str | None = None
    cuda_version: tuple[int, int] | None = None
    notes: tuple[str, ...] = ()
    origins: tuple[Origin, ...] = ()


def hardware_to_json(hardware: Hardware) -> dict[str, Any]:
    """A plain dictionary that `hardware_from_json` reads back to an equal value."""
    return {"schema": SCHEMA, **asdict(hardware)}


def hardware_from_json(document: Mapping[str, Any]) -> Hardware:
    """Read what `hardware_to_json` wrote.

    Raises:
        ValueError: another schema, a missing or unknown key, or a value of another type; the
            message names the place, e.g. `gpus[0].memory_total_bytes`.
    """
    if not isinstance(document, Mapping):
        raise ValueError(f"{document!r} is not a machine description")
    if document.get("schema") != SCHEMA:
        raise ValueError(f"schema is {document.get('schema')!r}, expected {SCHEMA!r}")
    facts = {key: value for key, value in document.items() if key != "schema"}
    return cast(Hardware, _read_object(Hardware, facts, ""))


def _read_object(kind: type, document: Any, place: str) -> Any:
    if not isinstance(document, Mapping):
        raise _wrong(document, "an object", place)
    known = {field.name: field for field in fields(kind)}
    prefix = f"{place}." if place else ""
    for key in document:
        if key not in known:
            raise ValueError(f"{prefix}{key} is not a known key")
    for name, field in known.items():
        if field.default is MISSING and name not in document:
            raise ValueError(f"{prefix}{name} is missing")
    types = get_type_hints(kind)
    values = {key: _read(types[key], value, prefix + key) for key, value in document.items()}
    return kind(**values)


def _read(kind: Any, value: Any, place: str) -> Any:
    """`value` as the annotated type `kind`: an object, a tuple, an optional or a plain value."""
    if get_origin(kind) is UnionType:
        (kind,) = (one for one in get_args(kind) if one is not NoneType)
        return None if value is None else _read(kind, value, place)
    if get_origin(kind) is tuple:
        return _read_tuple(get_args(kind), value, place)
    if is_dataclass(kind):
        return _read_object(cast(type, kind), value, place)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise _wrong(value, _EXPECTED[kind], place)
    return value


def _read_tuple(kinds: tuple[Any, ...], value: Any, place: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise _wrong(value, "a list", place)
    if kinds[-1] is Ellipsis:
        kinds = kinds[:1] * len(value)
    if len(value) != len(kinds):
        raise _wrong(value, f"{len(kinds)} values", place)
    return tuple(
        _read(kind, one, f"{place}[{position}]")
        for position, (kind, one) in enumerate(zip(kinds, value, strict=True))
    )


_EXPECTED = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


def _wrong(value: Any, expected: str, place: str) -> ValueError:
    return ValueError(f"{place} is {value!r}, expected {expected}")
