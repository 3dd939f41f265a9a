"""A machine in a few lines a person can read."""

from collections.abc import Iterator

from nimctl.cli.facts import Machine
from nimctl.core.hardware import Gpu, Hardware, Host
from nimctl.core.units import format_bytes, format_file_bytes
from nimctl.engines import TRAITS

_UNKNOWN = "unknown"


def render_machine(machine: Machine) -> Iterator[tuple[str, str]]:
    """Label and text of each line: processor, memory, GPUs, engines."""
    hardware = machine.hardware
    yield "CPU", _render_cpu(hardware.host)
    yield "Memory", _render_memory(hardware.host)
    yield from _render_gpus(hardware)
    yield "Engines", render_engines(machine)


def _render_cpu(host: Host) -> str:
    cores = host.physical_cores or host.logical_cpus
    text = f"{host.cpu_name or host.architecture}, {cores or _UNKNOWN} cores"
    if host.usable_cpus and cores and host.usable_cpus < cores:
        text += f", {host.usable_cpus} usable"
    return f"{text} ({', '.join(host.cpu_features)})" if host.cpu_features else text


def _render_memory(host: Host) -> str:
    if host.memory_available_bytes is None:
        return _UNKNOWN
    text = f"{format_bytes(host.memory_available_bytes)} available"
    if host.memory_total_bytes is not None:
        text += f" of {format_bytes(host.memory_total_bytes)}"
    if host.memory_limit_bytes is not None:
        text += f", limited to {format_bytes(host.memory_limit_bytes)}"
    if host.container:
        text += f" in {host.container}"
    if host.memory_bandwidth_bytes_s is not None:
        text += f", read at {format_file_bytes(int(host.memory_bandwidth_bytes_s))}/s"
    return text


def _render_gpus(hardware: Hardware) -> Iterator[tuple[str, str]]:
    if not hardware.gpus:
        yield "GPU", "none"
    for gpu in hardware.gpus:
        yield "GPU", render_gpu(gpu)
    if hardware.driver_version:
        cuda = hardware.cuda_version
        yield "Driver", hardware.driver_version + (f", CUDA {cuda[0]}.{cuda[1]}" if cuda else "")


def render_gpu(gpu: Gpu) -> str:
    """One GPU: PCI ids and index as NIM prints them, and its memory and who holds it."""
    text = f"[{gpu.pci_device_id or _UNKNOWN}] ({gpu.index}) {gpu.name or _UNKNOWN}, "
    if gpu.memory_free_bytes is None:
        text += "free memory unknown"
    else:
        text += f"{format_bytes(gpu.memory_free_bytes)} free"
    if gpu.memory_total_bytes is not None:
        text += f" of {format_bytes(gpu.memory_total_bytes)}"
    holders = [
        f"{format_bytes(p.memory_bytes)} by {p.name or 'a process'} (pid {p.pid})"
        for p in gpu.processes
        if p.memory_bytes
    ]
    return f"{text}; held: {', '.join(holders)}" if holders else text


def render_engines(machine: Machine) -> str:
    """The engines found, then those that are not installed."""
    if machine.engines_assumed:
        titles = ", ".join(TRAITS[engine.name].title for engine in machine.engines)
        return f"{titles}, taken as installed"
    found = {engine.name: engine for engine in machine.engines}
    present = [
        f"{TRAITS[name].title} {engine.version or '(version unknown)'} from {engine.origin}"
        for name, engine in found.items()
    ]
    missing = [traits.title for name, traits in TRAITS.items() if name not in found]
    parts = [", ".join(present) or "none"]
    if missing:
        parts.append(f"not installed: {', '.join(missing)}")
    return "; ".join(parts)
