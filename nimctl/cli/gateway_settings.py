"""From settings to the gateway: where it listens, whom it lets in, how much at once."""

import stat
from pathlib import Path

from nimctl.cli.terminal import print_warning
from nimctl.errors import InputError
from nimctl.server import ApiKey, Cors, GatewayConfig, TlsFiles
from nimctl.settings import Settings
from nimctl.settings.values import Secret

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def make_gateway_config(settings: Settings) -> GatewayConfig:
    """What the gateway is told, with a warning of what works and may not be wanted.

    Raises:
        InputError: files are missing, or settings contradict each other.
    """
    keys, tls = read_api_keys(settings), choose_tls(settings)
    if settings.uds is None:
        _warn_if_open(settings, keys, tls)
    return GatewayConfig(
        host=settings.host,
        port=settings.port,
        uds=None if settings.uds is None else str(settings.uds),
        tls=tls,
        api_keys=keys,
        management_keys=_read_class(settings.management_api_key, settings.management_api_key_file),
        metrics_keys=_read_class(settings.metrics_api_key, settings.metrics_api_key_file),
        cors=_make_cors(settings),
        max_running=settings.max_concurrency,
        max_waiting=settings.max_waiting,
        max_body_bytes=settings.max_body_size,
        drain_timeout_s=settings.drain_timeout_s,
    )


def choose_tls(settings: Settings) -> TlsFiles | None:
    """The files TLS is made of; None speaks plain HTTP.

    Raises:
        InputError: the mode asks for files that were not named.
    """
    mode = settings.tls_mode
    if mode == "off" or (mode is None and settings.tls_cert is None):
        return None
    if settings.tls_cert is None:
        raise InputError(f"TLS ({mode}) needs a certificate", hint="name it with --tls-cert")
    if mode == "mtls" and settings.tls_client_ca is None:
        raise InputError(
            "mtls needs the authorities that sign the certificates of callers",
            hint="name their file with --tls-client-ca",
        )
    if settings.uds is not None:
        raise InputError(
            "a unix socket is not served by TLS", hint="leave out --uds, or set --tls-mode off"
        )
    return TlsFiles(
        certificate=settings.tls_cert,
        key=settings.tls_key,
        client_authorities=None if mode == "tls" else settings.tls_client_ca,
    )


def read_api_keys(settings: Settings) -> tuple[ApiKey, ...]:
    """The keys callers may present: the setting's own, and those of the key file.

    Raises:
        InputError: the file cannot be read, or holds no key.
    """
    return _read_class(settings.api_key, settings.api_key_file)


def _read_class(own: Secret, file: Path | None) -> tuple[ApiKey, ...]:
    keys = []
    key = own.reveal()
    if key:
        keys.append(ApiKey(name="api_key", key=key))
    if file is not None:
        keys += _read_key_file(file)
    return tuple(keys)


def read_secret_line(path: Path) -> str:
    """The first line of a file that holds a single key.

    Raises:
        InputError: it cannot be read, or holds nothing.
    """
    lines = [line for line in _read_lines(path) if line]
    if not lines:
        raise InputError(f"the key file {path} holds no key")
    return lines[0]


def _read_key_file(path: Path) -> list[ApiKey]:
    """One key a line, behind its name if it has one."""
    lines = _read_lines(path)
    keys = []
    for number, line in enumerate(lines, 1):
        if line and not line.startswith("#"):
            name, _, key = line.rpartition(" ")
            keys.append(ApiKey(name=name.strip() or f"{path.name}:{number}", key=key))
    if not keys:
        raise InputError(
            f"the key file {path} holds no key", hint="write one key a line, or `NAME KEY`"
        )
    return keys


def _read_lines(path: Path) -> list[str]:
    try:
        lines = [line.strip() for line in path.read_text().splitlines()]
        readers = path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise InputError(f"the key file {path} cannot be read: {reason}") from error
    if readers:
        print_warning(f"other users may read the key file {path}; `chmod 600` ends that")
    return lines


def _warn_if_open(settings: Settings, keys: tuple[ApiKey, ...], tls: TlsFiles | None) -> None:
    if settings.host in _LOOPBACK:
        return
    if not keys and (tls is None or tls.client_authorities is None):
        print_warning(
            f"listening on {settings.host} without a key: everybody who reaches this machine "
            "can use the model; --api-key-file asks for one"
        )
    elif tls is None:
        print_warning(
            f"listening on {settings.host} without TLS: keys and prompts can be read on the way; "
            "--tls-cert and --tls-key end that"
        )


def _make_cors(settings: Settings) -> Cors | None:
    if not settings.cors_allow_origins:
        return None
    usual = Cors(origins=settings.cors_allow_origins)
    return Cors(
        origins=usual.origins,
        headers=(*usual.headers, *settings.cors_allow_headers),
        max_age_s=settings.cors_max_age_s,
    )
