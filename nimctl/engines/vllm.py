"""vLLM: published safetensors on NVIDIA GPUs, through `vllm serve`.

Options: `vllm serve --help=all`. Minimum compute capabilities: vLLM's "supported hardware for
quantization kernels" table. Builds: the machine code in the fat binaries of the wheels on PyPI, of
0.8.5, 0.9.0, 0.9.1, 0.9.2, 0.10.2, 0.11.0, 0.12.0, 0.15.1, 0.19.1, 0.20.0 and 0.33.0; CUDA versions
from vLLM's release notes and the torch they require. From 0.20 on, what that torch (2.11 to 2.14)
has no code for is left out: 8.7 on ARM. Before it PyPI's torch for ARM had no GPU code at all; the
table tells what the wheel runs beside a torch from elsewhere.
"""

from nimctl.core.engine import Engine, EngineBuild, EngineTraits, PrecisionSupport
from nimctl.core.memory import (
    BudgetRule,
    FactorActivations,
    KvPrecision,
    MemoryTraits,
    count_memory_share,
)
from nimctl.core.plan import Launch, Plan, Site, Symptom
from nimctl.core.units import GIB, MIB

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
        context_bytes=450 * MIB,
        lora_bytes=900 * MIB,  # what NIM 2.0.12 adds to its printed needs for LoRA
        # two steps at once of the default --max-num-batched-tokens for a GPU of that size
        window_spare=((0, 2 * 2048), (70 * GIB, 2 * 8192), (160 * GIB, 2 * 16_384)),
    ),
    install_hint="pip install 'nimctl[vllm]'",
)

_DTYPES = {"bf16": "bfloat16", "fp16": "float16"}

SYMPTOMS = (
    Symptom(
        code="memory-not-free",
        pattern=r"Free memory on device .* is less than desired GPU memory utilization",
        cause="other programs took GPU memory between the plan and the start",
        hint="see who holds it with `nimctl doctor`, then start again",
    ),
    Symptom(
        code="kv-cache-too-small",
        pattern=r"estimated maximum model length is (?P<detail>\d+)",
        cause="the key/value cache does not hold one sequence of the planned context",
        hint="use a smaller --context-length",
    ),
    Symptom(
        code="out-of-memory",
        pattern=r"CUDA out of memory|torch\.OutOfMemoryError",
        cause="the GPU ran out of memory while the model was loading",
        hint="use a smaller --context-length, another --precision, or more GPUs",
    ),
    Symptom(
        code="no-kernel-image",
        pattern=r"no kernel image is available for execution on the device",
        cause="this vLLM build has no code for this GPU generation",
        hint="install a vLLM build for this GPU, or use --engine llama.cpp",
    ),
    Symptom(
        code="unknown-argument",
        pattern=r"error: unrecognized arguments: (?P<detail>.+)",
        cause="vLLM does not know an argument it was given",
        hint="check the arguments after `--`; `nimctl select` prints the whole command",
    ),
    Symptom(
        code="unknown-architecture",
        pattern=r"Model architectures \[(?P<detail>[^\]]+)\] are not supported",
        cause="this vLLM version does not know the model's architecture",
        hint="upgrade vLLM: pip install --upgrade 'nimctl[vllm]'",
    ),
)


def launch(plan: Plan, site: Site) -> Launch:
    """The `vllm serve` process for a plan."""
    profile = plan.profile
    share = count_memory_share(
        TRAITS.memory, free_bytes=plan.free_bytes, total_bytes=plan.total_bytes
    )
    argv = [
        *site.program,
        "serve", str(site.weights_dir),
        "--served-model-name", *site.served_names,
        "--max-model-len", str(plan.context_length),
        "--tensor-parallel-size", str(profile.tensor_parallel),
        "--pipeline-parallel-size", str(profile.pipeline_parallel),
        "--gpu-memory-utilization", f"{share:.2f}",
        "--dtype", _DTYPES.get(profile.precision, "auto"),
        "--disable-uvicorn-access-log",
    ]  # fmt: skip
    if plan.kv_precision:
        argv += ["--kv-cache-dtype", plan.kv_precision]
    if plan.sequences > 1:
        argv += ["--max-num-seqs", str(plan.sequences)]
    if profile.goal == "throughput":
        argv += ["--max-num-batched-tokens", str(2 * TRAITS.memory.batch_tokens)]
    if profile.lora:
        adapters = [f"{name}={folder}" for name, folder in site.lora_adapters]
        argv += ["--enable-lora", *(["--lora-modules", *adapters] if adapters else [])]
    argv += (
        ["--uds", site.address.uds]
        if site.address.uds
        else ["--host", site.address.host, "--port", str(site.address.port)]
    )
    return Launch(
        argv=(*argv, *site.engine_args),
        address=site.address,
        ready_path="/health",
        env={
            **plan.gpu_environment,
            "HF_HUB_OFFLINE": "1",
            "TRANSFORMERS_OFFLINE": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "DO_NOT_TRACK": "1",
        },
        symptoms=SYMPTOMS,
    )


ENGINE = Engine(traits=TRAITS, launch=launch)
