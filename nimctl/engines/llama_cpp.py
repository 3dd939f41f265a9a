"""llama.cpp: GGUF files on a CPU or a GPU, through `llama-server` or the wheel nimctl brings.

Options: `llama-server --help` of llama.cpp's tools/server. Routes, fields and figures: its
README.md and server.cpp, and the answers of the wheel of 2026-10 (`tests/e2e/test_llama_routes.py`
asks it).
"""

from dataclasses import replace

from nimctl.core.engine import CompileCache, Engine, EngineTraits
from nimctl.core.engine_options import NO_PARSER, EngineOptions, OptionRule, Written
from nimctl.core.launch_arguments import Argument, Spelling
from nimctl.core.memory import BudgetRule, GraphActivations, KvPrecision, MemoryTraits
from nimctl.core.plan import Launch, Plan, Site
from nimctl.core.request_fields import FieldRule, refused, same
from nimctl.core.surface import EngineRoute, EngineSurface, FigureSource
from nimctl.core.units import GIB, MIB
from nimctl.engines import symptoms
from nimctl.engines.guided import NO_TEMPLATE, choice_as_grammar
from nimctl.engines.llama_cpp_log import SIGNS
from nimctl.engines.option_rules import ignored, told_elsewhere, unhonoured, valued
from nimctl.engines.writing import always, make_launch, planned, write_options

_BATCH_TOKENS = 512  # llama-server's default micro-batch
# Its own warming runs no kernel of a prompt: where the driver has to translate those, the first
# client waited 25 s for them on an H100. Every context is rounded up to 256.
_WARMING_WORDS = 64
_ENVIRONMENT = {
    "LLAMA_ARG_OFFLINE": "1",
    # At 3, upstream's default, its log tells neither buffers nor the layers on each device. An
    # option of that name would be read otherwise, or not at all, by servers before 2026.
    "LLAMA_ARG_LOG_VERBOSITY": "4",
}
# Bytes per element: ggml keeps 32 elements in 34 bytes (q8_0) or 18 (q4_0).
_KV_PRECISIONS = (
    KvPrecision(name="f16", element_bytes=2),
    KvPrecision(name="q8_0", element_bytes=34 / 32),
    KvPrecision(name="q4_0", element_bytes=18 / 32),
)

_PLACING = ("--gpu-layers", "--device")
"""Who says one of these has said where it computes."""

_READS_TEMPLATE = "it reads the format from the chat template itself"


def _write_reasoning_format(name: str, _: EngineOptions) -> Written:
    if name != NO_PARSER:
        raise ValueError(_READS_TEMPLATE)
    return Written(words=(("--reasoning-format", "none"),))


def _keep_prefixes(value: bool, _: EngineOptions) -> Written:
    return Written(words=() if value else (("--no-cache-prompt",),))


def _draft(model: str, options: EngineOptions) -> Written:
    if model in ("ngram", "mtp"):
        raise ValueError("it takes the GGUF file of a draft model")
    words = [("--model-draft", model)]
    if options.speculative_tokens:
        words.append(("--draft-max", str(options.speculative_tokens)))
    return Written(words=tuple(words))


OPTIONS = (
    unhonoured("tool_parser", _READS_TEMPLATE),
    OptionRule(name="reasoning_parser", write=_write_reasoning_format),
    valued("chat_template", "--chat-template-file"),
    OptionRule(name="prefix_caching", write=_keep_prefixes),
    unhonoured("chunked_prefill", "it always works on prompts in pieces (`-- --ubatch-size N`)"),
    unhonoured("structured_output_backend", "it has one way of guiding"),
    OptionRule(name="speculative", write=_draft),
    told_elsewhere("speculative_tokens", needs="speculative"),
    valued("seed", "--seed"),
    ignored("trust_remote_code"),  # a GGUF file holds no code
    ignored("max_lora_rank"),  # it takes any
    unhonoured("max_loras", "all its adapters are loaded when it starts"),
    unhonoured("max_cpu_loras", "all its adapters are loaded when it starts"),
)

