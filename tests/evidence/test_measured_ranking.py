"""Measured speeds in the ranking: which count, what they outrank, and what they tell of others."""

from dataclasses import replace

import pytest
from bench_cases import (
    CPU,
    ENGINES,
    LLAMA_CPP,
    MANIFEST,
    SMALLER,
    SMOLLM2,
    VLLM,
    judge,
    make_bench,
)
from core_cases import ALL_ENGINES, FP8, make_gpu, make_hardware, make_manifest, make_profile

from nimctl.core.selection import select
from nimctl.core.speed import MANY_AT_ONCE, SpeedFigure, format_speed
from nimctl.core.verdict import decided_by
from nimctl.core.wish import Wish
from nimctl.engines import TRAITS
from nimctl.evidence.measured import fingerprint_machine, make_subject, rank_measured

VERSIONS = {engine.name: engine.version for engine in ENGINES}
# SmolLM2 on two cores, 100 tokens a request: tokens a second of 1 and of 8 requests at once.
ON_TWO_CORES = (
    make_bench(LLAMA_CPP, concurrency=1, rate=62.5, id=1),
    make_bench(LLAMA_CPP, concurrency=8, rate=156, id=2),
    make_bench(VLLM, concurrency=1, rate=25, id=3),
    make_bench(VLLM, concurrency=8, rate=179, id=4),
)


def rank(benches, wish=None, *, manifest=MANIFEST, hardware=CPU, versions=VERSIONS):
    selection = judge(wish, manifest=manifest, hardware=hardware)
    return rank_measured(selection, manifest, hardware, versions, benches)


def find(selection, profile):
    return next(v for v in selection.verdicts if v.profile.id == profile.id)


@pytest.mark.parametrize(
    ("goal", "engine"), [("latency", "llama.cpp"), (None, "llama.cpp"), ("throughput", "vllm")]
)
def test_the_best_engine_for_each_goal_is_found_by_measuring(goal, engine):
    selection = rank(ON_TWO_CORES, Wish(goal=goal))
    assert selection.chosen.profile.engine == engine
    assert selection.chosen.speed.origin == "measured here"
    decision = decided_by(selection.chosen, selection.runner_up)
    assert decision.field == "speed"
    assert decision.sentence.count("(measured here)") == 2


def test_without_measurements_nothing_changes():
    assert rank(()) == judge()
    assert rank([make_bench(SMALLER)]) == judge()


@pytest.mark.parametrize(
    ("changes", "counts"),
    [
        ({}, ("latency",)),
        ({"concurrency": 2}, ()),
        ({"concurrency": 8}, ("throughput",)),
        ({"concurrency": 64}, ("throughput",)),
        ({"prompt_tokens": 99}, ()),
        ({"prompt_tokens": 10_001}, ()),
        ({"output_tokens": 19}, ()),
        ({"kv_precision": "q8_0"}, ()),
        ({"hardware": make_hardware(cores=4)}, ()),
    ],
)
def test_a_bench_counts_only_for_what_it_is_like(changes, counts):
    for goal in ("latency", "throughput"):
        speed = find(rank([make_bench(**changes)], Wish(goal=goal)), LLAMA_CPP).speed
        assert (speed.origin == "measured here") == (goal in counts)


def test_on_another_machine_of_the_kind_it_was_measured_elsewhere():
    other = replace(CPU, driver_version="550.1")
    assert fingerprint_machine(other) != fingerprint_machine(CPU)
    theirs, mine = make_bench(hardware=other, rate=90.0), make_bench(rate=50.0)
    assert find(rank([theirs]), LLAMA_CPP).speed.origin == "measured elsewhere"
    speed = find(rank([theirs, mine]), LLAMA_CPP).speed
    assert (speed.origin, speed.tokens_per_second) == ("measured here", 50.0)


def test_another_version_of_the_engine_counts_after_this_one_and_is_named():
    old = make_bench(engine_version="0.9", rate=90.0)
    speed = find(rank([old]), LLAMA_CPP).speed
    assert speed.origin == "measured here"
    assert format_speed(speed).endswith("(measured here, with llama.cpp 0.9, now 1.0)")
    assert find(rank([old, make_bench()]), LLAMA_CPP).speed.tokens_per_second == 62.5


