"""How near the roofline comes to the shipped predictions, over every model of the catalogue.

Run `python tests/benchmarks/speed_model.py`. A ratio above 1 means that the roofline promises
more time (or more tokens a second) than the prediction; the columns are the 10th, 50th and 90th
percentile, and the share of figures within a quarter of each other. llama.cpp, for which nothing is
predicted, is compared with published results, on GPUs and on CPUs.
"""

import statistics
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from nimctl.catalog import load_catalog
from nimctl.core.gpu_table import GPU_MODELS, GpuModel
from nimctl.core.manifest import Manifest, Profile
from nimctl.core.roofline import (
    CORE_FLOP_S,
    CPU_EFFICIENCIES,
    EFFICIENCIES,
    estimate_speed,
    read_gpu_speed,
)
from nimctl.core.speed import MANY_AT_ONCE, ONE_AT_A_TIME, SpeedFigure
from nimctl.evidence import find_prediction

_LLAMA_8B = (4_912_898_304, 32)
_LLAMA_8B_F16 = (16_060_522_496, 32)
_GPUS_OF_KHMEL = (
    "V100_PCIE_32GB", "A100_PCIE_40GB", "A100", "RTX4080", "RTX4090", "H200_NVL", "H100", "H200",
    "B300",
)  # fmt: skip
_MODELS_OF_KHMEL = {
    (16_800_000_000, 64): (31, 41, 46, None, 47, 71, 74, 76, 82),  # Qwen 3.6 27B
    (18_300_000_000, 60): (28, 37, 43, None, 35, 65, 68, 71, 75),  # Gemma 4 31B
    (5_700_000_000, 32): (85, 113, 123, 105, 137, 184, 190, 197, 213),  # Qwen 3.5 9B
}
LLAMA_CPP_RESULTS: tuple[tuple[str, tuple[int, int], float], ...] = (
    # github.com/XiongjieDai/GPU-Benchmarks-on-LLM-Inference, 1,024 tokens, Q4_K_M and F16
    ("RTX4080", _LLAMA_8B, 106.22),
    ("RTX3090", _LLAMA_8B, 111.74),
    ("RTX4090", _LLAMA_8B, 127.74),
    ("RTX4080", _LLAMA_8B_F16, 40.29),
    ("RTX3090", _LLAMA_8B_F16, 46.51),
    ("RTX4090", _LLAMA_8B_F16, 54.34),
    # github.com/ggml-org/llama.cpp/pull/19053, Llama 8B Q4_0
    ("RTX_6000_ADA", (4_660_000_000, 32), 168.87),
    # pavlokhmel.com, "LLM throughput benchmark on 13 GPUs and 10 models", the dense ones in Q4_K_M
    *(
        (gpu, model, float(rate))
        for model, rates in _MODELS_OF_KHMEL.items()
        for gpu, rate in zip(_GPUS_OF_KHMEL, rates, strict=True)
        if rate is not None
    ),
)
"""GPU, bytes of the weights and layers, and tokens a second of one request."""


_LLAMA_3B = (2_019_377_696, 28)
_LLAMA_8B_OLLAMA = (4_920_000_000, 32)
CPU_RESULTS: tuple[tuple[str, float, tuple[int, int], float], ...] = (
    # ahelpme.com, "LLM inference benchmarks with llamacpp and AMD EPYC 9554 CPU", Phi-4 14B in
    # Q4_K_M, Q5_0, Q6_K and Q8_0, 12 channels of DDR5-4800
    ("EPYC 9554", 460.8e9, (9_050_000_000, 40), 28.74),
    ("EPYC 9554", 460.8e9, (10_600_000_000, 40), 25.44),
    ("EPYC 9554", 460.8e9, (12_030_000_000, 40), 23.25),
    ("EPYC 9554", 460.8e9, (15_580_000_000, 40), 19.19),
    # github.com/ggml-org/llama.cpp/pull/8908, Mistral 7B Q4_0, 8 channels of DDR4-3200
    ("Threadripper PRO 5995WX", 204.8e9, (4_110_000_000, 32), 33.77),
    # github.com/geerlingguy/ai-benchmarks, issues 53, 7 and 33, and sbc-reviews 107, Q4_K_M
    ("Core i5-4278U", 25.6e9, _LLAMA_3B, 7.68),
    ("Core i3-1315U", 41.6e9, _LLAMA_3B, 11.05),
    ("Raspberry Pi 5", 17.1e9, _LLAMA_3B, 4.88),
    ("Raspberry Pi 5", 17.1e9, _LLAMA_8B_OLLAMA, 2.17),
    ("Ryzen AI 5 340", 89.6e9, _LLAMA_3B, 23.81),
    ("Ryzen AI 5 340", 89.6e9, _LLAMA_8B_OLLAMA, 10.46),
    ("Ryzen AI 5 340", 89.6e9, (8_990_000_000, 48), 5.83),
)
"""Processor, bandwidth by its datasheet, bytes of the weights and layers, and tokens a second."""

