"""TLS: no older version, no plain words on its port, callers only with a signed certificate."""

import socket
import ssl

import httpx
import pytest
from authority import Authority

from nimctl.server.gateway.tls import TlsFiles


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
def server_files(authority):
    certificate, key = authority.write("server")
    return TlsFiles(certificate=certificate, key=key)


def greet(port, context):
    """The version that was agreed on."""
    with (
        socket.create_connection(("127.0.0.1", port), 5) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        return connection.version()


def trusting(authority, *chain):
    context = ssl.create_default_context(cafile=authority.file)
    if chain:
        context.load_cert_chain(*chain)
    return context


def test_old_versions_and_plain_http_fail(start_gateway, engine, authority, server_files, raw):
    gateway = start_gateway(engine, tls=server_files)
    with gateway.connect() as plain:
        plain.sendall(raw.get("/v1/health/live"))
        assert b"200" not in raw.read_all(plain)
    old = trusting(authority)
    with pytest.warns(DeprecationWarning):
        old.minimum_version = ssl.TLSVersion.TLSv1_1
    with pytest.warns(DeprecationWarning):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError):
        greet(gateway.port, old)
    assert greet(gateway.port, trusting(authority)) == "TLSv1.3"


def test_callers_show_a_signed_certificate(start_gateway, engine, authority, tmp_path):
    certificate, key = authority.write("server")
    files = TlsFiles(certificate=certificate, key=key, client_authorities=authority.file)
    gateway = start_gateway(engine, tls=files)

    def ask(*chain):
        with httpx.Client(verify=trusting(authority, *chain)) as client:
            return client.get(f"{gateway.url}/v1/health/ready").status_code

    assert ask(*authority.write("caller")) == 200
    stranger = Authority(tmp_path, "stranger")
    for chain in ((), stranger.write("intruder")):
        with pytest.raises(httpx.TransportError):
            ask(*chain)
