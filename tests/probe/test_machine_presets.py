"""Presets: every GPU of the table as a whole machine, and names as people write them."""

import pytest

from nimctl.core.gpu_table import GPU_MODELS, find_gpu_model
from nimctl.core.hardware import hardware_from_json, hardware_to_json
from nimctl.errors import InputError
from nimctl.probe import find_preset, list_presets


@pytest.mark.parametrize("name", list_presets())
def test_every_preset_is_a_whole_idle_machine(name):
    hardware = find_preset(name)
    (gpu,) = hardware.gpus
    host = hardware.host
    assert find_gpu_model(gpu.name, gpu.pci_device_id) in GPU_MODELS
    assert 0.8 * gpu.memory_total_bytes < gpu.memory_free_bytes < gpu.memory_total_bytes
    assert 0 < host.memory_available_bytes < host.memory_total_bytes
    assert host.usable_cpus == host.logical_cpus >= 8
    assert "preset" in hardware.notes[0]
    assert hardware_from_json(hardware_to_json(hardware)) == hardware


@pytest.mark.parametrize(
    ("written", "name", "count"),
    [
        ("h100x8", "NVIDIA H100 80GB HBM3", 8),
        ("H100X8", "NVIDIA H100 80GB HBM3", 8),
        ("8xH100", "NVIDIA H100 80GB HBM3", 8),
        ("h100-nvl x2", "NVIDIA H100 NVL", 2),
        ("rtx4090", "NVIDIA GeForce RTX 4090", 1),
        ("RTX 4090 x2", "NVIDIA GeForce RTX 4090", 2),
        ("2xrtx4090", "NVIDIA GeForce RTX 4090", 2),
        ("NVIDIA GeForce RTX 5090", "NVIDIA GeForce RTX 5090", 1),
        ("l40sx4", "NVIDIA L40S", 4),
        ("a100_sxm4_40gb", "NVIDIA A100-SXM4-40GB", 1),
        ("gb10", "NVIDIA GB10", 1),
        ("A100-80GB x4", "NVIDIA A100-SXM4-80GB", 4),
    ],
)
def test_names_are_read_as_people_write_them(written, name, count):
    assert [gpu.name for gpu in find_preset(written).gpus] == [name] * count


def test_gpus_that_a_switch_joins_reach_one_another():
    gpus = find_preset("b200x8").gpus
    assert gpus[3].nvlink_peers == gpus[3].p2p_peers == (0, 1, 2, 4, 5, 6, 7)
    assert find_preset("l40sx2").gpus[0].nvlink_peers == ()


def test_what_a_bridge_would_join_is_taken_as_apart_and_said():
    hardware = find_preset("rtx3090x2")
    assert hardware.gpus[0].nvlink_peers == ()
    assert any("bridges" in note for note in hardware.notes)


def test_a_module_shares_the_memory_of_its_host():
    hardware = find_preset("gb10")
    (gpu,) = hardware.gpus
    assert gpu.unified_memory
    assert gpu.memory_free_bytes == hardware.host.memory_available_bytes


@pytest.mark.parametrize(("wrong", "near"), [("h10x8", "h100"), ("rtx4900", "rtx4090")])
def test_an_unknown_name_is_answered_with_near_ones(wrong, near):
    with pytest.raises(InputError) as caught:
        find_preset(wrong)
    assert near in caught.value.hint
    find_preset(near)


@pytest.mark.parametrize("name", ["h100x0", "h100x17", "gb10x2"])
def test_a_machine_that_is_not_built_is_refused(name):
    with pytest.raises(InputError, match="GPUs"):
        find_preset(name)


@pytest.mark.parametrize(("name", "cores"), [("orin", 12), ("thor", 14), ("gb10", 20)])
def test_a_module_has_the_cores_and_the_memory_it_is_sold_with(name, cores):
    hardware = find_preset(name)
    (gpu,) = hardware.gpus
    assert hardware.host.physical_cores == cores
    assert hardware.host.architecture == "aarch64"
    assert gpu.unified_memory
    assert gpu.memory_total_bytes == hardware.host.memory_total_bytes
    assert gpu.memory_free_bytes == hardware.host.memory_available_bytes
