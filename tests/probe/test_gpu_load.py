"""How busy GPUs are, from a library that answers as NVML does."""

import pytest
from probe.fake_nvml import nvml_library

from nimctl.probe.gpu_load import GpuLoad, read_gpu_loads

BUSY = {
    "nvmlDeviceGetUUID": "GPU-a",
    "nvmlDeviceGetUtilizationRates": {"gpu": 83, "memory": 40},
    "nvmlDeviceGetPowerUsage": 412_500,
    "nvmlDeviceGetTotalEnergyConsumption": 9_000_000,
    "nvmlDeviceGetMemoryInfo_v2": {"total": 80, "reserved": 1, "free": 9, "used": 70},
}
REFUSED = {"error": 3, "message": "Not Supported"}


def read(uuids, *devices):
    document = {"nvmlInit": None, "nvmlDeviceGetCount": len(devices), "devices": devices}
    with nvml_library(document):
        return read_gpu_loads(uuids)


def test_only_the_gpus_of_the_plan():
    other = BUSY | {"nvmlDeviceGetUUID": "GPU-b"}
    assert read({"GPU-b"}, BUSY, other) == (
        GpuLoad(
            index=1,
            utilization=0.83,
            memory_used_bytes=70,
            memory_total_bytes=80,
            power_w=412.5,
            energy_j=9000.0,
        ),
    )


def test_what_the_driver_does_not_tell_is_unknown():
    silent = dict.fromkeys(BUSY, REFUSED) | {"nvmlDeviceGetUUID": "GPU-a"}
    (load,) = read({"GPU-a"}, silent)
    assert (load.utilization, load.power_w, load.memory_used_bytes) == (None, None, None)


@pytest.mark.parametrize("document", [{"nvmlInit": {"error": 9}}])
def test_a_driver_that_is_gone_has_no_gpus(document):
    with nvml_library(document):
        assert read_gpu_loads({"GPU-a"}) == ()


def test_a_gpu_that_fell_off_the_bus_is_left_out():
    assert read({"GPU-a"}, {"nvmlDeviceGetHandleByIndex": {"error": 15}}) == ()
