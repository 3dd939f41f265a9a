"""Benches as they would be kept: of a small model on one CPU, with two engines."""

from dataclasses import replace

from core_cases import BF16, Q4, make_hardware, make_manifest, make_profile

from nimctl.core.engine import InstalledEngine
from nimctl.core.manifest import KvLayers, Shape
from nimctl.core.percentiles import Percentiles
from nimctl.core.selection import select
from nimctl.core.wish import Wish
from nimctl.engines import TRAITS
from nimctl.evidence.measured import BenchRecord, MemoryRecord, StartRecord, make_subject

SMOLLM2 = Shape(
    architecture="LlamaForCausalLM",
    parameters=134_515_008,
    hidden_size=576,
    attention_heads=9,
    vocab_size=49_152,
    max_context_length=8192,
    kv=(KvLayers(layers=30, kv_heads=3, head_dim=64),),
)
LLAMA_CPP = make_profile(
    engine="llama.cpp", precision="q4_1", artifact=replace(Q4, weight_bytes=98_000_000)
)
SMALLER = make_profile(
    engine="llama.cpp", precision="q4_0", artifact=replace(Q4, weight_bytes=60_000_000)
)
VLLM = make_profile(
    engine="vllm", precision="bf16", artifact=replace(BF16, weight_bytes=269_000_000)
)
MANIFEST = make_manifest((LLAMA_CPP, VLLM), shape=SMOLLM2)
CPU = make_hardware(cores=2)
ENGINES = tuple(
    InstalledEngine(name=name, version="1.0", origin="test", program=(name,), devices=("cpu",))
    for name in ("llama.cpp", "vllm")
)
# vLLM's build for CPUs, which takes its memory there as llama.cpp does.
BOTH_ON_CPU = {
    **TRAITS,
    "vllm": replace(
        TRAITS["vllm"],
        devices=("gpu", "cpu"),
        memory_on_cpu=TRAITS["llama.cpp"].memory_on_cpu,
    ),
}


def judge(wish=None, *, manifest=MANIFEST, hardware=CPU, engines=ENGINES):
    return select(manifest, hardware, wish or Wish(), engines=BOTH_ON_CPU, installed=engines)


def make_percentiles(middle, unit="ms"):
    return Percentiles(
        unit=unit, count=10, avg=middle, min=middle, max=middle, p50=middle, p90=middle,
        p95=middle, p99=middle,
    )  # fmt: skip


def make_bench(profile=LLAMA_CPP, *, concurrency=1, rate=62.5, hardware=CPU, id=0, **changes):
    """A bench of `rate` tokens a second in all, with 100 tokens in and out."""
    manifest = make_manifest((profile,), shape=SMOLLM2)
    (verdict,) = judge(manifest=manifest, hardware=hardware).verdicts
    subject = make_subject(
        verdict.plan,
        hardware,
        engine_version=changes.pop("engine_version", "1.0"),
        at_unix_s=1_795_000_000.0,
        nimctl_version="0.1.0",
    )
    for name in ("kv_precision", "model"):
        if name in changes:
            subject = replace(subject, **{name: changes.pop(name)})
    values = {"prompt_tokens": 100, "output_tokens": 100, **changes}
    return BenchRecord(
        id=id,
        subject=subject,
        concurrency=concurrency,
        requests=10,
        duration_s=16.0,
        tokens_per_second=rate,
        time_to_first_token=make_percentiles(50.0 * concurrency),
        inter_token_latency=make_percentiles(1000 * concurrency / rate),
        user_tokens_per_second=make_percentiles(rate / concurrency, "tokens/sec/user"),
        **values,
    )


def make_start(*, at_unix_s=1_795_000_000.0, held_mib=181, **changes):
    """A start of 10 s, and what its engine held of the 180 MiB that were predicted."""
    phases_s = changes.pop("phases_s", {"starting": 1.0, "loading": 8.0, "warming": 1.0})
    subject = replace(make_bench().subject, at_unix_s=at_unix_s, **changes)
    memory = MemoryRecord(
        subject=subject,
        part="needed",
        predicted_bytes=180 * 2**20,
        actual_bytes=held_mib * 2**20,
    )
    return StartRecord(subject=subject, phases_s=phases_s), memory
