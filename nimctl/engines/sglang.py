"""SGLang: published safetensors on NVIDIA GPUs, through `sglang serve`.

Options, parsers, routes, fields and figures: the wheel of 0.5.23 (`srt/arg_groups/fields/*.py`,
`entrypoints/http_server.py`, `entrypoints/openai/protocol.py`, `observability/
metrics_collector.py`). Its share of the memory (`--mem-fraction-static`) is of what is free at the
start and holds weights and cache only (`kv_pool_runtime.py`).
"""

from nimctl.core.engine import Engine, EngineTraits, PrecisionSupport
from nimctl.core.engine_options import NO_PARSER, EngineOptions, OptionRule, Written
from nimctl.core.launch_arguments import Argument, Spelling
from nimctl.core.memory import (
    BudgetRule,
    MemoryTraits,
    count_memory_share,
)
from nimctl.core.placement import allow_share
from nimctl.core.plan import Launch, Plan, Site
from nimctl.core.request_fields import FieldRule, refused, same
from nimctl.core.surface import EngineRoute, EngineSurface, FigureSource
from nimctl.core.symptom import Symptom
from nimctl.core.units import MIB
from nimctl.engines import on_torch
from nimctl.engines.guided import NO_TEMPLATE, TEMPLATE_FIELDS, choice_as_grammar
from nimctl.engines.option_rules import switched, told_elsewhere, valued
from nimctl.engines.sglang_log import SIGNS
from nimctl.engines.writing import (
    always,
    listen,
    make_launch,
    offline_environment,
    planned,
    write_options,
)

_GUESSED_TOKENS = 4
_DTYPES = {"bf16": "bfloat16", "fp16": "float16"}
_KV_DTYPES = {"fp8": "fp8_e4m3"}


def _parse_with(option: str, name: str) -> OptionRule:
    def write(parser: str, _: EngineOptions) -> Written:
        return Written(words=() if parser == NO_PARSER else ((option, parser),))

    return OptionRule(name=name, write=write)


def _speculate(method: str, options: EngineOptions) -> Written:
    if method == "mtp":
        words = [("--speculative-algorithm", "NEXTN")]
    elif method == "ngram":
        words = [("--speculative-algorithm", "NGRAM")]
    else:
        words = [
            ("--speculative-algorithm", "STANDALONE"),
            ("--speculative-draft-model-path", method),
        ]
    guessed = options.speculative_tokens or _GUESSED_TOKENS
    return Written(words=(*words, ("--speculative-num-draft-tokens", str(guessed))))


def _chunk(value: bool, _: EngineOptions) -> Written:
    return Written(words=() if value else (("--chunked-prefill-size", "-1"),))


OPTIONS = (
    _parse_with("--tool-call-parser", "tool_parser"),
    _parse_with("--reasoning-parser", "reasoning_parser"),
    valued("chat_template", "--chat-template"),
    OptionRule(
        name="prefix_caching",
        write=lambda value, _: Written(words=() if value else (("--disable-radix-cache",),)),
    ),
    OptionRule(name="chunked_prefill", write=_chunk),
    valued("structured_output_backend", "--grammar-backend"),
    OptionRule(name="speculative", write=_speculate),
    told_elsewhere("speculative_tokens", needs="speculative"),
    valued("seed", "--random-seed"),
    switched("trust_remote_code", "--trust-remote-code"),
    valued("max_lora_rank", "--max-lora-rank"),
    valued("max_loras", "--max-loras-per-batch"),
    valued("max_cpu_loras", "--max-loaded-loras"),
)

SPELLING = Spelling(
    aliases={
        "--model": "--model-path",
        "--tensor-parallel-size": "--tp-size",
        "--pipeline-parallel-size": "--pp-size",
        "--speculative-draft-model": "--speculative-draft-model-path",
    }
)

TRAITS = EngineTraits(
    name="sglang",
    title="SGLang",
    formats=("safetensors",),
    devices=("gpu",),
    precisions=(
        PrecisionSupport(precision="bf16", compute_capability=(8, 0)),
        PrecisionSupport(precision="fp16", compute_capability=(7, 5)),
        PrecisionSupport(precision="fp8", compute_capability=(8, 9)),
        PrecisionSupport(precision="nvfp4", compute_capability=(10, 0)),
        PrecisionSupport(precision="mxfp4", compute_capability=(9, 0)),
        PrecisionSupport(precision="int4", compute_capability=(8, 0)),
    ),
    driver_major=580,  # its wheel asks for CUDA 13
    memory=MemoryTraits(
        rule=BudgetRule.SHARE_OF_TOTAL,
        share=0.9,
        margin_bytes=256 * MIB,
        batch_tokens=8192,
        activations=on_torch.ACTIVATIONS,
        kv_precisions=on_torch.KV_PRECISIONS,
        graph_bytes=on_torch.GRAPH_BYTES,
        context_bytes=450 * MIB,
        lora_bytes=on_torch.LORA_BYTES,
        window_spare=(),
    ),
    install_hint="nimctl engines install sglang",
    compile_caches=on_torch.COMPILE_CACHES,
    listens_on_sockets=False,
    runs_eagerly=True,
    options=OPTIONS,
)

