"""TLS and mutual TLS: who is let in by which certificate, and files that are renewed."""

import socket
import ssl

import httpx
import pytest
from authority import Authority
from openai import OpenAI

from nimctl.errors import InputError
from nimctl.server.gateway.tls import TlsFiles


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
def server_files(authority):
    certificate, key = authority.write("server")
    return TlsFiles(certificate=certificate, key=key)


def trusting(authority, *chain):
    context = ssl.create_default_context(cafile=authority.file)
    if chain:
        context.load_cert_chain(*chain)
    return context


def shown_name(port, context):
    """Whose certificate the server shows."""
    with (
        socket.create_connection(("127.0.0.1", port), 5) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        return dict(pair[0] for pair in connection.getpeercert()["subject"])["commonName"]


def test_official_client_streams_by_tls(start_gateway, engine, authority, server_files):
    gateway = start_gateway(engine, tls=server_files)
    assert gateway.url.startswith("https://127.0.0.1:")
    with OpenAI(
        base_url=f"{gateway.url}/v1",
        api_key="unused",
        http_client=httpx.Client(verify=trusting(authority)),
        max_retries=0,
    ) as client:
        messages = [{"role": "user", "content": "Hello"}]
        whole = client.chat.completions.create(model="fake", messages=messages)
        stream = client.chat.completions.create(model="fake", messages=messages, stream=True)
        pieces = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
    assert whole.choices[0].message.content
    assert len(pieces) > 1


def test_renewed_files_are_used_for_the_connections_after(
    start_gateway, engine, authority, server_files, raw
):
    gateway = start_gateway(engine, tls=server_files)
    context = trusting(authority)
    with (
        socket.create_connection(("127.0.0.1", gateway.port), 5) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as kept,
    ):
        server_files.key.write_text("half of a key")
        raw.until(lambda: any("kept in use" in note for note in gateway.notes))
        assert shown_name(gateway.port, context) == "server"
        certificate, key = authority.write("renewed")
        key.replace(server_files.key)
        certificate.replace(server_files.certificate)
        raw.until(lambda: shown_name(gateway.port, context) == "renewed")
        kept.sendall(raw.get("/v1/health/live"))
        assert b"200 OK" in raw.read_all(kept)


def test_files_that_cannot_be_used_are_named(authority, tmp_path):
    certificate, key = authority.write("server")
    _, other_key = authority.write("other")
    _, locked_key = authority.write("locked", password=b"secret")
    nothing = tmp_path / "nothing.pem"
    for files, words in (
        (TlsFiles(certificate=nothing, key=key), "No such file"),
        (TlsFiles(certificate=certificate, key=other_key), "mismatch"),
        (TlsFiles(certificate=certificate), "cannot be used for TLS"),
        (TlsFiles(certificate=certificate, key=locked_key), "has a password"),
        (
            TlsFiles(certificate=certificate, key=key, client_authorities=key),
            "holds no certificates",
        ),
    ):
        with pytest.raises(InputError, match=words):
            files.load()


def test_refused_body_ends_by_tls_too(start_gateway, engine, authority, server_files, raw):
    gateway = start_gateway(engine, tls=server_files, max_body_bytes=1000)
    with (
        socket.create_connection(("127.0.0.1", gateway.port), 5) as plain,
        trusting(authority).wrap_socket(plain, server_hostname="localhost") as client,
    ):
        client.sendall(raw.post(body=b"x" * 2000))
        assert raw.parse(raw.read_all(client))[0] == 413
