"""What this machine is: host and GPUs, read once and described as plain values.

Reading (`read_machine`) and understanding (`parse_machine`) are apart, so that a recorded
document gives the same facts on any machine.
"""

from collections.abc import Mapping
from typing import Any

from nimctl.core.hardware import Gpu, Hardware, Host
from nimctl.probe.bandwidth_record import BandwidthRecord
from nimctl.probe.host import disk_free_bytes, parse_host, read_host
from nimctl.probe.nvidia import parse_nvml
from nimctl.probe.nvml import read_nvml
from nimctl.probe.origins import list_nvidia_origins
from nimctl.probe.presets import find_preset, list_presets
from nimctl.probe.snapshot import Snapshot, read_snapshot, write_snapshot
from nimctl.probe.visibility import hide_gpus

__all__ = [
    "BandwidthRecord",
    "Snapshot",
    "disk_free_bytes",
    "find_preset",
    "list_presets",
    "parse_machine",
    "probe_machine",
    "read_gpus",
    "read_machine",
    "read_snapshot",
    "write_snapshot",
]


def probe_machine(
    environment: Mapping[str, str], bandwidth: BandwidthRecord | None = None
) -> Hardware:
    """This machine as this process may use it.

    Args:
        environment: Environment variables: which GPUs are visible, whether this is a pod.
        bandwidth: As for `read_machine`.
    """
    return parse_machine(read_machine(bandwidth), environment)


def read_machine(bandwidth: BandwidthRecord | None = None) -> dict[str, Any]:
    """What the operating system (`host`) and the NVIDIA driver (`nvml`) say, in JSON's types.

    Args:
        bandwidth: Where the memory's measured bandwidth is kept; None leaves it unknown.
    """
    document = {"host": read_host(), "nvml": read_nvml()}
    if bandwidth is not None:
        measured = bandwidth.find(parse_host(document["host"], {}).host)
        document["host"]["memory_bandwidth"] = measured
    return document


def read_gpus(host: Host) -> tuple[Gpu, ...]:
    """Every GPU of the driver as it is now, who holds its memory included.

    Args:
        host: The machine around them.
    """
    return parse_nvml(read_nvml(), host).gpus


def parse_machine(document: Mapping[str, Any], environment: Mapping[str, str]) -> Hardware:
    """The machine a document of `read_machine` describes, as a process with this environment
    may use it.
    """
    told = parse_host(document["host"], environment)
    nvidia = parse_nvml(document["nvml"], told.host)
    in_container = told.host.container is not None
    gpus, hidden_notes = hide_gpus(nvidia.gpus, environment, in_container=in_container)
    return Hardware(
        host=told.host,
        gpus=gpus,
        driver_version=nvidia.driver_version,
        cuda_version=nvidia.cuda_version,
        notes=(*told.notes, *nvidia.notes, *hidden_notes),
        origins=(*told.origins, *list_nvidia_origins(document["nvml"], gpus)),
    )
