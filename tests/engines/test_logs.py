"""What real logs of engines tell of a start: its phases, in order, and the memory of each part."""

from pathlib import Path

import pytest

from nimctl.core.startup import (
    FallToHost,
    Phase,
    find_fall,
    is_device_line,
    is_memory_line,
    read_memory,
    read_phase,
)
from nimctl.core.units import GIB, MIB
from nimctl.engines.llama_cpp_log import SIGNS as LLAMA_CPP
from nimctl.engines.sglang_log import SIGNS as SGLANG
from nimctl.engines.tensorrt_llm_log import SIGNS as TENSORRT_LLM
from nimctl.engines.vllm_log import SIGNS as VLLM

LOGS = Path(__file__).with_name("logs")
LOADING, COMPILING, ALLOCATING, CAPTURING, WARMING = (
    Phase.LOADING,
    Phase.COMPILING,
    Phase.ALLOCATING,
    Phase.CAPTURING,
    Phase.WARMING,
)


def read_lines(name):
    return (LOGS / name).read_text().splitlines()


@pytest.mark.parametrize(
    ("name", "signs", "phases"),
    [
        ("llama_cpp_cpu.log", LLAMA_CPP, [LOADING, ALLOCATING, WARMING]),
        ("llama_cpp_two_gpus.log", LLAMA_CPP, [LOADING, ALLOCATING]),
        ("whole/llama_cpp_gpu.log", LLAMA_CPP, [LOADING, ALLOCATING, WARMING]),
        ("vllm_cpu.log", VLLM, [LOADING, COMPILING]),
        ("whole/vllm_gpu.log", VLLM, [LOADING, COMPILING, ALLOCATING, CAPTURING]),
        ("vllm_one_gpu.log", VLLM, [LOADING, COMPILING]),
        ("vllm_graphs.log", VLLM, [ALLOCATING, CAPTURING]),
        ("tensorrt_llm_gb10.log", TENSORRT_LLM, [LOADING, ALLOCATING, COMPILING, CAPTURING]),
        ("sglang.log", SGLANG, [LOADING, ALLOCATING, CAPTURING]),
    ],
)
def test_phases_come_in_the_order_of_the_engine(name, signs, phases):
    seen = (read_phase(signs, line) for line in read_lines(name))
    assert list(dict.fromkeys(one.phase for one in seen if one)) == phases


@pytest.mark.parametrize(
    ("name", "signs", "counts"),
    [
        ("vllm_two_gpus.log", VLLM, [(5, 9), (8, 9), (9, 9)]),
        ("vllm_graphs.log", VLLM, [(2, 2), (1, 1)]),
        ("tensorrt_llm_gb10.log", TENSORRT_LLM, [(801, 801)]),
        ("sglang.log", SGLANG, [(0, 4), (1, 4), (23, 23)]),
    ],
)
def test_progress_bars_are_counted(name, signs, counts):
    seen = [read_phase(signs, line) for line in read_lines(name)]
    assert [(one.done, one.total) for one in seen if one and one.total] == counts