SPELLING = Spelling(
    aliases={
        "-m": "--model",
        "-a": "--alias",
        "-c": "--ctx-size",
        "-np": "--parallel",
        "-t": "--threads",
        "-ngl": "--gpu-layers",
        "-dev": "--device",
        "--n-gpu-layers": "--gpu-layers",
        "-sm": "--split-mode",
        "-ts": "--tensor-split",
        "-ctk": "--cache-type-k",
        "-ctv": "--cache-type-v",
        "-cram": "--cache-ram",
        "-s": "--seed",
        "-md": "--model-draft",
        "--draft": "--draft-max",
        "--draft-n": "--draft-max",
        "--cache-prompt": "--no-cache-prompt",
    },
    repeatable=("--lora", "--lora-scaled", "--override-kv", "--override-tensor", "-ot"),
)

TRAITS = EngineTraits(
    name="llama.cpp",
    title="llama.cpp",
    formats=("gguf",),
    devices=("gpu", "cpu"),
    # Of CUDA 12; a build without CUDA never gets to a GPU. It is compiled for where it runs, or
    # with code that the driver translates, so its version does not tell which GPUs it knows.
    driver_major=525,
    memory=MemoryTraits(
        rule=BudgetRule.FIXED_MARGIN,
        margin_bytes=1 * GIB,  # llama.cpp's own margin per device (`--fit-target`)
        batch_tokens=_BATCH_TOKENS,
        activations=GraphActivations(),
        kv_precisions=_KV_PRECISIONS,
        window_spare=((0, _BATCH_TOKENS),),
        # CUDA 13 on an H100, whatever the model's size (`tests/machines/h100-vm`)
        context_bytes=590 * MIB,
    ),
    memory_on_cpu=MemoryTraits(
        rule=BudgetRule.FIXED_MARGIN,
        margin_bytes=512 * MIB,
        batch_tokens=_BATCH_TOKENS,
        activations=GraphActivations(),
        kv_precisions=_KV_PRECISIONS,
        window_spare=((0, _BATCH_TOKENS),),
        context_bytes=64 * MIB,  # the wheel's process beside its buffers takes 42 MiB
    ),
    # RAM is shared with everything else on a laptop; a longer context is there for the asking.
    default_context_length=16_384,
    default_sequences=4,
    install_hint="pip install --force-reinstall xllamacpp brings the wheel nimctl ships with",
    # What the driver compiles for a GPU that the build has no code for.
    compile_caches=(CompileCache(variable="CUDA_CACHE_PATH", place="cuda", gpu_only=True),),
    adapters_anywhere=True,
    options=OPTIONS,
)

_SAMPLING = (
    *same("top_k", "min_p", "ignore_eos"),
    FieldRule(name="repetition_penalty", place=("repeat_penalty",)),
    FieldRule(name="max_thinking_tokens", place=("thinking_budget_tokens",)),
    FieldRule(name="guided_json", place=("json_schema",)),
    FieldRule(name="guided_grammar", place=("grammar",)),
    FieldRule(name="guided_choice", place=("grammar",), convert=choice_as_grammar),
    *refused("it knows grammars and JSON schemas; use guided_grammar", "guided_regex"),
    *refused("it has one way of guiding", "guided_decoding_backend", "guided_whitespace_pattern"),
    *refused("it stops at texts only; use stop", "stop_token_ids"),
)
_CHAT = (
    *_SAMPLING,
    *same("add_generation_prompt"),
    *refused("it has the one it was started with", "chat_template"),
)
_TOKENIZING = (
    FieldRule(name="prompt", place=("content",)),
    FieldRule(name="add_special_tokens", place=("add_special",)),
    *refused("it tokenizes a prompt only", "messages"),
)

