"""Settings of the server: where it listens, who may call, what it logs, how it watches engines."""

from types import MappingProxyType

from nimctl.core.units import MIB
from nimctl.settings import values
from nimctl.settings.key import Key
from nimctl.settings.values import Secret

_TLS_MODE_ALIASES = MappingProxyType({"disabled": "off", "none": "off"})
"""NIM's word for no TLS."""

_LOG_FORMAT_ALIASES = MappingProxyType({"0": "text", "false": "text", "1": "json", "true": "json"})
"""NIM's variable says only whether it is JSON."""

# NIM writes its levels in upper case; case is not told apart.
_LOG_LEVEL_ALIASES = {
    "default": "info",
    "trace": "debug",
    "warn": "warning",
    "critical": "error",
}

GATEWAY_KEYS: tuple[Key, ...] = (
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
