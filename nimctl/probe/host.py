"""The machine around the GPUs: processor, memory, and what a container leaves of them.

`read_host` collects what the operating system says as a document of texts and numbers;
`parse_host` turns such a document, fresh or recorded, into facts.
"""

import os
import platform
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from nimctl.core.hardware import Host, Origin
from nimctl.core.units import KIB
from nimctl.probe.cgroup import (
    MEMBERSHIP,
    MOUNTS,
    RECLAIMABLE,
    CgroupLimits,
    cgroup_files,
    parse_cgroup,
)
from nimctl.probe.cpuinfo import CPUINFO_LINES, parse_cpu_features, parse_cpu_name

CPUINFO = "/proc/cpuinfo"
MEMINFO = "/proc/meminfo"
SIBLINGS = "/sys/devices/system/cpu/cpu*/topology/thread_siblings_list"
DOCKER_MARK = "/.dockerenv"
PODMAN_MARK = "/run/.containerenv"

# Of long files only lines that begin so are kept, each once: cores of a kind say the same.
KEPT_LINES = {
    "cpuinfo": CPUINFO_LINES,
    "meminfo": ("MemTotal", "MemFree", "MemAvailable", "Buffers", "Cached", "SwapTotal"),
    "memory.stat": tuple(RECLAIMABLE.values()),
}

SYSCTL_NAMES = (
    "machdep.cpu.brand_string",
    "hw.physicalcpu",
    "hw.logicalcpu",
    "hw.memsize",
    "hw.pagesize",
    "machdep.cpu.features",
    "machdep.cpu.leaf7_features",
)
_COMMAND_TIMEOUT_S = 5
_ARCHITECTURES = {"AMD64": "x86_64", "ARM64": "arm64"}

# Field of Host -> its value, and where it comes from.
Facts = dict[str, tuple[Any, str]]

# Facts a reader misses when they are unknown: field of Host -> words.
_EXPECTED = {
    "cpu_name": "the processor's name",
    "physical_cores": "the number of physical cores",
    "memory_total_bytes": "the amount of memory",
    "memory_available_bytes": "the amount of free memory",
}


def read_host(root: Path = Path("/")) -> dict[str, Any]:
    """What the operating system says of processor, memory and container, as plain JSON types.

    Args:
        root: Where `proc`, `sys` and the marks of containers are.
    """
    system = platform.system()
    document: dict[str, Any] = {
        "system": system,
        "architecture": platform.machine(),
        "logical_cpus": os.cpu_count(),
        "affinity_cpus": _count_affinity(),
    }
    if system == "Linux":
        return document | _read_linux(root)
    if system == "Darwin":
        commands = {"sysctl": ["sysctl", *SYSCTL_NAMES], "vm_stat": ["vm_stat"]}
        return document | {"commands": {name: _run(line) for name, line in commands.items()}}
    return document


class HostFacts(NamedTuple):
    """What `parse_host` found: the host, a note on each fact it does not tell, and origins."""

    host: Host
    notes: tuple[str, ...]
    origins: tuple[Origin, ...]


def parse_host(document: Mapping[str, Any], environment: Mapping[str, str]) -> HostFacts:
    """The host a document of `read_host` describes.

    Args:
        document: Fresh or recorded.
        environment: Environment variables; KUBERNETES_SERVICE_HOST is a mark of a pod.
    """
    machine = document["architecture"]
    facts: Facts = {
        "system": (document["system"], "uname"),
        "architecture": (_ARCHITECTURES.get(machine, machine), "uname"),
        "logical_cpus": (document["logical_cpus"], "the operating system's count"),
    }
    if document["system"] == "Linux":
        facts |= _parse_linux(document, environment)
    if document["system"] == "Darwin":
        facts |= _parse_darwin(document)
    facts["usable_cpus"] = _count_usable(document, facts)
    facts["memory_bandwidth_bytes_s"] = _parse_bandwidth(document)
    host = Host(**{field: value for field, (value, _) in facts.items()})
    return HostFacts(
        host=host,
        notes=tuple(
            f"{host.system} did not tell {words}"
            for field, words in _EXPECTED.items()
            if getattr(host, field) is None
        ),
        origins=tuple(
            Origin(fact=f"host.{field}", source=source)
            for field, (value, source) in facts.items()
            if value not in (None, ())
        ),
    )


def _count_usable(document: Mapping[str, Any], facts: Facts) -> tuple[int | None, str]:
    """Affinity, which a container's cpuset sets, and time quota, whichever leaves less."""
    affinity, source = document["affinity_cpus"], "sched_getaffinity"
    usable, source = (affinity, source) if affinity else facts["logical_cpus"]
    quota, quota_source = facts.get("cpu_quota", (None, ""))
    if usable and quota and int(quota) < usable:
        return max(1, int(quota)), quota_source
    return usable, source


def _parse_bandwidth(document: Mapping[str, Any]) -> tuple[float | None, str]:
    """What `read_machine` measured, if it did; recordings before it have no such part."""
    measured = document.get("memory_bandwidth")
    if measured is None:
        return None, ""
    return measured["bytes_s"], f"measured here, threads: {measured['threads']}"


def disk_free_bytes(path: Path) -> int:
    """Bytes that this user may still write below `path`, which need not exist yet.

    Raises:
        OSError: the disk does not answer.
    """
    existing = next(place for place in (path, *path.absolute().parents) if place.exists())
    return shutil.disk_usage(existing).free