SURFACE = EngineSurface(
    title="llama.cpp",
    sequences_options=("--parallel", "-np"),
    routes=(
        EngineRoute(path="/v1/chat/completions", fields=_CHAT),
        EngineRoute(path="/v1/completions", fields=(*_SAMPLING, *NO_TEMPLATE)),
        EngineRoute(path="/v1/responses", fields=_CHAT),
        EngineRoute(path="/v1/messages"),
        EngineRoute(path="/v1/messages/count_tokens"),
        EngineRoute(path="/v1/embeddings", needs=("--embeddings", "--embedding")),
        EngineRoute(path="/v1/rerank", needs=("--reranking", "--rerank")),
        EngineRoute(path="/rerank", needs=("--reranking", "--rerank")),
        EngineRoute(path="/tokenize", fields=_TOKENIZING),
        EngineRoute(path="/detokenize"),
    ),
    figures=(
        FigureSource(name="num_requests_running", families=("llamacpp:requests_processing",)),
        FigureSource(name="num_requests_waiting", families=("llamacpp:requests_deferred",)),
        FigureSource(name="gpu_cache_usage_perc", families=("llamacpp:kv_cache_usage_ratio",)),
        # What it reads from its cache it counts apart.
        FigureSource(
            name="prompt_tokens_total",
            families=("llamacpp:prompt_tokens_total", "llamacpp:prompt_tokens_cached_total"),
        ),
        FigureSource(name="prompt_tokens_total", families=("llamacpp:prompt_tokens_total",)),
        FigureSource(name="generation_tokens_total", families=("llamacpp:tokens_predicted_total",)),
    ),
)


def launch(plan: Plan, site: Site) -> Launch:
    """The `llama-server` process for a plan."""
    written = write_options(TRAITS, plan, site)
    arguments = [
        always("--model", site.weights_dir / (plan.profile.artifact.single_file or "")),
        always("--alias", ",".join(site.served_names), setting="served_model_names"),
        planned("--ctx-size", plan.context_length * plan.sequences, setting="context_length"),
        planned("--parallel", plan.sequences, setting="concurrency"),
        planned("--threads", plan.threads),
        planned("--gpu-layers", "999" if plan.device == "gpu" else "0"),
        *_place_on_gpus(plan),
        always("--cache-ram", "0"),
        always("--jinja"),
        always("--metrics"),
        always("--no-webui"),
    ]
    if plan.kv_precision:
        arguments += [
            planned(option, plan.kv_precision, setting="kv_precision")
            for option in ("--cache-type-k", "--cache-type-v")
        ]
    arguments += [always("--lora", one.path, setting="lora_adapters") for one in site.adapters]
    made = make_launch(
        site,
        (*arguments, *written.arguments, *_listen(site)),
        spelling=SPELLING,
        symptoms=symptoms.LLAMA_CPP,
        signs=SIGNS,
        env={**plan.gpu_environment, **_ENVIRONMENT, **written.env},
    )
    own = (*site.native.passthrough, *site.native.command_line)
    is_placed = any(SPELLING.canonical(one.name) in _PLACING for one in own)
    must_use_gpu = plan.device == "gpu" and not is_placed
    return replace(
        made,
        fell_to_cpu=symptoms.FELL_TO_CPU if must_use_gpu else None,
        first_words=_WARMING_WORDS if plan.device == "gpu" else 1,
    )


def _place_on_gpus(plan: Plan) -> tuple[Argument, ...]:
    """One GPU holds everything; several share the layers by their free memory."""
    if len(plan.gpus) < 2:
        return ()
    shares = [gpu.memory_free_bytes or plan.free_bytes for gpu in plan.gpus]
    split = ",".join(f"{share / GIB:.1f}" for share in shares)
    return (planned("--split-mode", "layer"), planned("--tensor-split", split))


def _listen(site: Site) -> tuple[Argument, ...]:
    if site.address.uds:
        return (always("--host", site.address.uds),)
    return (always("--host", site.address.host), always("--port", site.address.port))


ENGINE = Engine(traits=TRAITS, surface=SURFACE, launch=launch)