_SAMPLING = (
    *same("top_k", "min_p", "repetition_penalty", "ignore_eos", "stop_token_ids"),
    FieldRule(
        name="guided_json",
        place=("response_format",),
        convert=lambda value: {
            "type": "json_schema",
            "json_schema": {"name": "guided_json", "schema": value},
        },
    ),
    FieldRule(name="guided_regex", place=("regex",)),
    FieldRule(name="guided_grammar", place=("ebnf",)),
    FieldRule(name="guided_choice", place=("ebnf",), convert=choice_as_grammar),
    *refused("it is chosen for all requests, when SGLang starts", "guided_decoding_backend"),
    *refused("its grammars choose the spaces in JSON", "guided_whitespace_pattern"),
    *refused("it has no such limit", "max_thinking_tokens"),
)

SURFACE = EngineSurface(
    title="SGLang",
    sequences_options=("--max-running-requests",),
    routes=(
        EngineRoute(
            path="/v1/chat/completions",
            fields=(
                *_SAMPLING,
                *refused("it takes none from a request unless it is told to", *TEMPLATE_FIELDS),
            ),
        ),
        EngineRoute(path="/v1/completions", fields=(*_SAMPLING, *NO_TEMPLATE)),
        EngineRoute(path="/v1/responses"),
        EngineRoute(path="/v1/responses/{id}"),
        EngineRoute(path="/v1/responses/{id}/cancel"),
        EngineRoute(path="/v1/messages"),
        EngineRoute(path="/v1/messages/count_tokens"),
    ),
    figures=(
        FigureSource(name="num_requests_running", families=("sglang:num_running_reqs",)),
        FigureSource(name="num_requests_waiting", families=("sglang:num_queue_reqs",)),
        FigureSource(name="gpu_cache_usage_perc", families=("sglang:token_usage",)),
        FigureSource(name="prompt_tokens_total", families=("sglang:prompt_tokens_total",)),
        FigureSource(name="generation_tokens_total", families=("sglang:generation_tokens_total",)),
        FigureSource(
            name="time_to_first_token_seconds", families=("sglang:time_to_first_token_seconds",)
        ),
        FigureSource(
            name="time_per_output_token_seconds", families=("sglang:inter_token_latency_seconds",)
        ),
        FigureSource(
            name="e2e_request_latency_seconds", families=("sglang:e2e_request_latency_seconds",)
        ),
    ),
)

SYMPTOMS = (
    Symptom(
        code="out-of-memory",
        pattern=r"CUDA out of memory|torch\.OutOfMemoryError|Not enough memory\. Please try to",
        cause="the GPU ran out of memory while the model was loading",
        hint="use a smaller --context-length, another --precision, or more GPUs",
    ),
    Symptom(
        code="unknown-argument",
        pattern=r"error: unrecognized arguments: (?P<detail>.+)",
        cause="SGLang does not know an argument it was given",
        hint="check the arguments after `--`; `nimctl select` prints the whole command",
    ),
    Symptom(
        code="unknown-architecture",
        pattern=r"Model architectures \[(?P<detail>[^\]]+)\] are not supported",
        cause="this SGLang version does not know the model's architecture",
        hint="use --engine vllm",
    ),
)


def launch(plan: Plan, site: Site) -> Launch:
    """The `sglang serve` process for a plan; it listens on loopback, as it knows no unix socket."""
    profile, written = plan.profile, write_options(TRAITS, plan, site)
    arguments = [
        always("serve"),
        always("--model-path", site.weights_dir),
        always("--served-model-name", site.served_names[0], setting="served_model_names"),
        planned("--context-length", plan.context_length, setting="context_length"),
        planned("--tp-size", profile.tensor_parallel, setting="tensor_parallel"),
        planned("--pp-size", profile.pipeline_parallel),
        planned(
            "--mem-fraction-static", f"{_count_static_share(plan):.2f}", setting="memory_share"
        ),
        planned("--dtype", _DTYPES.get(profile.precision, "auto"), setting="precision"),
        always("--enable-metrics"),
    ]
    if plan.kv_precision:
        dtype = _KV_DTYPES.get(plan.kv_precision, plan.kv_precision)
        arguments.append(planned("--kv-cache-dtype", dtype, setting="kv_precision"))
    if plan.sequences > 1:
        arguments.append(planned("--max-running-requests", plan.sequences, setting="concurrency"))
    if plan.eager:
        arguments.append(planned("--disable-cuda-graph"))
    if profile.lora:
        arguments += _serve_adapters(site)
    return make_launch(
        site,
        (*arguments, *written.arguments, *listen(site)),
        spelling=SPELLING,
        symptoms=SYMPTOMS,
        signs=SIGNS,
        env={**plan.gpu_environment, **offline_environment(), **written.env},
    )


def _count_static_share(plan: Plan) -> float:
    """The share of the free memory that weights and cache may take: the rest stays for the run."""
    budget = plan.budget
    memory = allow_share(TRAITS, plan.memory_share).memory
    share = count_memory_share(memory, free_bytes=plan.free_bytes, total_bytes=plan.total_bytes)
    running_bytes = budget.activations + budget.graphs + budget.communication + budget.context
    static_bytes = share * plan.total_bytes - running_bytes
    return int(static_bytes / max(plan.free_bytes, 1) * 100) / 100


def _serve_adapters(site: Site) -> tuple[Argument, ...]:
    enabled = always("--enable-lora")
    if not site.adapters:
        return (enabled,)
    paths = (f"{one.name}={one.path}" for one in site.adapters)
    return (enabled, planned("--lora-paths", *paths, setting="lora_adapters"))


ENGINE = Engine(traits=TRAITS, surface=SURFACE, launch=launch)
