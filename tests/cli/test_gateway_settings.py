"""From settings and NIM's variables to what the gateway is told."""

from pathlib import Path

import pytest

from nimctl.cli.gateway_settings import make_gateway_config
from nimctl.errors import InputError
from nimctl.settings import read_settings


@pytest.fixture
def configure(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def make(*, flags=None, **environment):
        named = {"HOME": str(tmp_path), **environment}
        return make_gateway_config(read_settings(flags or {}, environment=named))

    return make


def key_file(tmp_path, text, mode=0o600):
    path = tmp_path / "keys"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_nims_variables_of_tls(configure):
    files = {"NIM_SSL_CERTS_PATH": "/c.pem", "NIM_SSL_KEY_PATH": "/k.pem"}
    assert configure(**files).tls.certificate == Path("/c.pem")
    assert configure(**files, NIM_SSL_MODE="DISABLED").tls is None
    mutual = configure(**files, NIM_SSL_MODE="MTLS", NIM_SSL_CA_CERTS_PATH="/ca.pem")
    assert mutual.tls.client_authorities == Path("/ca.pem")
    plain = configure(**files, NIM_SSL_MODE="TLS", NIM_SSL_CA_CERTS_PATH="/ca.pem")
    assert plain.tls.client_authorities is None


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"NIM_SSL_MODE": "TLS"}, "needs a certificate"),
        ({"NIM_SSL_MODE": "MTLS", "NIM_SSL_CERTS_PATH": "/c.pem"}, "needs the authorities"),
        ({"NIMCTL_TLS_CERT": "/c.pem", "NIMCTL_UDS": "/s.sock"}, "unix socket"),
    ],
)
def test_tls_that_cannot_be(environment, words, configure):
    with pytest.raises(InputError, match=words):
        configure(**environment)


def test_limits_and_pages(configure):
    config = configure(
        NIMCTL_MAX_CONCURRENCY="8",
        NIMCTL_MAX_WAITING="0",
        NIM_PROXY_CLIENT_MAX_BODY_SIZE="100m",
        NIM_CORS_ALLOW_ORIGINS="https://a.example,https://b.example",
        NIM_CORS_ALLOW_HEADERS="x-team",
        NIM_CORS_MAX_AGE="60",
    )
    assert (config.max_running, config.max_waiting) == (8, 0)
    assert config.max_body_bytes == 100 * 1024**2
    assert config.cors.origins == ("https://a.example", "https://b.example")
    assert "x-team" in config.cors.headers
    assert config.cors.max_age_s == 60
    assert configure().cors is None


def test_keys_have_names(configure, tmp_path):
    file = key_file(tmp_path, "# the team\nalice sk-1\n\nsk-2\n")
    config = configure(NIMCTL_API_KEY_FILE=str(file), NIMCTL_API_KEY="sk-0")
    assert [(key.name, key.key) for key in config.api_keys] == [
        ("api_key", "sk-0"),
        ("alice", "sk-1"),
        ("keys:4", "sk-2"),
    ]


def test_each_class_of_paths_has_its_keys(configure, tmp_path):
    file = key_file(tmp_path, "prometheus sk-m\n")
    config = configure(
        NIMCTL_API_KEY="sk-g",
        NIMCTL_MANAGEMENT_API_KEY="sk-a",
        NIMCTL_METRICS_API_KEY_FILE=str(file),
    )
    assert [key.key for key in config.api_keys] == ["sk-g"]
    assert [key.key for key in config.management_keys] == ["sk-a"]
    assert [(key.name, key.key) for key in config.metrics_keys] == [("prometheus", "sk-m")]


def test_what_others_may_read_is_said(configure, tmp_path, capsys):
    configure(NIMCTL_API_KEY_FILE=str(key_file(tmp_path, "sk-1\n", 0o644)))
    assert "chmod 600" in capsys.readouterr().err


def test_open_addresses_are_warned_of(configure, tmp_path, capsys):
    configure(NIMCTL_HOST="192.0.2.7")
    assert "without a key" in capsys.readouterr().err
    configure(NIMCTL_HOST="192.0.2.7", NIMCTL_API_KEY="sk")
    assert "without TLS" in capsys.readouterr().err
    configure(NIMCTL_HOST="192.0.2.7", NIMCTL_API_KEY="sk", NIMCTL_TLS_CERT="/c.pem")
    configure(NIMCTL_HOST="127.0.0.1")
    assert capsys.readouterr().err == ""
