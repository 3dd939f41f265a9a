"""What a real bench measures is kept, and from then on chooses; nothing else of it is kept."""

import json

import pytest

from nimctl.bench.prompts import make_prompt

MODEL = "huggingfacetb/smollm2-135m-instruct"

pytestmark = pytest.mark.slow


@pytest.fixture
def bench(nimctl, downloaded, tmp_path):
    """`nimctl bench` and other commands with an evidence file of their own."""

    def run(*arguments, **more):
        result = nimctl(*arguments, timeout=300, XDG_DATA_HOME=str(tmp_path), **more)
        assert result.returncode == 0, result.stderr
        return result

    return run


@pytest.mark.timeout(300)
def test_a_bench_is_measured_here_for_its_goal_and_no_other(bench, tmp_path):
    load = ("-n", "2", "--output-tokens", "24", "--ignore-eos", "--seed", "7")
    told = bench("bench", MODEL, *load)
    assert "kept as bench 1; it counts for latency" in told.stderr
    bench("bench", MODEL, "-c", "8", "-n", "8", "--output-tokens", "24", "--seed", "7")

    speeds = {}
    for goal in ("latency", "throughput"):
        document = json.loads(bench("select", MODEL, "--goal", goal, "--json").stdout)
        speeds[goal] = document["profiles"][0]["speed"]
    kept = json.loads(bench("evidence", "ls", "--json").stdout)["benches"]
    assert [(one["id"], one["concurrency"]) for one in kept] == [(2, 8), (1, 1)]
    assert {speed["origin"] for speed in speeds.values()} == {"measured here"}
    many, alone = kept
    assert speeds["latency"]["inter_token_latency_s"] == pytest.approx(
        alone["inter_token_latency"]["p50"] / 1000
    )
    assert speeds["throughput"]["tokens_per_second"] == many["tokens_per_second"]
    assert alone["profile_id"] == document["chosen"]
    assert alone["engine_version"] == document["engine"]["version"]

    content = (tmp_path / "nimctl" / "evidence.db").read_text("latin-1")
    prompts = [make_prompt(seed=7, index=index, words=128) for index in range(8)]
    assert not any(" ".join(prompt.split()[:3]) in content for prompt in prompts)
    assert "127.0.0.1" not in content


def test_a_bench_with_own_engine_arguments_is_no_evidence(bench):
    load = ("-n", "1", "--output-tokens", "8")
    told = bench("bench", MODEL, *load, NIMCTL_ENGINE_ARGS="--threads 1")
    assert "not kept as evidence: own engine arguments were set" in told.stderr
    assert "nothing was measured yet" in bench("evidence", "ls").stdout
