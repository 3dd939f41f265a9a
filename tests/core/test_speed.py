"""Speed figures compared by goal, and the roofline held to its own limits."""

from dataclasses import replace

import pytest
from core_cases import BF16, FP8, PROFILES, SHAPE
from hypothesis import given
from hypothesis import strategies as st

from nimctl.core.gpu_table import GPU_MODELS
from nimctl.core.hardware import Gpu, Host
from nimctl.core.manifest import KvLayers
from nimctl.core.roofline import (
    EFFICIENCIES,
    FULL_EFFICIENCY,
    DeviceSpeed,
    calibrate_device,
    estimate_on_cpu,
    estimate_on_gpus,
    estimate_speed,
    read_gpu_speed,
)
from nimctl.core.speed import (
    MANY_AT_ONCE,
    ONE_AT_A_TIME,
    UNKNOWN_RANK,
    SpeedFigure,
    Traffic,
    format_speed,
    prefer_figure,
    rank_speed,
    traffic_for,
    unknown_speed,
)

DEVICE = DeviceSpeed(bandwidth_bytes_s=3.35e12, flop_s=989e12, link_bytes_s=450e9, name="H100")
MIXTURE = replace(SHAPE, parameters=30_000_000_000, active_parameters=3_000_000_000)
SMOLLM2 = replace(
    SHAPE,
    parameters=134_515_008,
    hidden_size=576,
    attention_heads=9,
    vocab_size=49_152,
    kv=(KvLayers(layers=30, kv_heads=3, head_dim=64),),
)
SMOLLM2_BYTES = 98_000_000
GPUS = {model.short_name: model for model in GPU_MODELS}

concurrencies = st.integers(min_value=1, max_value=256)


def make_figure(traffic=ONE_AT_A_TIME, *, first_s=0.05, between_s=0.01, rate=90.0, **changes):
    values = {"origin": "predicted", "source": "test", **changes}
    return SpeedFigure(
        traffic=traffic,
        time_to_first_token_s=first_s,
        inter_token_latency_s=between_s,
        tokens_per_second=rate,
        **values,
    )


def estimate(shape=SHAPE, traffic=ONE_AT_A_TIME, **changes):
    arguments = {
        "weight_bytes": BF16.weight_bytes,
        "device": DEVICE,
        "efficiency": FULL_EFFICIENCY,
        **changes,
    }
    return estimate_speed(shape, traffic=traffic, **arguments)


def test_one_token_takes_all_weights_and_the_cache_over_the_bandwidth():
    cache_bytes = 131_072 * 1100
    expected_s = (16_060_522_496 + cache_bytes) / 3.35e12
    assert estimate().inter_token_latency_s == pytest.approx(expected_s)


def test_a_prompt_takes_two_operations_a_weight_and_token():
    expected_s = 2 * 8_030_261_248 * 1000 / 989e12  # more than 16 GB over 3.35 TB/s
    assert estimate().time_to_first_token_s == pytest.approx(expected_s)


def test_one_token_of_a_mixture_reads_its_own_experts_and_many_read_nearly_all():
    alone = estimate(MIXTURE, weight_bytes=60_000_000_000, traffic=Traffic(
        prompt_tokens=1, output_tokens=1, concurrency=1,
    ))  # fmt: skip
    many = estimate(MIXTURE, weight_bytes=60_000_000_000, traffic=Traffic(
        prompt_tokens=1, output_tokens=1000, concurrency=64,
    ))  # fmt: skip
    assert alone.inter_token_latency_s == pytest.approx(6e9 / 3.35e12, rel=0.001)
    assert many.inter_token_latency_s > 0.99 * 60e9 / 3.35e12


def test_no_traffic_gets_more_tokens_than_the_operations_allow():
    figure = estimate(traffic=replace(MANY_AT_ONCE, concurrency=100_000))
    assert figure.tokens_per_second < 989e12 / (2 * 8_030_261_248)


@given(concurrencies, concurrencies)
def test_more_requests_never_shorten_the_wait_and_never_lower_the_rate(one, other):
    few, many = (
        estimate(traffic=replace(MANY_AT_ONCE, concurrency=n)) for n in sorted((one, other))
    )
    assert few.inter_token_latency_s <= many.inter_token_latency_s
    assert few.time_to_first_token_s <= many.time_to_first_token_s
    assert few.tokens_per_second <= many.tokens_per_second * 1.0001


@given(st.sampled_from(sorted(EFFICIENCIES)), concurrencies, st.sampled_from((2, 4, 8)))
def test_more_gpus_and_fewer_bytes_never_slow_a_token(engine, concurrency, tensor_parallel):
    traffic = replace(MANY_AT_ONCE, concurrency=concurrency)
    device = replace(DEVICE, link_bytes_s=1e15)
    known = {"traffic": traffic, "device": device, "efficiency": EFFICIENCIES[engine]}
    whole = estimate(**known)
    split = estimate(**known, tensor_parallel=tensor_parallel)
    narrow = estimate(**known, weight_bytes=FP8.weight_bytes)
    assert split.inter_token_latency_s <= whole.inter_token_latency_s
    assert narrow.inter_token_latency_s <= whole.inter_token_latency_s


