"""The settings of one run: a typed value for each key, and who set it."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from nimctl.core.engine_address import EngineAddress
from nimctl.core.names import EngineName, WishGoal
from nimctl.settings.table import KEYS
from nimctl.settings.values import Secret

ProgressForm = Literal["auto", "bars", "plain", "json", "none"]
TracesExporter = Literal["otlp", "console", "none"]
LogFormat = Literal["text", "json"]
TlsMode = Literal["off", "tls", "mtls"]
LogLevel = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Settings:
    """One value for each key of the table, with its origin.

    Attributes:
        origins: Who set each key: `flag --port`, `environment NIM_SERVER_PORT`, `nimctl.yaml:3`
            (file and line) or `default`.
        notes: One sentence for each thing that was said and has no effect.
        files: The settings files that were read, strongest first.
        environment: The environment that was read, secrets included, to pass on; never shown.
    """

    model: str | None
    engines_dir: Path | None
    engine_path: Path | None
    container: Literal["docker", "podman"] | None
    container_image: str | None
    shm_size: str
    manifest_dirs: tuple[Path, ...]
    profile: str | None
    engine: EngineName | None
    precision: str | None
    goal: WishGoal | None
    context_length: int | None
    concurrency: int | None
    kv_precision: str | None
    tensor_parallel: int | None
    memory_share: float | None
    lora: bool
    lora_dir: Path | None
    lora_adapters: tuple[tuple[str, Path], ...]
    max_lora_rank: int | None
    max_loras: int | None
    max_cpu_loras: int | None
    tool_parser: str | None
    reasoning_parser: str | None
    chat_template: Path | None
    prefix_caching: bool | None
    chunked_prefill: bool | None
    structured_output_backend: str | None
    speculative: str | None
    speculative_tokens: int | None
    seed: int | None
    tags_selector: Mapping[str, str]
    allow_cpu: bool
    heal: bool
    engine_args: tuple[str, ...]
    trust_remote_code: bool
    cache_dir: Path
    offline: bool
    mirrors: tuple[str, ...]
    connections: int | None
    limit_rate: int | None
    xet: bool
    progress: ProgressForm
    allow_pickle: bool
    require_signature: Path | None
    hf_token: Secret
    hf_endpoint: str
    ngc_api_key: Secret
    ngc_endpoint: str
    ngc_auth_endpoint: str
    host: str
    port: int
    uds: Path | None
    tls_mode: TlsMode | None
    tls_cert: Path | None
    tls_key: Path | None
    tls_client_ca: Path | None
    max_concurrency: int | None
    max_waiting: int
    max_body_size: int
    cors_allow_origins: tuple[str, ...]
    cors_allow_headers: tuple[str, ...]
    cors_max_age_s: int
    served_model_names: tuple[str, ...]
    api_key: Secret
    api_key_file: Path | None
    management_api_key: Secret
    management_api_key_file: Path | None
    metrics_api_key: Secret
    metrics_api_key_file: Path | None
    engine_url: EngineAddress | None
    engine_api_key: Secret
    engine_api_key_file: Path | None
    log_level: LogLevel
    log_format: LogFormat
    otel: bool
    otel_service_name: str
    otel_traces_exporter: TracesExporter
    otel_endpoint: str
    start_timeout_s: float
    drain_timeout_s: float
    restart_limit: int
    restart_window_s: float
    hang_timeout_s: float
    origins: Mapping[str, str]
    notes: tuple[str, ...]
    files: tuple[Path, ...]
    environment: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class SettingLine:
    """One setting as a person reads it; a secret's value is `set` or `not set`."""

    name: str
    value: str
    origin: str
    help: str


def list_settings(settings: Settings) -> tuple[SettingLine, ...]:
    """Every setting in the order of the table, for listings."""
    return tuple(
        SettingLine(
            name=key.name,
            value=_format_value(getattr(settings, key.name)),
            origin=settings.origins[key.name],
            help=key.help,
        )
        for key in KEYS
    )


def _format_value(value: object) -> str:
    if value is None or value in ((), {}):
        return "not set"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return ",".join(f"{name}={text}" for name, text in value.items())
    if isinstance(value, tuple):
        return shlex.join(
            f"{item[0]}={item[1]}" if isinstance(item, tuple) else str(item) for item in value
        )
    return str(value)
