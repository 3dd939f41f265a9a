"""Settings of what runs: the model, its profile, the engine and what the engine is told."""

from pathlib import Path
from types import MappingProxyType
from typing import get_args

from nimctl.core.names import EngineName, WishGoal
from nimctl.settings import values
from nimctl.settings.key import Key
from nimctl.settings.places import user_data_folder


def _default_engines_dir() -> Path | None:
    folder = user_data_folder()
    return folder / "engines" if folder else None


_ENGINE_ALIASES = {
    "llamacpp": "llama.cpp",
    "llama_cpp": "llama.cpp",
    "llama-cpp": "llama.cpp",
    "trtllm": "tensorrt_llm",
    "tensorrt-llm": "tensorrt_llm",
    "sgl": "sglang",
}
CHOICE_KEYS: tuple[Key, ...] = (
    Key(
        name="model",
        convert=values.text,
        environment=("NIMCTL_MODEL", "NIM_MODEL_NAME", "NIM_MODEL_PATH"),
        help="The model of a command that names none.",
    ),
    Key(
        name="engines_dir",
        convert=values.path,
        default_from=_default_engines_dir,
        environment=("NIMCTL_ENGINES_DIR",),
        names_programs=True,
        help="The folder of the engines that `nimctl engines install` installs.",
    ),
    Key(
        name="engine_path",
        convert=values.path,
        environment=("NIMCTL_ENGINE_PATH",),
        names_programs=True,
        help="The program of the engine to run: vllm, trtllm-serve or llama-server.",
    ),
    Key(
        name="container",
        convert=values.choice("docker", "podman"),
        environment=("NIMCTL_CONTAINER",),
        help="Run the engine out of its makers' image, with docker or podman.",
    ),
    Key(
        name="container_image",
        convert=values.text,
        option="--image",
        environment=("NIMCTL_CONTAINER_IMAGE",),
        names_programs=True,
        help="The image to run instead of the one of the version nimctl takes.",
    ),
    Key(
        name="shm_size",
        convert=values.docker_size,
        default="16g",  # what NIM's documentation gives its containers
        environment=("NIMCTL_SHM_SIZE",),
        help="Shared memory of a container, as docker takes it, e.g. 32g.",
    ),
    Key(
        name="manifest_dirs",
        convert=values.paths,
        default=(),
        environment=("NIMCTL_MANIFEST_DIRS",),
        option="--manifest-dir",
        help="More folders with manifests, looked at before those that ship with nimctl.",
    ),
    Key(
        name="profile",
        convert=values.profile,
        environment=("NIMCTL_PROFILE", "NIM_MODEL_PROFILE"),
        help="The profile to run: an id, its beginning, or its description.",
    ),
    Key(
        name="engine",
        convert=values.choice(*get_args(EngineName), aliases=_ENGINE_ALIASES),
        environment=("NIMCTL_ENGINE",),
        help="The engine to run: llama.cpp, vllm, tensorrt_llm or sglang.",
    ),
    Key(
        name="precision",
        convert=values.text,
        environment=("NIMCTL_PRECISION",),
        help="The precision of the weights, e.g. fp8 or bf16.",
    ),
    Key(
        name="goal",
        convert=values.choice(*get_args(WishGoal)),
        environment=("NIMCTL_GOAL",),
        help="What to choose for: latency, throughput, balanced or quality.",
    ),
    Key(
        name="context_length",
        convert=values.whole_number(1),
        environment=("NIMCTL_CONTEXT_LENGTH", "NIM_MAX_MODEL_LEN"),
        help="Tokens one sequence can hold, prompt and answer together.",
    ),
    Key(
        name="concurrency",
        convert=values.whole_number(1),
        environment=("NIMCTL_CONCURRENCY", "NIM_MAX_NUM_SEQS", "NIM_MAX_BATCH_SIZE"),
        help="Sequences of that length that fit at once.",
    ),
    Key(
        name="kv_precision",
        convert=values.text,
        environment=("NIMCTL_KV_PRECISION",),
        help="What keys and values are kept in: fp8, q8_0, ...; the engine's default if unset.",
    ),
    Key(
        name="tensor_parallel",
        convert=values.whole_number(1),
        environment=("NIMCTL_TENSOR_PARALLEL", "NIM_TENSOR_PARALLEL_SIZE"),
        help="GPUs to split each layer over.",
    ),
    Key(
        name="memory_share",
        convert=values.share,
        environment=(
            *("NIMCTL_MEMORY_SHARE", "NIM_KVCACHE_PERCENT"),
            *("NIM_KV_CACHE_PERCENT", "NIM_GPU_MEM_FRACTION"),
        ),
        help="The share of a GPU's memory that the engine may take, e.g. 0.85.",
    ),
    Key(
        name="lora",
        convert=values.truth,
        default=False,
        environment=("NIMCTL_LORA",),
        help="Whether the profile must be able to serve LoRA adapters.",
    ),
    Key(
        name="lora_dir",
        convert=values.path,
        environment=("NIMCTL_LORA_DIR", "NIM_PEFT_SOURCE"),
        option="--lora DIR",
        help="The folder with the LoRA adapters to serve.",
    ),
    Key(
        name="lora_adapters",
        convert=values.pairs,
        default=(),
        environment=("NIMCTL_LORA_ADAPTERS",),
        option="--lora NAME=PATH",
        help="LoRA adapters to serve, each NAME=PATH.",
    ),
    Key(
        name="max_lora_rank",
        convert=values.whole_number(1),
        environment=("NIMCTL_MAX_LORA_RANK", "NIM_MAX_LORA_RANK"),
        help="The largest rank of a LoRA adapter; that of the adapters if unset.",
    ),
    Key(
        name="max_loras",
        convert=values.whole_number(1),
        environment=("NIMCTL_MAX_LORAS", "NIM_MAX_GPU_LORAS"),
        help="LoRA adapters on the GPU at once; all that are served, up to 8, if unset.",
    ),
    Key(
        name="max_cpu_loras",
        convert=values.whole_number(1),
        environment=("NIMCTL_MAX_CPU_LORAS", "NIM_MAX_CPU_LORAS"),
        help="LoRA adapters kept in the machine's memory.",
    ),
    Key(
        name="tool_parser",
        convert=values.text,
        environment=("NIMCTL_TOOL_PARSER", "NIM_TOOL_CALL_PARSER"),
        help="What reads tool calls, by the engine's name, or none; that of the model if unset.",
    ),
    Key(
        name="reasoning_parser",
        convert=values.text,
        environment=("NIMCTL_REASONING_PARSER",),
        help="What tells reasoning from answers, or none; that of the model if unset.",
    ),
    Key(
        name="chat_template",
        convert=values.path,
        environment=("NIMCTL_CHAT_TEMPLATE", "NIM_CHAT_TEMPLATE"),
        help="A chat template (Jinja) instead of the model's own.",
    ),
    Key(
        name="prefix_caching",
        convert=values.truth,
        environment=("NIMCTL_PREFIX_CACHING", "NIM_ENABLE_KV_CACHE_REUSE"),
        help="Whether what prompts begin with is kept for the next; the engine's own if unset.",
    ),
    Key(
        name="chunked_prefill",
        convert=values.truth,
        environment=("NIMCTL_CHUNKED_PREFILL",),
        help="Whether long prompts are worked on in pieces; the engine's own if unset.",
    ),
    Key(
        name="structured_output_backend",
        convert=values.text,
        environment=("NIMCTL_STRUCTURED_OUTPUT_BACKEND", "NIM_GUIDED_DECODING_BACKEND"),
        help="What holds answers to a schema, e.g. xgrammar; the engine's own if unset.",
    ),
    Key(
        name="speculative",
        convert=values.speculation,
        environment=("NIMCTL_SPECULATIVE", "NIM_DRAFT_MODEL_PATH"),
        help="Guess tokens ahead: ngram, mtp, or the folder (GGUF: the file) of a draft model.",
    ),
    Key(
        name="speculative_tokens",
        convert=values.whole_number(1, 64),
        environment=("NIMCTL_SPECULATIVE_TOKENS",),
        help="Tokens guessed at once.",
    ),
    Key(
        name="seed",
        convert=values.whole_number(0, 2**32 - 1),
        environment=("NIMCTL_SEED",),
        help="The seed of the engine's random numbers.",
    ),
    Key(
        name="tags_selector",
        convert=values.tags,
        default=MappingProxyType({}),
        environment=("NIM_TAGS_SELECTOR",),
        help="NIM's profile tags; they fill engine, precision, tensor_parallel, goal and lora.",
    ),
    Key(
        name="allow_cpu",
        convert=values.truth,
        default=False,
        environment=("NIMCTL_ALLOW_CPU",),
        help="Whether a machine with GPUs may run a model on its CPU where no GPU can.",
    ),
    Key(
        name="heal",
        convert=values.truth,
        default=True,
        environment=("NIMCTL_HEAL",),
        help="Whether a start that fails in a known way is tried again with a smaller plan.",
    ),
    Key(
        name="engine_args",
        convert=values.arguments,
        default=(),
        environment=("NIMCTL_ENGINE_ARGS", "NIM_PASSTHROUGH_ARGS"),
        lets_code_in=True,  # --trust-remote-code, or a --middleware of vLLM
        help="More arguments for the engine, as its own command line takes them.",
    ),
    Key(
        name="trust_remote_code",
        convert=values.truth,
        default=False,
        environment=(
            *("NIMCTL_TRUST_REMOTE_CODE", "NIM_TRUST_CUSTOM_CODE"),
            "NIM_FORCE_TRUST_REMOTE_CODE",
        ),
        lets_code_in=True,
        help="Whether code of a model's publisher is brought with it, and may run.",
    ),
)