def test_a_slow_link_shows_in_the_first_token():
    near, far = (
        estimate(tensor_parallel=2, device=replace(DEVICE, link_bytes_s=rate))
        for rate in (450e9, 32e9)
    )
    assert far.time_to_first_token_s > near.time_to_first_token_s
    assert far.inter_token_latency_s == near.inter_token_latency_s


def test_an_unknown_rate_leaves_only_the_time_between_tokens():
    blind = replace(DEVICE, flop_s=None)
    alone, many = estimate(device=blind), estimate(device=blind, traffic=MANY_AT_ONCE)
    assert alone.inter_token_latency_s == estimate().inter_token_latency_s
    assert alone.time_to_first_token_s is None and alone.tokens_per_second is None
    assert many.inter_token_latency_s is None and many.tokens_per_second is None
    assert format_speed(many) == "unknown"


@pytest.mark.parametrize(
    ("gpu", "precision", "flop_s"),
    [
        ("H100", "fp8", 1979e12),
        ("A100", "fp8", 312e12),
        ("B200", "nvfp4", 9000e12),
        ("H100", "nvfp4", 989.5e12),
        ("H100", "q4_k_m", 989.5e12),
        ("GB10", "bf16", 125e12),
        ("T4", "fp16", 65e12),
    ],
)
def test_weights_are_multiplied_in_what_the_tensor_cores_know(gpu, precision, flop_s):
    assert read_gpu_speed(GPUS[gpu], precision).flop_s == flop_s


def test_a_device_measured_with_a_model_gives_that_measurement_back():
    # llama.cpp, Q4_1, two cores: 62.5 tokens a second
    measured = make_figure(first_s=2.0, between_s=0.016, origin="measured here")
    cpu = calibrate_device(measured, SMOLLM2, weight_bytes=SMOLLM2_BYTES, name="this CPU")
    again = estimate(SMOLLM2, weight_bytes=SMOLLM2_BYTES, device=cpu)
    assert again.inter_token_latency_s == pytest.approx(0.016)
    assert again.time_to_first_token_s == pytest.approx(2.0)
    assert again.origin == "roofline" and "this CPU" in again.source
    larger = estimate(SHAPE, weight_bytes=BF16.weight_bytes, device=cpu)
    assert larger.inter_token_latency_s > 100 * again.inter_token_latency_s


@pytest.mark.parametrize(
    "measured", [make_figure(MANY_AT_ONCE), make_figure(between_s=None), make_figure(between_s=0.0)]
)
def test_no_device_is_known_from_a_measurement_without_a_token_time_of_one_request(measured):
    assert calibrate_device(measured, SMOLLM2, weight_bytes=SMOLLM2_BYTES, name="CPU") is None


def test_the_most_trusted_figure_is_preferred():
    guess = make_figure(origin="roofline")
    told = make_figure(origin="predicted")
    seen = make_figure(origin="measured here")
    assert prefer_figure([guess, None, told], ONE_AT_A_TIME) is told
    assert prefer_figure([told, guess, seen], ONE_AT_A_TIME) is seen
    assert prefer_figure([None], ONE_AT_A_TIME).origin == "unknown"


def test_latency_ranks_by_the_answer_and_throughput_by_the_rate():
    quick = make_figure(first_s=0.05, between_s=0.005, rate=100.0)
    busy = make_figure(first_s=0.05, between_s=0.010, rate=200.0)
    assert rank_speed(quick, "latency") < rank_speed(busy, "latency")
    assert rank_speed(quick, None) < rank_speed(busy, None)
    assert rank_speed(busy, "throughput") < rank_speed(quick, "throughput")
    assert traffic_for("throughput") is MANY_AT_ONCE and traffic_for(None) is ONE_AT_A_TIME


@given(st.floats(min_value=0.0005, max_value=5), st.floats(min_value=1.0, max_value=1.6))
def test_a_slower_answer_never_ranks_first_and_only_near_ones_rank_alike(between_s, factor):
    quick = rank_speed(make_figure(first_s=0.0, between_s=between_s), "latency")
    slow = rank_speed(make_figure(first_s=0.0, between_s=between_s * factor), "latency")
    assert quick <= slow
    if factor > 1.1 * 1.0001:
        assert quick < slow


@pytest.mark.parametrize("goal", [None, "latency", "throughput"])
def test_what_is_unknown_ranks_last(goal):
    unknown = unknown_speed(ONE_AT_A_TIME, "no table")
    assert rank_speed(unknown, goal) == UNKNOWN_RANK
    assert rank_speed(make_figure(between_s=60.0, rate=0.01), goal) < UNKNOWN_RANK


