"""Asking the NVIDIA driver through NVML: every answer and every refusal, in JSON's types.

A document maps each query to NVML's answer or to `{"error": code, "message": text}`. The
document is the seam of the probe: it can be stored, attached to a bug report and read again.
No query starts CUDA or takes memory of a GPU.
"""

import ctypes
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

# Error codes of nvml.h (nvmlReturn_t).
NOT_SUPPORTED = 3
NO_PERMISSION = 4
DRIVER_NOT_LOADED = 9
LIBRARY_NOT_FOUND = 12
GPU_IS_LOST = 15
RESET_REQUIRED = 16
VERSION_MISMATCH = 18

MEMORY_QUERIES = ("nvmlDeviceGetMemoryInfo_v2", "nvmlDeviceGetMemoryInfo")
PROCESS_QUERIES = (
    "nvmlDeviceGetGraphicsRunningProcesses_v3",
    "nvmlDeviceGetComputeRunningProcesses_v3",
)
DEVICE_QUERIES = (
    "nvmlDeviceGetName",
    "nvmlDeviceGetUUID",
    "nvmlDeviceGetPciInfo",
    "nvmlDeviceGetCudaComputeCapability",
    "nvmlDeviceGetUtilizationRates",
    "nvmlDeviceGetEnforcedPowerLimit",
    "nvmlDeviceGetEccMode",
    "nvmlDeviceGetMigMode",
    *PROCESS_QUERIES,
)
LOAD_QUERIES = (
    "nvmlDeviceGetUUID",
    "nvmlDeviceGetUtilizationRates",
    "nvmlDeviceGetPowerUsage",
    "nvmlDeviceGetTotalEnergyConsumption",
)
MIG_QUERIES = ("nvmlDeviceGetName", "nvmlDeviceGetUUID")

_NO_LIBRARY = {"error": LIBRARY_NOT_FOUND, "message": "NVML Shared Library Not Found"}
_NVIDIA_VENDOR = "0x10de"
_DISPLAY_CLASS = "0x03"


def read_nvml(root: Path = Path("/")) -> dict[str, Any]:
    """Ask NVML everything nimctl wants to know; a failed query is an answer, not an exception.

    Args:
        root: Where `proc` and `sys` are, to look for GPUs that NVML does not show.
    """
    if _lacks_library():
        return {"nvmlInit": _NO_LIBRARY} | _read_traces(root)
    import pynvml

    document: dict[str, Any] = {"nvmlInit": _ask(pynvml.nvmlInit)}
    if error_of(document, "nvmlInit"):
        return document | _read_traces(root)
    try:
        document |= _read_devices()
    finally:
        _ask(pynvml.nvmlShutdown)
    return document if document["devices"] else document | _read_traces(root)


def read_loads() -> list[dict[str, Any]]:
    """Ask each GPU how busy it is now; none where there is no driver to ask."""
    if _lacks_library():
        return []
    import pynvml

    if error_of({"nvmlInit": _ask(pynvml.nvmlInit)}, "nvmlInit"):
        return []
    try:
        count = _ask(pynvml.nvmlDeviceGetCount)
        return [_read_load(index) for index in range(count if isinstance(count, int) else 0)]
    finally:
        _ask(pynvml.nvmlShutdown)


def _read_load(index: int) -> dict[str, Any]:
    import pynvml

    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    except pynvml.NVMLError:
        return {}
    answers = {query: _ask(getattr(pynvml, query), handle) for query in LOAD_QUERIES}
    return answers | _read_memory(handle)


def _lacks_library() -> bool:
    """Whether pynvml would find no driver; to import it for that takes 20 ms."""
    if sys.platform != "linux" or "pynvml" in sys.modules:
        return False
    try:
        ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return True
    return False


def error_of(answers: Mapping[str, Any], query: str) -> Mapping[str, Any]:
    """The error a query ended in, or an empty mapping."""
    answer = answers.get(query)
    return answer if isinstance(answer, dict) and "error" in answer else {}


def answer_of(answers: Mapping[str, Any], query: str) -> Any:
    """What a query answered; None where it failed or was not asked."""
    return None if error_of(answers, query) else answers.get(query)


def _ask(call: Callable[..., Any], *arguments: Any) -> Any:
    from pynvml import NVMLError

    try:
        return _plain(call(*arguments))
    except NVMLError as error:
        return {"error": error.value, "message": str(error)}
    except UnicodeDecodeError as error:
        return {"error": -1, "message": f"the answer is not text: {error.reason}"}


