"""TensorRT-LLM: published safetensors on NVIDIA data-centre GPUs, through `trtllm-serve`.

Options: the `trtllm-serve` page of the TensorRT-LLM 1.0 and 1.1 documentation. The memory fraction
and the LoRA settings go into the options file (`--extra_llm_api_options`), whose keys are those of
`tensorrt_llm.llmapi.LlmArgs`. Builds: `WHEEL_ARCHS` of TensorRT-LLM's jenkins/Build.groovy and the
"Installing on Linux via pip" pages of 1.0 to 1.2 (the wheels of 1.0 and 1.1 are of CUDA 12.9, those
of 1.2 of 13.1); B300 came with 1.1, DGX Spark (through the code for 12.0) as a beta with 1.2.
NVIDIA has no wheel for Jetson (its answer in issue 3344). Routes and fields:
`openai_server.py` and `openai_protocol.py` of tensorrt_llm/serve, which refuses unknown fields.
"""

from collections.abc import Iterator

from nimctl.core.engine import CompileCache, Engine, EngineBuild, EngineTraits, PrecisionSupport
from nimctl.core.engine_options import NO_PARSER, EngineOptions, OptionRule, Written
from nimctl.core.launch_arguments import PLAN, Argument, Spelling
from nimctl.core.memory import BudgetRule, MemoryTraits
from nimctl.core.placement import allow_share
from nimctl.core.plan import Launch, Plan, Site
from nimctl.core.request_fields import FieldRule, Version, refused, same
from nimctl.core.surface import EngineRoute, EngineSurface
from nimctl.core.units import MIB
from nimctl.engines import on_torch, symptoms
from nimctl.engines.guided import NO_TEMPLATE, TEMPLATE_FIELDS, choice_as_grammar
from nimctl.engines.option_rules import (
    entered,
    switched,
    told_elsewhere,
    unhonoured,
    valued,
)
from nimctl.engines.tensorrt_llm_log import SIGNS
from nimctl.engines.writing import (
    always,
    enter,
    make_launch,
    offline_environment,
    planned,
    write_options,
)

_NIMS_RANK = 32  # NIM's published default, where no adapter tells
ENGINE_FOLDER = "trtllm_engine"
"""Where NIM puts a built engine beside the tokenizer."""

_GUESSED_TOKENS = 4


_GRACE = ((9, 0), (10, 0), (12, 0))
_AMPERE_ON = ((8, 0), (8, 6), (8, 9), *_GRACE)
_BUILDS = (
    EngineBuild(since=(1, 0), cuda=(12, 9), x86_64=_AMPERE_ON, aarch64=_GRACE),
    EngineBuild(
        since=(1, 1), cuda=(12, 9), x86_64=(*_AMPERE_ON, (10, 3)), aarch64=(*_GRACE, (10, 3))
    ),
    EngineBuild(
        since=(1, 2), cuda=(13, 1), x86_64=(*_AMPERE_ON, (10, 3)), aarch64=(*_GRACE, (10, 3))
    ),
)


def _parse_with(option: str, name: str, since: Version = ()) -> OptionRule:
    def write(parser: str, _: EngineOptions) -> Written:
        return Written(words=() if parser == NO_PARSER else ((option, parser),))

    return OptionRule(name=name, write=write, since=since)


def _speculate(method: str, options: EngineOptions) -> Written:
    guessed = options.speculative_tokens or _GUESSED_TOKENS
    if method == "ngram":
        said = {"decoding_type": "NGram", "max_draft_len": guessed}
    elif method == "mtp":
        said = {"decoding_type": "MTP", "num_nextn_predict_layers": guessed}
    else:
        said = {
            "decoding_type": "DraftTarget",
            "max_draft_len": guessed,
            "speculative_model_dir": method,
        }
    return Written(entries={"speculative_config": said})


def _guide(backend: str, _: EngineOptions) -> Written:
    if backend not in ("xgrammar", "llguidance"):
        raise ValueError("it has xgrammar and llguidance")
    return Written(entries={"guided_decoding_backend": backend})