def test_a_figure_is_told_with_its_origin():
    many = make_figure(MANY_AT_ONCE, first_s=0.1, rate=3939.0)
    assert format_speed(make_figure()) == "100 tokens/s, first after 50 ms (predicted)"
    assert format_speed(many) == "3,939 tokens/s for 64, first after 100 ms (predicted)"
    assert format_speed(unknown_speed(ONE_AT_A_TIME, "no table")) == "unknown (no table)"


def test_a_profile_is_estimated_on_a_known_gpu():
    gpu = Gpu(index=0, name="NVIDIA H100 80GB HBM3", pci_device_id="2330:10de")
    (profile,) = [p for p in PROFILES if p.description == "vllm-bf16-tp2-pp1"]
    figure = estimate_on_gpus(SHAPE, profile, gpu, ONE_AT_A_TIME)
    assert figure.origin == "roofline" and "H100" in figure.source
    assert 0.0025 < figure.inter_token_latency_s < 0.006


@pytest.mark.parametrize(
    ("gpu", "reason"),
    [
        (Gpu(index=0, name="NVIDIA Quark 1"), "NVIDIA Quark 1"),
        (Gpu(index=0), "this GPU"),
        (Gpu(index=0, name="NVIDIA H100 80GB HBM3", mig_enabled=True), "MIG"),
    ],
)
def test_a_profile_on_unknown_rates_says_why_it_is_not_estimated(gpu, reason):
    figure = estimate_on_gpus(SHAPE, PROFILES[0], gpu, MANY_AT_ONCE)
    assert figure.origin == "unknown" and reason in figure.source
    assert figure.tokens_per_second is None


def test_a_measured_cpu_foretells_four_requests_at_once():
    """SmolLM2 Q4_1 with llama.cpp on two busy cores: 532 tokens in, 100 out, measured by bench."""
    alone = Traffic(prompt_tokens=532, output_tokens=100, concurrency=1)
    measured = make_figure(alone, first_s=2.906, between_s=0.0234, rate=19.2)
    cpu = calibrate_device(measured, SMOLLM2, weight_bytes=SMOLLM2_BYTES, name="this CPU")
    for concurrency, tokens_s in ((1, 19.2), (2, 28.7), (4, 33.5)):
        traffic = replace(alone, concurrency=concurrency)
        again = estimate(SMOLLM2, traffic, weight_bytes=SMOLLM2_BYTES, device=cpu)
        assert again.tokens_per_second == pytest.approx(tokens_s, rel=0.2)


TWO_CORES = Host(
    system="Linux",
    architecture="x86_64",
    cpu_features=("avx", "avx2"),
    memory_bandwidth_bytes_s=15.8e9,
)
SMALL = replace(PROFILES[0], engine="llama.cpp", artifact=replace(BF16, weight_bytes=SMOLLM2_BYTES))


def test_a_cpu_whose_memory_was_measured_foretells_a_small_model():
    """SmolLM2 Q4_1 with llama.cpp on this CPU when nothing else ran: 62 to 75 tokens a second."""
    short = Traffic(prompt_tokens=128, output_tokens=128, concurrency=1)
    figure = estimate_on_cpu(SMOLLM2, SMALL, TWO_CORES, 2, short)
    assert 55 < 1 / figure.inter_token_latency_s < 85
    assert figure.origin == "roofline" and "x86_64" in figure.source
    full = replace(SMALL, artifact=BF16)
    slower = estimate_on_cpu(SMOLLM2, full, TWO_CORES, 2, short)
    assert slower.inter_token_latency_s > figure.inter_token_latency_s


def test_a_cpu_under_load_is_estimated_for_what_a_measurement_must_have_had():
    figure = estimate_on_cpu(SMOLLM2, SMALL, TWO_CORES, 2, MANY_AT_ONCE)
    assert figure.traffic.concurrency == 8 and figure.tokens_per_second


def test_without_a_known_instruction_set_only_the_time_between_tokens_is_told():
    plain = replace(TWO_CORES, cpu_features=())
    figure = estimate_on_cpu(SMOLLM2, SMALL, plain, 2, ONE_AT_A_TIME)
    assert figure.inter_token_latency_s and figure.time_to_first_token_s is None


@pytest.mark.parametrize(
    ("host", "engine"),
    [
        (replace(TWO_CORES, memory_bandwidth_bytes_s=None), "llama.cpp"),
        (TWO_CORES, "tensorrt_llm"),
    ],
)
def test_a_cpu_that_was_not_measured_says_so(host, engine):
    figure = estimate_on_cpu(SMOLLM2, replace(SMALL, engine=engine), host, 2, ONE_AT_A_TIME)
    assert figure.origin == "unknown" and figure.source
