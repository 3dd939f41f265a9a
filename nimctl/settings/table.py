"""The table of settings: name, kind, default, environment names and help of each, as data."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import get_args

from nimctl.core.names import EngineName, WishGoal
from nimctl.core.units import MIB
from nimctl.errors import InputError
from nimctl.settings import values
from nimctl.settings.places import user_cache_folder, user_data_folder
from nimctl.settings.values import Convert, Secret


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """One setting.

    Attributes:
        name: Its name in files and as an attribute of `Settings`.
        convert: Makes a value of what was written.
        help: One line for a person.
        environment: Environment variables that set it, strongest first.
        default: Its value when nobody sets it.
        default_from: Finds the default on this machine, where it is no constant.
        option: Its command-line option, where that is not `--` and the name.
        secret: Never shown, and never taken from a project file.
        guides_secret: Decides where a secret is sent, so never taken from a project file either.
        names_programs: Decides which programs run, so never taken from a project file either.
        lets_code_in: Decides whether code of others is brought, so never from a project file.
    """

    name: str
    convert: Convert
    help: str
    environment: tuple[str, ...] = ()
    default: object = None
    default_from: Callable[[], object] | None = None
    option: str | None = None
    secret: bool = False
    guides_secret: bool = False
    names_programs: bool = False
    lets_code_in: bool = False

    @property
    def flag(self) -> str:
        """The command-line option, e.g. `--context-length`."""
        return self.option or f"--{self.name.replace('_', '-')}"


def _default_cache_dir() -> Path:
    folder = user_cache_folder()
    if folder is None:
        raise InputError(
            "there is no home folder to keep weights in", hint="set NIMCTL_CACHE_DIR to a folder"
        )
    return folder


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
# NIM writes its levels in upper case; case is not told apart.
_TLS_MODE_ALIASES = MappingProxyType({"disabled": "off", "none": "off"})
"""NIM's word for no TLS."""

_LOG_FORMAT_ALIASES = MappingProxyType({"0": "text", "false": "text", "1": "json", "true": "json"})
"""NIM's variable says only whether it is JSON."""

_LOG_LEVEL_ALIASES = {
    "default": "info",
    "trace": "debug",
    "warn": "warning",
    "critical": "error",
}

