"""Real vLLM without a GPU: installed by nimctl, served by nimctl, its cache predicted to the block.

Runs where `nimctl engines install vllm` has been run, or where TEST_WITH_VLLM=1 allows it.
"""

import json

import openai
import pytest
from e2e.vllm_on_cpu import EAGER, VllmServer

from nimctl.catalog import load_catalog
from nimctl.engines.vllm import count_cpu_cache_tokens

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

QUESTION = [{"role": "user", "content": "What is the capital of France? Answer in one word."}]
SHAPE = load_catalog().find("huggingfacetb/smollm2-135m-instruct").shape


@pytest.fixture(scope="module")
def vllm_environment(environment, vllm):
    return environment | {"NIMCTL_ENGINES_DIR": str(vllm.folder.parent)}


@pytest.fixture
def serve(vllm_environment, weights):
    servers = []

    def start(*arguments, **more):
        servers.append(VllmServer(vllm_environment | more, weights, *arguments))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def test_it_is_listed_and_works(nimctl, vllm):
    folder = {"NIMCTL_ENGINES_DIR": str(vllm.folder.parent)}
    listed = json.loads(nimctl("engines", "ls", "--json", **folder).stdout)["engines"]
    (line,) = [one for one in listed if one["name"] == "vllm"]
    assert line["version"] == vllm.version
    assert (line["devices"], line["used"]) == (["cpu"], True)
    checked = nimctl("engines", "check", "vllm", **folder)
    assert checked.returncode == 0, checked.stderr
    assert "works" in checked.stdout


def test_it_answers_as_planned(serve, nimctl, weights, vllm_environment):
    size = ("--context-length", "2048", "--concurrency", "4")
    server = serve(*size, *EAGER).wait_until_ready()
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0) as client:
        asked = {"model": client.models.list().data[0].id, "max_tokens": 24, "temperature": 0}
        answer = client.chat.completions.create(messages=QUESTION, **asked)
        assert "Paris" in answer.choices[0].message.content
        stream = client.chat.completions.create(messages=QUESTION, stream=True, **asked)
        parts = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
    assert "".join(parts) == answer.choices[0].message.content
    # 4 sequences of 2,048 tokens are 64 blocks of 128, and vLLM keeps one empty.
    assert server.read_printed_tokens() == 65 * 128
    shown = nimctl("select", str(weights), "--engine", "vllm", *size, "--json", **vllm_environment)
    memory = json.loads(shown.stdout)["profiles"][0]["plan"]["memory_per_device"]
    held_bytes = server.count_memory_bytes()
    assert memory["needed_low_bytes"] < held_bytes < memory["needed_high_bytes"]
    assert server.phases[-5:] == ["starting", "loading", "allocating", "warming", "ready"]
    told = server.memory
    assert told["needed"]["actual_bytes"] == pytest.approx(held_bytes, rel=0.1)
    # It prints hundredths of a GiB.
    assert abs(told["kv_cache"]["actual_bytes"] - told["kv_cache"]["predicted_bytes"]) < 2**30 / 100


@pytest.mark.parametrize(
    ("context", "engine_args", "variables", "cache_bytes", "block_tokens"),
    [
        (1000, ("--block-size", "64"), {}, None, 64),
        (4096, ("--block-size", "32", "--kv-cache-memory-bytes", "300000000"), {}, 300_000_000, 32),
        (2048, (), {"VLLM_CPU_KVCACHE_SPACE": "1"}, 2**30, 128),
    ],
)
def test_the_cache_is_predicted_to_the_block(
    serve, context, engine_args, variables, cache_bytes, block_tokens
):
    server = serve("--context-length", str(context), *EAGER, *engine_args, **variables)
    if cache_bytes is None:  # as nimctl asks for it: whole blocks of 128 tokens, and one more
        cache_bytes = (-(-context // 128) + 1) * 128 * 23_040
    predicted = count_cpu_cache_tokens(
        SHAPE, cache_bytes, context_length=context, block_tokens=block_tokens
    )
    assert server.read_printed_tokens() == predicted
    assert predicted >= context