OPTIONS = (
    unhonoured("tool_parser", "up to version 1.1 it reads no tool calls"),
    _parse_with("--tool_parser", "tool_parser", since=(1, 2)),
    _parse_with("--reasoning_parser", "reasoning_parser"),
    unhonoured("chat_template", "up to version 1.1 it has the model's own only"),
    valued("chat_template", "--chat_template", since=(1, 2)),
    entered("prefix_caching", "kv_cache_config.enable_block_reuse"),
    entered("chunked_prefill", "enable_chunked_prefill"),
    OptionRule(name="structured_output_backend", write=_guide),
    OptionRule(name="speculative", write=_speculate),
    told_elsewhere("speculative_tokens", needs="speculative"),
    unhonoured("seed", "it takes one from each request only"),
    switched("trust_remote_code", "--trust_remote_code"),
    entered("max_lora_rank", "lora_config.max_lora_rank"),
    entered("max_loras", "lora_config.max_loras"),
    entered("max_cpu_loras", "lora_config.max_cpu_loras"),
)

SPELLING = Spelling(
    aliases={
        "--tensor_parallel_size": "--tp_size",
        "--pipeline_parallel_size": "--pp_size",
        "--config": "--extra_llm_api_options",
    },
    repeatable=("--custom_module_dirs",),
)

TRAITS = EngineTraits(
    name="tensorrt_llm",
    title="TensorRT-LLM",
    formats=("safetensors", "tensorrt_engine"),
    devices=("gpu",),
    precisions=(
        PrecisionSupport(precision="bf16", compute_capability=(8, 0)),
        PrecisionSupport(precision="fp16", compute_capability=(8, 0)),
        PrecisionSupport(precision="fp8", compute_capability=(8, 9)),
        PrecisionSupport(precision="nvfp4", compute_capability=(10, 0)),
        PrecisionSupport(precision="mxfp4", compute_capability=(9, 0)),
        PrecisionSupport(precision="int4", compute_capability=(8, 0)),
    ),
    scale_blocks=((9, 0), (10, 0), (10, 3)),  # its documentation's hardware matrix of precisions
    driver_major=525,
    builds=_BUILDS,
    memory=MemoryTraits(
        rule=BudgetRule.SHARE_OF_FREE,
        share=0.9,  # TensorRT-LLM's default free_gpu_memory_fraction
        margin_bytes=256 * MIB,
        batch_tokens=8192,
        activations=on_torch.ACTIVATIONS,
        kv_precisions=on_torch.KV_PRECISIONS,
        graph_bytes=on_torch.GRAPH_BYTES,
        context_bytes=600 * MIB,
        lora_bytes=on_torch.LORA_BYTES,
        window_spare=(),  # without KvCacheConfig.max_attention_window, all layers keep everything
    ),
    install_hint="pip install 'nimctl[tensorrt-llm]' "
    "(in an environment of its own: it pins another torch than vLLM)",
    compile_caches=(
        # It does not check what the file was tuned for, and tunes nothing where there is one.
        CompileCache(variable="TLLM_AUTOTUNER_CACHE_PATH", place="autotuner-{plan}.json"),
        *on_torch.COMPILE_CACHES,
    ),
    listens_on_sockets=False,
    runs_eagerly=True,
    options=OPTIONS,
)

_FORMAT = ("response_format",)
_SAMPLING = (
    *same("top_k", "min_p", "repetition_penalty", "ignore_eos", "stop_token_ids"),
    FieldRule(
        name="guided_json", place=_FORMAT, convert=lambda value: {"type": "json", "schema": value}
    ),
    FieldRule(
        name="guided_regex", place=_FORMAT, convert=lambda value: {"type": "regex", "regex": value}
    ),
    FieldRule(
        name="guided_grammar", place=_FORMAT, convert=lambda value: {"type": "ebnf", "ebnf": value}
    ),
    FieldRule(
        name="guided_choice",
        place=_FORMAT,
        convert=lambda value: {"type": "ebnf", "ebnf": choice_as_grammar(value)},
    ),
    *refused("it guides with xgrammar alone", "guided_decoding_backend"),
    *refused("xgrammar chooses the spaces in JSON itself", "guided_whitespace_pattern"),
    *refused("up to version 1.2 it has no such limit", "max_thinking_tokens"),
)

