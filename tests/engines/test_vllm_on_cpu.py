"""vLLM's build for CPUs: where it may run, its command line, and the size of its cache."""

import re
from pathlib import PurePosixPath

import pytest
from core_cases import PROFILES, make_gpu, make_hardware, make_manifest

from nimctl.catalog import load_catalog
from nimctl.core.engine import InstalledEngine
from nimctl.core.plan import EngineAddress, Site
from nimctl.core.selection import require_choice, select
from nimctl.core.wish import Wish
from nimctl.engines import ENGINES, TRAITS
from nimctl.engines.vllm import count_cpu_cache_bytes, count_cpu_cache_tokens
from nimctl.errors import NothingFitsError

FOR_CPUS = InstalledEngine(
    name="vllm", version="0.32.0+cpu", origin="test", program=("vllm",), devices=("cpu",)
)
SMOLLM2 = load_catalog().find("huggingfacetb/smollm2-135m-instruct")


def choose(*gpus, manifest=SMOLLM2, **wish):
    wished = Wish(engine="vllm", **wish)
    installed = (FOR_CPUS,)
    judged = select(manifest, make_hardware(*gpus), wished, engines=TRAITS, installed=installed)
    return require_choice(judged).plan


def make_launch(plan):
    site = Site(
        program=FOR_CPUS.program,
        weights_dir=PurePosixPath("/cache/model"),
        address=EngineAddress(uds="/run/nimctl/engine.sock"),
        served_names=("smollm2",),
        state_dir=PurePosixPath("/run/nimctl"),
    )
    return ENGINES["vllm"].launch(plan, site)


def test_it_runs_on_the_cpu_with_a_cache_of_whole_blocks_and_one_more():
    launch = make_launch(choose(context_length=2048, concurrency=2))
    assert " ".join(launch.argv) == (
        "vllm serve /cache/model --served-model-name smollm2 --max-model-len 2048 "
        "--tensor-parallel-size 1 --pipeline-parallel-size 1 "
        f"--kv-cache-memory-bytes {33 * 128 * 23_040} --dtype bfloat16 "
        "--disable-uvicorn-access-log --max-num-seqs 2 --uds /run/nimctl/engine.sock"
    )
    assert "CUDA_VISIBLE_DEVICES" not in launch.env
    assert launch.env["VLLM_USE_AOT_COMPILE"] == "0"  # what it keeps of that it cannot load


def test_it_stays_on_the_cpu_beside_a_gpu():
    assert choose(make_gpu(), context_length=2048, allow_cpu=True).device == "cpu"


def test_beside_a_gpu_the_cpu_has_to_be_asked_for():
    with pytest.raises(NothingFitsError, match="would run it on the CPU") as error:
        choose(make_gpu())
    assert error.value.hint == "--allow-cpu lets it"
    assert choose(make_gpu(), profile="vllm-bf16-tp1-pp1").device == "cpu"


def test_what_needs_several_gpus_does_not_run_on_it():
    with pytest.raises(NothingFitsError, match="it needs 2 GPUs, there is none"):
        choose(manifest=make_manifest(PROFILES), tensor_parallel=2)


def test_a_memory_node_that_is_too_small_is_recognised():
    printed = (  # by vLLM 0.32.0 on a machine with two nodes of 12 GiB
        "ValueError: Available memory on node 0 (10.33/12.34 GiB) on kv cache allocation is less "
        "than requested memory for kv (18.63 GiB). Decrease --kv-cache-memory-bytes, "
        "VLLM_CPU_KVCACHE_SPACE, or reduce CPU memory used by other processes."
    )
    symptoms = make_launch(choose(context_length=2048)).symptoms
    first = next(one for one in symptoms if re.search(one.pattern, printed))
    assert first.code == "ram-not-free"


@pytest.mark.parametrize("context", [128, 1000, 2048, 8191])
def test_the_cache_always_holds_the_context(context):
    plan = choose(context_length=context)
    asked_bytes = count_cpu_cache_bytes(plan)
    held = count_cpu_cache_tokens(SMOLLM2.shape, asked_bytes, context_length=context)
    assert context < held <= 2 * context + 128


@pytest.mark.parametrize(
    ("cache_bytes", "context", "block", "printed"),
    [
        # What vLLM 0.32.0 printed for SmolLM2 in 16 bits.
        (2 * 2**30, 2048, 128, 93_184),
        (188_743_680, 2048, 128, 8_192),
        (8_847_360, 256, 128, 384),
        (26_542_080, 1000, 64, 1_125),
    ],
)
def test_the_tokens_are_those_that_vllm_printed(cache_bytes, context, block, printed):
    predicted = count_cpu_cache_tokens(
        SMOLLM2.shape, cache_bytes, context_length=context, block_tokens=block
    )
    assert predicted == printed