SHARE_OF_DATASHEET = 0.8
"""What reading reaches of a datasheet's bandwidth, about; `nimctl doctor` measures it here."""

CPU_PROMPT_RESULTS: tuple[tuple[str, str, int, float, float], ...] = (
    # The same sources, and llama.cpp pull requests 12829 and ik_llama.cpp 54, llama.cpp's column
    ("Core i5-4278U", "avx2", 2, 3.21e9, 17.70),
    ("Core i3-1315U", "avx2", 2, 3.21e9, 28.67),
    ("Core of Dell XPS 13", "avx2", 1, 3.21e9, 18.20),
    ("Threadripper PRO 5995WX", "avx2", 64, 7.25e9, 210.26),
    ("Threadripper PRO 5975WX", "avx2", 32, 8.03e9, 139.09),
    ("Ryzen 9 7950X, AVX-512", "avx2", 16, 8.03e9, 123.46),
    ("N100", "avx2", 4, 8.03e9, 6.53),
    ("Snapdragon 8cx Gen 3", "dotprod", 8, 3.21e9, 72.31),
    ("CIX CP8180", "dotprod", 12, 3.21e9, 81.27),
)
"""Processor, instruction set, threads, parameters, and prompt tokens a second."""


class Pair(NamedTuple):
    """The roofline and the prediction of one profile on one GPU, alone and under load."""

    manifest: Manifest
    profile: Profile
    gpu: GpuModel
    alone: tuple[SpeedFigure, SpeedFigure]
    loaded: tuple[SpeedFigure, SpeedFigure]


def compare(manifest: Manifest, profile: Profile, gpu: GpuModel) -> Pair | None:
    """Both figures under both traffics; None where nothing was predicted."""
    pairs = []
    for traffic in (ONE_AT_A_TIME, MANY_AT_ONCE):
        predicted = find_prediction(
            manifest.shape,
            gpu=gpu.short_name,
            engine=profile.engine,
            precision=profile.precision,
            tensor_parallel=profile.tensor_parallel,
            traffic=traffic,
        )
        device = read_gpu_speed(gpu, profile.precision)
        if predicted is None or device is None or profile.pipeline_parallel > 1:
            return None
        roofline = estimate_speed(
            manifest.shape,
            weight_bytes=profile.artifact.weight_bytes,
            device=device,
            efficiency=EFFICIENCIES[profile.engine],
            traffic=predicted.traffic,
            tensor_parallel=profile.tensor_parallel,
        )
        pairs.append((roofline, predicted))
    return Pair(manifest, profile, gpu, *pairs)


def compare_all(manifests: tuple[Manifest, ...]) -> Iterator[Pair]:
    """One pair for each way to run each model on each GPU; goals and adapters count once."""
    for manifest in manifests:
        ways = {(p.engine, p.precision, p.tensor_parallel): p for p in manifest.profiles}
        for profile in ways.values():
            for gpu in GPU_MODELS:
                pair = compare(manifest, profile, gpu)
                if pair is not None:
                    yield pair