SURFACE = EngineSurface(
    title="TensorRT-LLM",
    sequences_options=("--max_batch_size",),
    routes=(
        EngineRoute(path="/v1/chat/completions", fields=(*_SAMPLING, *same(*TEMPLATE_FIELDS))),
        EngineRoute(path="/v1/completions", fields=(*_SAMPLING, *NO_TEMPLATE)),
        EngineRoute(path="/v1/responses", since=(1, 1)),
        EngineRoute(path="/v1/responses/{id}", since=(1, 2)),
    ),
    # Only with `return_perf_metrics`; its /metrics is a list of iterations in JSON.
    metrics_path="/prometheus/metrics/",
)


def launch(plan: Plan, site: Site) -> Launch:
    """The `trtllm-serve` process for a plan; it listens on loopback, as it knows no unix socket."""
    profile, written = plan.profile, write_options(TRAITS, plan, site)
    options = site.state_dir / "tensorrt_llm.yaml"
    is_built = profile.artifact.format == "tensorrt_engine"
    arguments = [
        always("serve", site.weights_dir / ENGINE_FOLDER if is_built else site.weights_dir),
        *((always("--tokenizer", site.weights_dir),) if is_built else ()),
        planned("--backend", "trt" if is_built else "pytorch"),
        always("--host", site.address.host),
        always("--port", site.address.port),
        planned("--tp_size", profile.tensor_parallel, setting="tensor_parallel"),
        planned("--pp_size", profile.pipeline_parallel),
        *(() if is_built else _list_sizes(plan)),
        always("--extra_llm_api_options", options),
    ]
    return make_launch(
        site,
        (*arguments, *written.arguments),
        spelling=SPELLING,
        symptoms=symptoms.TENSORRT_LLM,
        env={
            **plan.gpu_environment,
            **offline_environment("TRTLLM_NO_USAGE_STATS"),
            **written.env,
        },
        signs=SIGNS,
        options_file=options,
        entries=(*_list_entries(plan, site), *written.entries),
    )


def _list_sizes(plan: Plan) -> Iterator[Argument]:
    """What a checkpoint is given room for; a built engine has its sizes in it."""
    yield planned("--max_seq_len", plan.context_length, setting="context_length")
    yield planned("--max_num_tokens", TRAITS.memory.batch_tokens)
    if plan.sequences > 1:
        yield planned("--max_batch_size", plan.sequences, setting="concurrency")


def _list_entries(plan: Plan, site: Site) -> Iterator[Argument]:
    """The options file, before what was asked for."""
    share = allow_share(TRAITS, plan.memory_share).memory.share
    yield enter("kv_cache_config.free_gpu_memory_fraction", share, PLAN, "memory_share")
    if plan.kv_precision:
        yield enter("kv_cache_config.dtype", plan.kv_precision, PLAN, "kv_precision")
    yield enter("guided_decoding_backend", "xgrammar", setting="structured_output_backend")
    policy = "MAX_UTILIZATION" if plan.profile.goal == "throughput" else "GUARANTEED_NO_EVICT"
    yield enter("scheduler_config.capacity_scheduler_policy", policy, PLAN, "goal")
    if plan.eager:
        yield enter("cuda_graph_config", None, PLAN)
    if plan.profile.lora:
        ranks = [one.rank for one in site.adapters if one.rank]
        yield enter("lora_config.max_lora_rank", max(ranks, default=_NIMS_RANK), PLAN)
        if site.adapters:
            folders = [str(one.path) for one in site.adapters]
            yield enter("lora_config.lora_dir", folders, PLAN, "lora_adapters")
            yield enter("lora_config.max_loras", len(folders), PLAN, "lora_adapters")


ENGINE = Engine(traits=TRAITS, surface=SURFACE, launch=launch)