def test_the_newest_counts_and_of_several_loads_the_one_with_the_most_tokens():
    newest, older = make_bench(rate=40.0), make_bench(rate=80.0)
    assert find(rank([newest, older]), LLAMA_CPP).speed.tokens_per_second == 40.0
    loads = [make_bench(concurrency=8, rate=150.0), make_bench(concurrency=16, rate=190.0)]
    speed = find(rank(loads, Wish(goal="throughput")), LLAMA_CPP).speed
    assert (speed.traffic.concurrency, speed.tokens_per_second) == (16, 190.0)


def test_longer_prompts_are_allowed_for():
    short, long = make_bench(), make_bench(VLLM, rate=62.5, prompt_tokens=1000)
    (first, second) = rank([short, long]).verdicts
    assert (first.profile, second.profile) == (VLLM, LLAMA_CPP)


def test_what_was_not_measured_is_told_from_what_was():
    manifest = make_manifest((LLAMA_CPP, SMALLER, VLLM), shape=SMOLLM2)
    for goal in ("latency", "throughput"):
        selection = rank([make_bench()], Wish(goal=goal), manifest=manifest)
        speed = find(selection, SMALLER).speed
        assert speed.origin == "roofline"
        assert speed.source.endswith("as measured with llama.cpp-q4_1-tp1-pp1")
        # fewer bytes are read sooner, so it must not stand behind for want of a figure
        assert selection.chosen.profile == SMALLER


def test_what_a_cpu_reached_outranks_what_its_memory_promises():
    host = replace(CPU.host, memory_bandwidth_bytes_s=15.8e9, cpu_features=("avx2",))
    hardware = replace(CPU, host=host)
    manifest = make_manifest((LLAMA_CPP, SMALLER, VLLM), shape=SMOLLM2)
    before = find(judge(manifest=manifest, hardware=hardware), SMALLER).speed
    after = find(rank([make_bench()], manifest=manifest, hardware=hardware), SMALLER).speed
    assert before.origin == after.origin == "roofline"
    assert "as measured with" in after.source and "as measured with" not in before.source


def test_a_measured_speed_outranks_a_predicted_one_on_a_gpu():
    profile = make_profile(engine="vllm", precision="fp8", artifact=FP8)
    manifest = make_manifest((profile,))
    machine = make_hardware(make_gpu(), make_gpu(1))

    def predict(shape, profile, gpu, traffic):
        return SpeedFigure(
            traffic=traffic,
            time_to_first_token_s=0.1,
            inter_token_latency_s=0.016,
            tokens_per_second=3939.0,
            origin="predicted",
            source="test",
        )

    def ranked(bench, goal):
        selection = select(
            manifest,
            machine,
            Wish(goal=goal),
            engines=TRAITS,
            installed=ALL_ENGINES,
            forecast=predict,
        )
        subject = make_subject(
            selection.verdicts[0].plan,
            machine,
            engine_version="0.11",
            at_unix_s=0.0,
            nimctl_version="0.1.0",
        )
        benches = [replace(bench, subject=subject)]
        versions = {engine.name: engine.version for engine in ALL_ENGINES}
        ((verdict),) = rank_measured(selection, manifest, machine, versions, benches).verdicts
        return verdict.speed

    many = make_bench(concurrency=32, rate=3000.0, prompt_tokens=1000, output_tokens=200)
    assert ranked(many, "throughput").tokens_per_second == 3000.0
    assert ranked(many, "latency").origin == "predicted"
    few = make_bench(concurrency=8, rate=900.0, prompt_tokens=1000, output_tokens=200)
    assert ranked(few, "throughput").traffic == MANY_AT_ONCE


def test_a_fingerprint_knows_kinds_and_not_single_devices():
    def machine(*gpus, **changes):
        return fingerprint_machine(replace(make_hardware(*gpus), **changes))

    two = machine(make_gpu(0), make_gpu(1))
    assert two == machine(make_gpu(2, free_gib=3), make_gpu(7))
    assert len({two, machine(make_gpu(0)), machine(make_gpu(0, name="A"), make_gpu(1))}) == 3
    assert two != machine(make_gpu(0), make_gpu(1), driver_version="570.1")