def compare_llama_cpp() -> Iterator[float]:
    """Roofline over published time between tokens; short contexts, so the weights alone count."""
    models = {model.short_name: model for model in GPU_MODELS}
    efficiency = EFFICIENCIES["llama.cpp"]
    for gpu, (weight_bytes, layers), tokens_s in LLAMA_CPP_RESULTS:
        device = read_gpu_speed(models[gpu], "q4_k_m")
        assert device is not None
        moving_s = weight_bytes / (device.bandwidth_bytes_s * efficiency.bandwidth)
        yield (moving_s + layers * efficiency.layer_s) * tokens_s


def compare_cpus() -> Iterator[float]:
    """The same for processors, whose bandwidth is taken to be a share of the datasheet's."""
    efficiency = CPU_EFFICIENCIES["llama.cpp"]
    for _, datasheet_bytes_s, (weight_bytes, layers), tokens_s in CPU_RESULTS:
        read_bytes_s = datasheet_bytes_s * SHARE_OF_DATASHEET
        moving_s = weight_bytes / (read_bytes_s * efficiency.bandwidth)
        yield (moving_s + layers * efficiency.layer_s) * tokens_s


def compare_cpu_prompts() -> Iterator[float]:
    """Roofline over published time of a prompt token."""
    for _, feature, threads, parameters, tokens_s in CPU_PROMPT_RESULTS:
        yield 2 * parameters * tokens_s / (threads * dict(CORE_FLOP_S)[feature])


def read_ratios(pair: Pair) -> tuple[float, float, float]:
    """Roofline over prediction: time to first token, time between tokens, tokens under load."""
    (roofline, predicted), (loaded, predicted_loaded) = pair.alone, pair.loaded
    return (
        _divide(roofline.time_to_first_token_s, predicted.time_to_first_token_s),
        _divide(roofline.inter_token_latency_s, predicted.inter_token_latency_s),
        _divide(loaded.tokens_per_second, predicted_loaded.tokens_per_second),
    )


def _divide(mine: float | None, theirs: float | None) -> float:
    assert mine is not None and theirs
    return mine / theirs


def format_spread(ratios: list[float]) -> str:
    """The percentiles 10, 50 and 90 and the share within a quarter, as one cell."""
    tenths = statistics.quantiles(ratios, n=10, method="inclusive")
    near = sum(0.8 <= ratio <= 1.25 for ratio in ratios) / len(ratios)
    return f"{tenths[0]:.2f} {tenths[4]:.2f} {tenths[8]:.2f} {near:4.0%}"


def main() -> None:
    """Print the table by engine and GPU, then by precision, then all."""
    pairs = list(compare_all(load_catalog().manifests()))
    groups: dict[tuple[str, ...], list[Pair]] = defaultdict(list)
    for pair in pairs:
        mixture = "experts" if pair.manifest.shape.active_parameters else "dense"
        groups["1", pair.profile.engine, pair.gpu.short_name].append(pair)
        groups["2", pair.profile.engine, f"{mixture} {pair.profile.precision}"].append(pair)
        groups["3", pair.profile.engine, "all"].append(pair)
    models = len({pair.manifest.model for pair in pairs})
    print(f"{len(pairs)} profiles of {models} models; roofline / prediction: p10 p50 p90 near")
    print(f"{'':36}{'n':>5}  {'first token':22}{'between tokens':22}tokens/s under load")
    for (_, engine, name), members in sorted(groups.items()):
        if len(members) > 1:
            cells = [
                format_spread(list(column))
                for column in zip(*map(read_ratios, members), strict=True)
            ]
            print(f"{engine:14}{name:22}{len(members):5}  " + "   ".join(cells))
    for name, ratios in (
        ("published, GPUs", list(compare_llama_cpp())),
        ("published, CPUs", list(compare_cpus())),
    ):
        print(f"{'llama.cpp':14}{name:22}{len(ratios):5}  {'':22}{format_spread(ratios)}")
    prompts = list(compare_cpu_prompts())
    print(f"{'llama.cpp':14}{'prompts, CPUs':22}{len(prompts):5}  {format_spread(prompts)}")


if __name__ == "__main__":
    main()
