"""TensorRT-LLM: published safetensors on NVIDIA data-centre GPUs, through `trtllm-serve`.

Options: the `trtllm-serve` page of the TensorRT-LLM 1.0 and 1.1 documentation. The memory fraction
and the LoRA settings go into the options file (`--extra_llm_api_options`), whose keys are those of
`tensorrt_llm.llmapi.LlmArgs`. Builds: `WHEEL_ARCHS` of TensorRT-LLM's jenkins/Build.groovy and the
"Installing on Linux via pip" pages of 1.0 to 1.2 (the wheels of 1.0 and 1.1 are of CUDA 12.9, those
of 1.2 of 13.1); B300 came with 1.1, DGX Spark (through the code for 12.0) as a beta with 1.2.
NVIDIA has no wheel for Jetson (its answer in issue 3344). Routes and fields:
`openai_server.py` and `openai_protocol.py` of tensorrt_llm/serve, which refuses unknown fields.
"""

import json

from nimctl.core.engine import CompileCache, Engine, EngineBuild, EngineTraits, PrecisionSupport
from nimctl.core.memory import BudgetRule, FactorActivations, KvPrecision, MemoryTraits
from nimctl.core.plan import Launch, Plan, Site, Symptom
from nimctl.core.request_fields import FieldRule, refused, same
from nimctl.core.surface import EngineRoute, EngineSurface
from nimctl.core.units import MIB
from nimctl.engines.guided import NO_TEMPLATE, TEMPLATE_FIELDS, choice_as_grammar
from nimctl.engines.tensorrt_llm_log import SIGNS

_LORA_MAX_RANK = 32  # NIM's published default for its LoRA profiles

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

TRAITS = EngineTraits(
    name="tensorrt_llm",
    title="TensorRT-LLM",
    formats=("safetensors",),
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
        activations=FactorActivations(
            factors=((1, 11.0), (2, 6.5), (4, 5.0)), least_bytes=70 * MIB
        ),
        kv_precisions=(
            KvPrecision(name="auto", element_bytes=2),
            KvPrecision(name="fp8", element_bytes=1),
        ),
        graph_bytes=600 * MIB,
        context_bytes=600 * MIB,
        lora_bytes=900 * MIB,
        window_spare=(),  # without KvCacheConfig.max_attention_window, all layers keep everything
    ),
    install_hint="pip install 'nimctl[tensorrt-llm]' "
    "(in an environment of its own: it pins another torch than vLLM)",
    compile_caches=(
        # It does not check what the file was tuned for, and tunes nothing where there is one.
        CompileCache(variable="TLLM_AUTOTUNER_CACHE_PATH", place="autotuner-{plan}.json"),
        CompileCache(variable="TORCHINDUCTOR_CACHE_DIR", place="inductor"),
        CompileCache(variable="TRITON_CACHE_DIR", place="triton"),
        CompileCache(variable="FLASHINFER_WORKSPACE_BASE", place="flashinfer", gpu_only=True),
        CompileCache(variable="CUDA_CACHE_PATH", place="cuda", gpu_only=True),
    ),
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

SYMPTOMS = (
    Symptom(
        code="out-of-memory",
        pattern=r"CUDA out of memory|OutOfMemoryError|Failed to allocate",
        cause="the GPU ran out of memory while the model was loading",
        hint="use a smaller --context-length, another --precision, or more GPUs",
    ),
    Symptom(
        code="no-kernel-image",
        pattern=r"no kernel image is available for execution on the device",
        cause="this TensorRT-LLM build has no code for this GPU generation",
        hint="use --engine vllm",
    ),
    Symptom(
        code="missing-mpi",
        pattern=r"libmpi\.so[^:]*: cannot open shared object file",
        cause="TensorRT-LLM needs Open MPI and it is not installed",
        hint="install it: apt-get install libopenmpi-dev",
    ),
    Symptom(
        code="unknown-argument",
        pattern=r"Error: No such option: (?P<detail>.+)",
        cause="trtllm-serve does not know an argument it was given",
        hint="check the arguments after `--`; `nimctl select` prints the whole command",
    ),
)


def launch(plan: Plan, site: Site) -> Launch:
    """The `trtllm-serve` process for a plan; it listens on loopback, as it knows no unix socket."""
    profile = plan.profile
    options = site.state_dir / "tensorrt_llm.yaml"
    argv = [
        *site.program,
        "serve", str(site.weights_dir),
        "--backend", "pytorch",
        "--host", site.address.host,
        "--port", str(site.address.port),
        "--tp_size", str(profile.tensor_parallel),
        "--pp_size", str(profile.pipeline_parallel),
        "--max_seq_len", str(plan.context_length),
        "--max_num_tokens", str(TRAITS.memory.batch_tokens),
        "--extra_llm_api_options", str(options),
    ]  # fmt: skip
    if plan.sequences > 1:
        argv += ["--max_batch_size", str(plan.sequences)]
    return Launch(
        argv=(*argv, *site.engine_args),
        address=site.address,
        ready_path="/health",
        env={
            **plan.gpu_environment,
            "HF_HUB_OFFLINE": "1",
            "TRANSFORMERS_OFFLINE": "1",
            "TRTLLM_NO_USAGE_STATS": "1",
        },
        files={options: _write_options(plan)},
        symptoms=SYMPTOMS,
        signs=SIGNS,
    )


def _write_options(plan: Plan) -> str:
    """The options file; JSON is YAML, so no YAML writer is needed."""
    kv_cache: dict[str, object] = {"free_gpu_memory_fraction": TRAITS.memory.share}
    if plan.kv_precision:
        kv_cache["dtype"] = plan.kv_precision
    options: dict[str, object] = {
        "kv_cache_config": kv_cache,
        "guided_decoding_backend": "xgrammar",
        "scheduler_config": {
            "capacity_scheduler_policy": (
                "MAX_UTILIZATION" if plan.profile.goal == "throughput" else "GUARANTEED_NO_EVICT"
            )
        },
    }
    if plan.profile.lora:
        options["lora_config"] = {"max_lora_rank": _LORA_MAX_RANK}
    return json.dumps(options, indent=2) + "\n"


ENGINE = Engine(traits=TRAITS, surface=SURFACE, launch=launch)