KEYS: tuple[Key, ...] = (
    Key(
        name="model",
        convert=values.text,
        environment=("NIMCTL_MODEL", "NIM_MODEL_NAME", "NIM_MODEL_PATH"),
        help="The model of a command that names none.",
    ),
    Key(
        name="cache_dir",
        convert=values.path,
        default_from=_default_cache_dir,
        environment=("NIMCTL_CACHE_DIR", "NIM_CACHE_PATH"),
        help="Where weights are kept.",
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
        name="host",
        convert=values.text,
        default="127.0.0.1",
        environment=("NIMCTL_HOST",),
        help="The address the server listens on.",
    ),
    Key(
        name="port",
        convert=values.whole_number(0, 65535),
        default=8000,
        environment=("NIMCTL_PORT", "NIM_SERVER_PORT", "NIM_HTTP_API_PORT"),
        help="The port the server listens on; 0 takes a free one.",
    ),
    Key(
        name="uds",
        convert=values.path,
        environment=("NIMCTL_UDS",),
        help="The unix socket the server listens on instead of a port.",
    ),
    Key(
        name="tls_mode",
        convert=values.choice("off", "tls", "mtls", aliases=_TLS_MODE_ALIASES),
        environment=("NIMCTL_TLS_MODE", "NIM_SSL_MODE"),
        help="off, tls, or mtls (callers show certificates); by default what the files are for.",
    ),
    Key(
        name="tls_cert",
        convert=values.path,
        environment=("NIMCTL_TLS_CERT", "NIM_SSL_CERTS_PATH"),
        help="The server's certificate for TLS, and those up to an authority, in PEM.",
    ),
    Key(
        name="tls_key",
        convert=values.path,
        environment=("NIMCTL_TLS_KEY", "NIM_SSL_KEY_PATH"),
        help="The private key of that certificate, in PEM without a password.",
    ),
    Key(
        name="tls_client_ca",
        convert=values.path,
        environment=("NIMCTL_TLS_CLIENT_CA", "NIM_SSL_CA_CERTS_PATH"),
        help="The authorities that must have signed the certificates of callers, in PEM.",
    ),
    Key(
        name="max_concurrency",
        convert=values.whole_number(1),
        environment=("NIMCTL_MAX_CONCURRENCY",),
        help="Requests in the engine at most; the next wait their turn. The engine's own if unset.",
    ),
    Key(
        name="max_waiting",
        convert=values.whole_number(0),
        default=1024,
        environment=("NIMCTL_MAX_WAITING",),
        help="Requests that wait for their turn at most; the next are answered 429.",
    ),
    Key(
        name="max_body_size",
        convert=values.size,
        default=64 * MIB,
        environment=("NIMCTL_MAX_BODY_SIZE", "NIM_PROXY_CLIENT_MAX_BODY_SIZE"),
        help="The longest body of a request, e.g. 64MiB; longer ones are answered 413.",
    ),
    Key(
        name="cors_allow_origins",
        convert=values.names,
        default=(),
        environment=("NIMCTL_CORS_ALLOW_ORIGINS", "NIM_CORS_ALLOW_ORIGINS"),
        help="Web pages of other origins that may call, e.g. https://chat.example; * is all.",
    ),
    Key(
        name="cors_allow_headers",
        convert=values.names,
        default=(),
        environment=("NIMCTL_CORS_ALLOW_HEADERS", "NIM_CORS_ALLOW_HEADERS"),
        help="Headers such pages may send, beside those of an OpenAI client.",
    ),
    Key(
        name="cors_max_age_s",
        convert=values.whole_number(0),
        default=600,
        environment=("NIMCTL_CORS_MAX_AGE_S", "NIM_CORS_MAX_AGE"),
        option="--cors-max-age",
        help="Seconds that a browser may remember what such pages may do.",
    ),
    Key(
        name="served_model_names",
        convert=values.names,
        default=(),
        environment=("NIMCTL_SERVED_MODEL_NAME", "NIM_SERVED_MODEL_NAME"),
        option="--served-model-name",
        help="The names the server answers to; the first one is reported.",
    ),
    Key(
        name="api_key",
        convert=values.secret,
        default=Secret(),
        environment=("NIMCTL_API_KEY",),
        secret=True,
        help="The key clients of the server must send.",
    ),
    Key(
        name="api_key_file",
        convert=values.path,
        environment=("NIMCTL_API_KEY_FILE",),
        help="A file that holds the key clients of the server must send.",
    ),
    Key(
        name="management_api_key",
        convert=values.secret,
        default=Secret(),
        environment=("NIMCTL_MANAGEMENT_API_KEY",),
        secret=True,
        help="The key that metadata, manifest, licence, version and adapters must be asked with.",
    ),
    Key(
        name="management_api_key_file",
        convert=values.path,
        environment=("NIMCTL_MANAGEMENT_API_KEY_FILE",),
        help="A file with keys for metadata, manifest, licence, version and adapters.",
    ),
    Key(
        name="metrics_api_key",
        convert=values.secret,
        default=Secret(),
        environment=("NIMCTL_METRICS_API_KEY",),
        secret=True,
        help="The key that /v1/metrics must be asked with.",
    ),
    Key(
        name="metrics_api_key_file",
        convert=values.path,
        environment=("NIMCTL_METRICS_API_KEY_FILE",),
        help="A file with keys for /v1/metrics.",
    ),
    Key(
        name="engine_url",
        convert=values.engine_url,
        environment=("NIMCTL_ENGINE_URL",),
        guides_secret=True,
        help="An OpenAI-compatible engine that runs already: http://, https:// or unix:PATH.",
    ),
    Key(
        name="engine_api_key",
        convert=values.secret,
        default=Secret(),
        environment=("NIMCTL_ENGINE_API_KEY",),
        secret=True,
        help="The key that such an engine wants; it goes to that address only.",
    ),
    Key(
        name="engine_api_key_file",
        convert=values.path,
        environment=("NIMCTL_ENGINE_API_KEY_FILE",),
        guides_secret=True,
        help="A file that holds the key such an engine wants.",
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
        name="offline",
        convert=values.truth,
        default=False,
        environment=("NIMCTL_OFFLINE", "HF_HUB_OFFLINE", "NIM_DISABLE_MODEL_DOWNLOAD"),
        help="Use only what is on this disk; open no connection.",
    ),
    Key(
        name="mirrors",
        convert=values.mirrors,
        default=(),
        environment=("NIMCTL_MIRRORS", "NIM_REPOSITORY_OVERRIDE"),
        option="--mirror",
        guides_secret=True,
        help="Where the files of hf:// and ngc:// come from instead: ADDRESS, or PREFIX=ADDRESS.",
    ),
    Key(
        name="connections",
        convert=values.whole_number(1, 64),
        environment=("NIMCTL_CONNECTIONS",),
        help="How many connections a download opens at most; as many as the source takes if unset.",
    ),
    Key(
        name="limit_rate",
        convert=values.rate,
        environment=("NIMCTL_LIMIT_RATE",),
        help="Bytes a second that a download takes at most, e.g. 50MB/s.",
    ),
    Key(
        name="xet",
        convert=values.truth,
        default=False,
        environment=("NIMCTL_XET",),
        help="Whether large files of Hugging Face come out of its Xet storage, through hf_xet.",
    ),
    Key(
        name="progress",
        convert=values.choice("auto", "bars", "plain", "json", "none"),
        default="auto",
        environment=("NIMCTL_PROGRESS",),
        help="How a download is told: auto, bars, plain, json (lines on standard error) or none.",
    ),
    Key(
        name="allow_pickle",
        convert=values.truth,
        default=False,
        environment=("NIMCTL_ALLOW_PICKLE",),
        lets_code_in=True,
        help="Whether pickles are brought where a model has nothing else.",
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
    Key(
        name="require_signature",
        convert=values.path,
        environment=("NIMCTL_REQUIRE_SIGNATURE",),
        lets_code_in=True,
        help="The public key (PEM) of whoever must have signed what is fetched.",
    ),
    Key(
        name="hf_token",
        convert=values.secret,
        default=Secret(),
        environment=("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"),
        secret=True,
        help="The token for Hugging Face.",
    ),
    Key(
        name="hf_endpoint",
        convert=values.url,
        default="https://huggingface.co",
        environment=("HF_ENDPOINT",),
        guides_secret=True,
        help="The address of Hugging Face or of a mirror.",
    ),
    Key(
        name="ngc_api_key",
        convert=values.secret,
        default=Secret(),
        environment=("NGC_API_KEY", "NGC_CLI_API_KEY"),
        secret=True,
        help="The key for NVIDIA NGC.",
    ),
    Key(
        name="ngc_endpoint",
        convert=values.url,
        default="https://api.ngc.nvidia.com",
        environment=("NIMCTL_NGC_ENDPOINT", "NGC_CLI_API_URL"),
        guides_secret=True,
        help="The address of NGC's API.",
    ),
    Key(
        name="ngc_auth_endpoint",
        convert=values.url,
        default="https://authn.nvidia.com",
        environment=("NIMCTL_NGC_AUTH_ENDPOINT", "NGC_CLI_AUTH_URL"),
        guides_secret=True,
        help="Where NGC gives out tokens for keys of the old kind.",
    ),
    Key(
        name="log_level",
        convert=values.choice("debug", "info", "warning", "error", aliases=_LOG_LEVEL_ALIASES),
        default="info",
        environment=("NIMCTL_LOG_LEVEL", "NIM_LOG_LEVEL"),
        help="Which requests are logged: debug (all), info, warning or error.",
    ),
    Key(
        name="log_format",
        convert=values.choice("text", "json", aliases=_LOG_FORMAT_ALIASES),
        default="text",
        environment=("NIMCTL_LOG_FORMAT", "NIM_JSONL_LOGGING"),
        help="How requests are logged: text, or json with NIM's field names.",
    ),
    Key(
        name="otel",
        convert=values.truth,
        default=False,
        environment=("NIMCTL_OTEL", "NIM_ENABLE_OTEL"),
        help="Whether requests are traced by OpenTelemetry (the extra `otel`).",
    ),
    Key(
        name="otel_service_name",
        convert=values.text,
        default="nimctl",
        environment=("NIMCTL_OTEL_SERVICE_NAME", "NIM_OTEL_SERVICE_NAME", "OTEL_SERVICE_NAME"),
        help="What this server is called in traces.",
    ),
    Key(
        name="otel_traces_exporter",
        convert=values.choice("otlp", "console", "none"),
        default="otlp",
        environment=(
            *("NIMCTL_OTEL_TRACES_EXPORTER", "NIM_OTEL_TRACES_EXPORTER"),
            "OTEL_TRACES_EXPORTER",
        ),
        help="Where traces go: otlp (protobuf by HTTP), console (standard error) or none.",
    ),
    Key(
        name="otel_endpoint",
        convert=values.url,
        default="http://localhost:4318",
        environment=(
            *("NIMCTL_OTEL_ENDPOINT", "NIM_OTEL_EXPORTER_OTLP_ENDPOINT"),
            "OTEL_EXPORTER_OTLP_ENDPOINT",
        ),
        guides_secret=True,
        help="The OTLP collector's address, without /v1/traces.",
    ),
    Key(
        name="start_timeout_s",
        convert=values.seconds,
        default=600.0,
        environment=("NIMCTL_START_TIMEOUT_S",),
        option="--start-timeout",
        help="Seconds without progress after which a starting engine is given up.",
    ),
    Key(
        name="drain_timeout_s",
        convert=values.seconds,
        default=30.0,
        environment=("NIMCTL_DRAIN_TIMEOUT_S",),
        option="--drain-timeout",
        help="Seconds that running requests get to finish when the server stops.",
    ),
    Key(
        name="restart_limit",
        convert=values.whole_number(0),
        default=5,
        environment=("NIMCTL_RESTART_LIMIT",),
        help="How often an engine that died is started again in that time; 0 never does.",
    ),
    Key(
        name="restart_window_s",
        convert=values.seconds,
        default=600.0,
        environment=("NIMCTL_RESTART_WINDOW_S",),
        help="The seconds within which restarts are counted.",
    ),
    Key(
        name="hang_timeout_s",
        convert=values.seconds,
        default=60.0,
        environment=("NIMCTL_HANG_TIMEOUT_S",),
        help="Seconds after which an engine that does not answer is restarted; 0 never does.",
    ),
)

KEY_BY_NAME = {key.name: key for key in KEYS}
KEY_BY_VARIABLE = {variable: key for key in KEYS for variable in key.environment}

# The tags of NIM's manifests that are a setting of nimctl.
KEY_NAME_BY_TAG = {
    "llm_engine": "engine",
    "precision": "precision",
    "tp": "tensor_parallel",
    "profile": "goal",
    "feat_lora": "lora",
}