@pytest.mark.parametrize(
    ("name", "signs", "device", "sizes"),
    [
        (
            "llama_cpp_cpu.log",
            LLAMA_CPP,
            "cpu",
            {"weights": 92.10 * MIB, "kv_cache": 720 * MIB, "activations": 23.39 * MIB},
        ),
        ("llama_cpp_cpu.log", LLAMA_CPP, "gpu", {}),
        (
            "llama_cpp_two_gpus.log",
            LLAMA_CPP,
            "gpu",
            {"weights": 13989.53 * MIB, "kv_cache": 3584 * MIB, "activations": 672.01 * MIB},
        ),
        (
            "llama_cpp_two_gpus.log",
            LLAMA_CPP,
            "cpu",
            {"weights": 1640.62 * MIB, "activations": 1.95 * MIB},
        ),
        (
            "whole/llama_cpp_gpu.log",
            LLAMA_CPP,
            "gpu",
            {"weights": 92.17 * MIB, "kv_cache": 720 * MIB, "activations": 20.38 * MIB},
        ),
        (
            "whole/vllm_gpu.log",
            VLLM,
            "gpu",
            {"weights": 15 * GIB, "kv_cache": 56.51 * GIB, "graphs": 0.98 * GIB},
        ),
        ("vllm_one_gpu.log", VLLM, "gpu", {"weights": 7.64 * GIB}),
        ("vllm_two_gpus.log", VLLM, "gpu", {"weights": 12.66 * GIB}),
        ("vllm_graphs.log", VLLM, "gpu", {"kv_cache": 54.45 * GIB, "graphs": 0.46 * GIB}),
        (
            "sglang.log",
            SGLANG,
            "gpu",
            {"weights": 8.13 * GIB, "kv_cache": 108.24 * GIB, "graphs": 1.04 * GIB},
        ),
        (
            "tensorrt_llm_gb10.log",
            TENSORRT_LLM,
            "gpu",
            {"weights": 63.52 * GIB, "activations": 0.85 * GIB, "kv_cache": 5.95 * GIB},
        ),
    ],
)
def test_the_memory_of_each_part_is_read(name, signs, device, sizes):
    lines = [line for line in read_lines(name) if is_memory_line(signs, line)]
    assert read_memory(signs, lines, device) == pytest.approx(sizes, abs=2)


@pytest.mark.parametrize(
    ("name", "is_ready", "fell"),
    [
        ("llama_cpp_two_gpus.log", True, None),
        ("whole/llama_cpp_gpu.log", True, None),
        ("llama_cpp_no_cuda.log", False, FallToHost(detail="no CUDA-capable device is detected")),
        ("llama_cpp_cpu_build.log", False, None),
        ("llama_cpp_cpu_build.log", True, FallToHost(detail=None)),
        ("llama_cpp_cpu.log", False, None),
        ("llama_cpp_cpu.log", True, FallToHost(detail=None)),
    ],
)
def test_it_is_known_whether_a_gpu_is_used(name, is_ready, fell):
    lines = [line for line in read_lines(name) if is_device_line(LLAMA_CPP, line)]
    assert find_fall(LLAMA_CPP, lines, is_ready=is_ready) == fell


FOUND = "ggml_cuda_init: found 1 CUDA devices (Total VRAM: 8150 MiB):"
WARNING = "warning: no usable GPU found, --gpu-layers option will be ignored"


@pytest.mark.parametrize(
    ("lines", "is_ready", "fell"),
    [
        ([WARNING], False, None),
        ([WARNING], True, FallToHost(detail=None)),
        ([WARNING, FOUND], True, None),  # b9049 says so before it looks
        ([], True, None),
    ],
)
def test_a_warning_counts_only_where_nothing_tells_of_a_gpu(lines, is_ready, fell):
    assert find_fall(LLAMA_CPP, lines, is_ready=is_ready) == fell
    assert find_fall(VLLM, lines, is_ready=is_ready) is None


def test_two_caches_of_one_device_are_added_and_the_fullest_device_counts():
    lines = [
        "llama_kv_cache:      CUDA0 KV buffer size =    40.00 MiB",
        "llama_kv_cache:      CUDA0 KV buffer size =    10.00 MiB",
        "llama_kv_cache:      CUDA1 KV buffer size =    30.00 MiB",
    ]
    assert read_memory(LLAMA_CPP, lines, "gpu") == {"kv_cache": 50 * MIB}


def test_the_worker_with_the_largest_share_counts():
    line = "(Worker_TP{} pid=1) INFO [runner.py:1] Model loading took {} GiB memory and 3 s"
    lines = [line.format(0, 7.5), line.format(1, 7.6), line.format(0, 7.4)]
    assert read_memory(VLLM, lines, "gpu") == {"weights": int(7.6 * GIB)}
