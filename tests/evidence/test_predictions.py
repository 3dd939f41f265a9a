"""The shipped predictions: found by shape, sound as a table, near the roofline, quick to read."""

import csv
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from core_cases import BF16, FP8, SHAPE

import nimctl.evidence
from nimctl.core.gpu_table import GPU_MODELS
from nimctl.core.manifest import KvLayers
from nimctl.core.roofline import EFFICIENCIES, estimate_speed, read_gpu_speed
from nimctl.core.speed import MANY_AT_ONCE, ONE_AT_A_TIME, rank_speed
from nimctl.evidence import find_prediction

FOLDER = Path(nimctl.evidence.__file__).parent
GPUS = {model.short_name: model for model in GPU_MODELS}
PREDICTED_GPUS = (
    "H100", "H200", "A100", "L40S", "B200", "B300", "GB200", "GB300", "RTX_PRO_6000_SERVER",
)  # fmt: skip


def find(shape=SHAPE, traffic=ONE_AT_A_TIME, **changes):
    place = {"gpu": "H100", "engine": "vllm", "precision": "bf16", "tensor_parallel": 1, **changes}
    return find_prediction(shape, traffic=traffic, **place)


def read_table(name):
    with (FOLDER / name).open(newline="") as file:
        return list(csv.DictReader(file))


def test_llama_8b_on_an_h100_is_predicted_with_its_source():
    figure = find()
    assert figure.origin == "predicted"
    assert figure.source.startswith("aiconfigurator 0.12.0, vLLM 0.24.0 tables for meta-llama/")
    # 16 GB over 3.35 TB/s are 4.8 ms
    assert 0.0048 < figure.inter_token_latency_s < 0.008
    assert 0.020 < figure.time_to_first_token_s < 0.100
    assert figure.tokens_per_second == pytest.approx(200 / figure.answer_s)


def test_under_load_the_figure_says_for_how_many():
    figure = find(traffic=MANY_AT_ONCE)
    assert figure.traffic == MANY_AT_ONCE
    assert figure.tokens_per_second > 10 * find().tokens_per_second
    large = replace(SHAPE, hidden_size=8192, attention_heads=64, parameters=70_600_000_000)
    crowded = find(large, MANY_AT_ONCE, gpu="L40S", precision="fp8", tensor_parallel=2)
    assert crowded.traffic == replace(MANY_AT_ONCE, concurrency=16)


def test_a_fine_tuned_model_is_as_fast_as_its_base():
    tuned = replace(SHAPE, parameters=SHAPE.parameters + 8_000_000, vocab_size=128_264)
    assert find(tuned) == find()


def test_fp16_is_as_fast_as_bf16_and_not_told_by_another_rule():
    assert find(precision="fp16") == find()


@pytest.mark.parametrize(
    "other",
    [
        replace(SHAPE, hidden_size=4608),
        replace(SHAPE, architecture="OlmoForCausalLM"),
        replace(SHAPE, parameters=round(SHAPE.parameters * 1.2)),
        replace(SHAPE, attention_heads=16),
    ],
)
def test_another_shape_is_not_guessed_at(other):
    assert find(other) is None


@pytest.mark.parametrize(
    "place",
    [
        {"gpu": "RTX4090"},
        {"engine": "llama.cpp"},
        {"precision": "q4_k_m"},
        {"precision": "nvfp4"},
        {"tensor_parallel": 3},
        {"traffic": replace(MANY_AT_ONCE, concurrency=7)},
    ],
)
def test_what_was_not_predicted_is_none(place):
    assert find(**place) is None


def test_the_same_size_in_another_shape_stays_apart():
    """Qwen 2.5 has a 14 B and a 32 B of one width; Llama 4 Scout and Maverick too."""
    small, large = (
        replace(
            SHAPE,
            architecture="Qwen2ForCausalLM",
            hidden_size=5120,
            attention_heads=40,
            parameters=parameters,
            kv=(KvLayers(layers=48, kv_heads=8, head_dim=128),),
        )
        for parameters in (14_770_033_664, 32_763_876_352)
    )
    quick, slow = (find(shape, gpu="H200").inter_token_latency_s for shape in (small, large))
    assert quick < 0.6 * slow


def test_every_row_is_sound():
    for row in read_table("predictions.csv"):
        values = {key: float(row[key]) for key in list(row)[4:]}
        assert all(value > 0 for value in values.values()), row
        assert values["loaded_itl_ms"] >= 0.6 * values["itl_ms"], row
        assert values["loaded_ttft_ms"] >= 0.6 * values["ttft_ms"], row
        steady = 1000 * values["concurrency"] / values["loaded_itl_ms"]
        assert 0.3 < values["tokens_s"] / steady < 1.5, row


def test_no_row_has_fewer_bits_that_are_much_slower():
    rows = read_table("predictions.csv")
    alone_ms = {tuple(row.values())[:5]: float(row["itl_ms"]) for row in rows}
    for (model, gpu, engine, _, split), itl_ms in alone_ms.items():
        assert itl_ms <= 1.5 * alone_ms.get((model, gpu, engine, "bf16", split), itl_ms)


def test_every_row_names_a_known_model_gpu_and_source():
    rows = read_table("predictions.csv")
    models = {row["model"] for row in read_table("predicted_models.csv")}
    sources = {(row["gpu"], row["engine"]) for row in read_table("predicted_with.csv")}
    keys = [tuple(row.values())[:5] for row in rows]
    assert len(set(keys)) == len(keys)
    assert {row["model"] for row in rows} <= models
    assert {row["gpu"] for row in rows} == set(PREDICTED_GPUS) <= set(GPUS)
    assert {(row["gpu"], row["engine"]) for row in rows} <= sources


@pytest.mark.parametrize("engine", ["tensorrt_llm", "vllm"])
@pytest.mark.parametrize("gpu", PREDICTED_GPUS)
@pytest.mark.parametrize("artifact", [BF16, FP8], ids=["bf16", "fp8"])
def test_the_roofline_is_near_for_llama_8b(gpu, engine, artifact):
    predicted = find(gpu=gpu, engine=engine, precision=artifact.name)
    if predicted is None:
        assert gpu == "A100" and artifact is FP8, "only fp8 on Ampere is not predicted"
        return
    roofline = estimate_speed(
        SHAPE,
        weight_bytes=artifact.weight_bytes,
        device=read_gpu_speed(GPUS[gpu], artifact.name),
        efficiency=EFFICIENCIES[engine],
        traffic=ONE_AT_A_TIME,
    )
    ratio = roofline.inter_token_latency_s / predicted.inter_token_latency_s
    assert 0.5 < ratio < 1.5
    assert abs(rank_speed(roofline, "latency") - rank_speed(predicted, "latency")) < 10


def test_the_files_are_not_read_before_they_are_asked_for():
    code = (
        "import sys, nimctl.evidence.predictions as p\n"
        "assert p._read_figures.cache_info().currsize == 0\n"
        "assert 'yaml' not in sys.modules and 'pydantic' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