def _count_affinity() -> int | None:
    """Processors the scheduler may put this process on (cpusets of a container included)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None


def _run(command: list[str]) -> str | None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_COMMAND_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout


def _read_linux(root: Path) -> dict[str, Any]:
    files = _read_files(root, (CPUINFO, MEMINFO, MEMBERSHIP, MOUNTS))
    files |= _read_files(root, cgroup_files(files))
    topologies = root.glob("sys/devices/system/cpu/cpu[0-9]*/topology/thread_siblings_list")
    siblings = _read_files(root, (f"/{path.relative_to(root)}" for path in topologies))
    return {
        "files": files,
        "marks": [mark for mark in (DOCKER_MARK, PODMAN_MARK) if (root / mark[1:]).exists()],
        "thread_siblings": sorted({text.strip() for text in siblings.values()}),
    }


def _read_files(root: Path, paths: Iterable[str]) -> dict[str, str]:
    """Path -> the lines that matter; a file that cannot be read is left out."""
    files = {}
    for path in paths:
        with suppress(OSError):
            files[path] = _shorten(Path(path).name, (root / path[1:]).read_text(errors="replace"))
    return files


def _shorten(name: str, text: str) -> str:
    lines = text.splitlines(keepends=True)
    if name == "mountinfo":
        return "".join(line for line in lines if " - cgroup" in line)
    if name not in KEPT_LINES:
        return text
    return "".join(dict.fromkeys(line for line in lines if line.startswith(KEPT_LINES[name])))


def _parse_linux(document: Mapping[str, Any], environment: Mapping[str, str]) -> Facts:
    files: Mapping[str, str] = document["files"]
    cpuinfo = files.get(CPUINFO, "")
    return {
        "cpu_name": (parse_cpu_name(cpuinfo), CPUINFO),
        "cpu_features": (parse_cpu_features(cpuinfo), CPUINFO),
        "physical_cores": (len(document["thread_siblings"]) or None, SIBLINGS),
        "container": _parse_container(document, environment),
        **_parse_limits(dict(_parse_meminfo(files.get(MEMINFO, ""))), parse_cgroup(files)),
    }


def _parse_limits(meminfo: Mapping[str, int], cgroup: CgroupLimits) -> Facts:
    """Memory and processor time, of the machine and as the control group leaves them."""
    total, free = meminfo.get("MemTotal"), meminfo.get("MemAvailable")
    limit, left = cgroup.memory_limit_bytes, cgroup.memory_available_bytes
    limited = limit is not None and (total is None or limit < total)
    free_source = f"{MEMINFO} MemAvailable"
    if free is not None and left is not None and left < free:
        free, free_source = left, f"memory left of cgroup {cgroup.memory_available_folder}"
    return {
        "cpu_quota": (cgroup.cpu_quota, f"processor quota of cgroup {cgroup.cpu_quota_folder}"),
        "memory_total_bytes": (total, f"{MEMINFO} MemTotal"),
        "memory_limit_bytes": (
            limit if limited else None,
            f"memory limit of cgroup {cgroup.memory_limit_folder}",
        ),
        "memory_available_bytes": (free, free_source),
    }


def _parse_meminfo(text: str) -> Iterator[tuple[str, int]]:
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if value.endswith(" kB"):
            yield name, int(value[:-3]) * KIB


def _parse_container(
    document: Mapping[str, Any], environment: Mapping[str, str]
) -> tuple[str | None, str]:
    group = document["files"].get(MEMBERSHIP, "")
    if "KUBERNETES_SERVICE_HOST" in environment:
        return "kubernetes", "KUBERNETES_SERVICE_HOST"
    if "kubepods" in group:
        return "kubernetes", MEMBERSHIP
    for name, mark, signs in (
        ("podman", PODMAN_MARK, ("libpod",)),
        ("docker", DOCKER_MARK, ("/docker/", "docker-")),
    ):
        if mark in document["marks"]:
            return name, mark
        if any(sign in group for sign in signs):
            return name, MEMBERSHIP
    return None, ""


def _parse_darwin(document: Mapping[str, Any]) -> Facts:
    """Free memory as vm_stat counts it: free, speculative and inactive pages can be taken."""
    commands = document["commands"]
    sysctl = dict(_parse_lines(commands["sysctl"] or ""))
    pages = dict(_parse_lines(commands["vm_stat"] or ""))
    counts = [pages.get(f"Pages {kind}") for kind in ("free", "speculative", "inactive")]
    page_bytes = sysctl.get("hw.pagesize")
    flags = f"{sysctl.get('machdep.cpu.features')} {sysctl.get('machdep.cpu.leaf7_features')}"
    flags = flags.lower().replace("avx1.0", "avx").replace(".", "_")
    arm = document["architecture"] == "arm64"
    free = (
        sum(int(count.rstrip(".")) for count in counts if count) * int(page_bytes)
        if page_bytes and any(counts)
        else None
    )
    return {
        "cpu_name": (sysctl.get("machdep.cpu.brand_string"), "sysctl"),
        "cpu_features": (
            ("neon",) if arm else parse_cpu_features(f"flags: {flags}"),
            "uname" if arm else "sysctl",
        ),
        "physical_cores": (_integer(sysctl.get("hw.physicalcpu")), "sysctl"),
        "memory_total_bytes": (_integer(sysctl.get("hw.memsize")), "sysctl"),
        "memory_available_bytes": (free, "vm_stat"),
    }


def _parse_lines(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        name, _, value = line.partition(":")
        yield name.strip(), value.strip()


def _integer(text: str | None) -> int | None:
    return None if text is None else int(text)