def _plain(value: Any) -> Any:
    """An answer of pynvml (ctypes structures, lists, its own objects) in JSON's types."""
    if isinstance(value, ctypes.Structure):
        return {name: _plain(getattr(value, name)) for name, *_ in value._fields_}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if value is None or isinstance(value, str | int):
        return value
    return {name: _plain(one) for name, one in vars(value).items()}


def _read_devices() -> dict[str, Any]:
    import pynvml

    queries = (
        "nvmlSystemGetDriverVersion",
        "nvmlSystemGetCudaDriverVersion_v2",
        "nvmlDeviceGetCount",
    )
    answers = {query: _ask(getattr(pynvml, query)) for query in queries}
    count = answer_of(answers, "nvmlDeviceGetCount") or 0
    answers["devices"] = [_read_device(index) for index in range(count)]
    answers["p2p"] = [_read_link(i, j) for i in range(count) for j in range(i + 1, count)]
    return answers


def _read_device(index: int) -> dict[str, Any]:
    import pynvml

    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    except pynvml.NVMLError as error:
        return {"nvmlDeviceGetHandleByIndex": {"error": error.value, "message": str(error)}}
    answers = {query: _ask(getattr(pynvml, query), handle) for query in DEVICE_QUERIES}
    answers |= _read_memory(handle)
    for query in PROCESS_QUERIES:
        for process in answer_of(answers, query) or ():
            process["name"] = _read_process_name(process["pid"])
    if (answer_of(answers, "nvmlDeviceGetMigMode") or [0])[0]:
        answers["mig_devices"] = list(_read_mig_devices(handle))
    return answers


def _read_memory(handle: Any) -> dict[str, Any]:
    import pynvml

    newer, older = MEMORY_QUERIES
    answers = {newer: _ask(pynvml.nvmlDeviceGetMemoryInfo, handle, pynvml.nvmlMemory_v2)}
    if error_of(answers, newer):
        answers[older] = _ask(pynvml.nvmlDeviceGetMemoryInfo, handle)
    return answers


def _read_process_name(pid: int) -> Any:
    """The program's bare name: NVML may give a whole command line, which is nobody's business."""
    import pynvml

    name = _ask(pynvml.nvmlSystemGetProcessName, pid)
    if not isinstance(name, str):
        return name
    if "\\" in name:  # Windows: a path that may hold spaces, without arguments
        return name.rpartition("\\")[2]
    return name.partition(" ")[0].rpartition("/")[2]


def _read_mig_devices(handle: Any) -> Iterator[dict[str, Any]]:
    import pynvml

    count = _ask(pynvml.nvmlDeviceGetMaxMigDeviceCount, handle)
    for index in range(count if isinstance(count, int) else 0):
        try:
            part = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index)
        except pynvml.NVMLError:
            continue  # NVML counts places for MIG devices; an empty place is "not found".
        answers = {query: _ask(getattr(pynvml, query), part) for query in MIG_QUERIES}
        yield answers | _read_memory(part)


def _read_link(first: int, second: int) -> dict[str, Any]:
    import pynvml

    def status(kind: int) -> Any:
        one = pynvml.nvmlDeviceGetHandleByIndex(first)
        other = pynvml.nvmlDeviceGetHandleByIndex(second)
        return pynvml.nvmlDeviceGetP2PStatus(one, other, kind)

    return {
        "pair": [first, second],
        "read": _ask(status, pynvml.NVML_P2P_CAPS_INDEX_READ),
        "nvlink": _ask(status, pynvml.NVML_P2P_CAPS_INDEX_NVLINK),
    }


def _read_traces(root: Path) -> dict[str, Any]:
    """Signs of GPUs that NVML does not show: a loaded driver, cards on the PCI bus."""
    displays = sorted(_read_pci_displays(root / "sys/bus/pci/devices"))
    try:
        version = (root / "proc/driver/nvidia/version").read_text(errors="replace")
    except OSError:
        version = None
    return {"driver_file": version, "pci_displays": displays}


def _read_pci_displays(folder: Path) -> Iterator[str]:
    for device in folder.glob("*"):
        try:
            vendor, kind, model = (
                (device / name).read_text().strip() for name in ("vendor", "class", "device")
            )
        except OSError:
            continue
        if vendor == _NVIDIA_VENDOR and kind.startswith(_DISPLAY_CLASS):
            yield f"{model[2:]}:{vendor[2:]}"
