"""What the gateway answers itself: NIM's management routes, refusals, keys, metrics, its port."""

import json
import os
import socket
from pathlib import Path

import pytest

from nimctl.core.engine_address import EngineAddress
from nimctl.errors import InputError
from nimctl.server.gateway import ApiKey, GatewayConfig, ServedModel
from nimctl.server.gateway.ports import find_port_holder

KEYS = (ApiKey(name="alice", key="k-alice"), ApiKey(name="bob", key="k-bob"))


def test_models_in_nims_shape(gateway, raw):
    document = json.loads(raw.parse(gateway.exchange(raw.get("/v1/models")))[2])
    assert document["object"] == "list"
    first, alias = document["data"]
    assert {**first, "permission": None} == {
        "id": "meta/fake-8b",
        "object": "model",
        "created": 1_700_000_000,
        "owned_by": "system",
        "root": "meta/fake-8b",
        "parent": None,
        "max_model_len": 4096,
        "permission": None,
    }
    assert first["permission"][0]["object"] == "model_permission"
    assert (alias["id"], alias["root"]) == ("fake", "meta/fake-8b")


@pytest.mark.parametrize("name", ["meta/fake-8b", "meta%2Ffake-8b", "fake"])
def test_one_model_by_name(name, gateway, raw):
    status, _, body = raw.parse(gateway.exchange(raw.get(f"/v1/models/{name}")))
    assert status == 200
    assert json.loads(body)["object"] == "model"


def test_model_that_is_not_there(gateway, raw):
    status, _, body = raw.parse(gateway.exchange(raw.get("/v1/models/meta/other")))
    assert (status, json.loads(body)["error"]["code"]) == (404, "model_not_found")


def test_health_metadata_and_version(gateway, raw):
    answers = {
        path: json.loads(raw.parse(gateway.exchange(raw.get(path)))[2])
        for path in ("/v1/health/live", "/v1/health/ready", "/v1/metadata", "/v1/version")
    }
    assert answers["/v1/health/ready"] == {
        "object": "health.response",
        "message": "Service is ready.",
    }
    assert answers["/v1/health/live"]["object"] == "health.response"
    assert answers["/v1/metadata"] == {"selectedModelProfileId": "ab" * 32}
    assert answers["/v1/version"] == {"release": "0.1.0", "api": "1.0"}


def test_readiness_follows_the_engine(gateway, raw):
    def status():
        return raw.parse(gateway.exchange(raw.get("/v1/health/ready")))[0]

    assert status() == 200
    gateway.state.down("The engine died.")
    assert status() == 503
    gateway.state.ready(EngineAddress(port=1))
    assert status() == 200


def test_head_is_answered_like_get_without_a_body(gateway, raw):
    want = raw.parse(gateway.exchange(raw.get("/v1/version")))
    got = raw.parse(gateway.exchange(raw.get("/v1/version", method="HEAD")))
    assert (got[0], got[1]["content-length"], got[2]) == (200, want[1]["content-length"], b"")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[1]",
        b'"text"',
        b'{"a": NaN}',
        b'{"a": "\xff"}',
        b"[" * 100_000,
        b'{"a": ' + b"9" * 10_000 + b"}",
        b'{"nvext": [1]}',
    ],
    ids=["empty", "cut", "list", "text", "NaN", "not UTF-8", "deep", "long number", "nvext list"],
)
def test_body_that_is_no_json_object(body, gateway, raw):
    request = raw.post(body=body, headers=["Connection: close"])
    status, _, answer = raw.parse(gateway.exchange(request))
    assert (status, json.loads(answer)["error"]["code"]) == (400, "invalid_body")


def test_refused_body_leaves_the_connection_open(gateway, raw):
    with gateway.connect() as client:
        client.sendall(raw.post(body=b"{"))
        assert raw.parse(raw.read_answer(client))[0] == 400
        client.sendall(raw.post())
        assert raw.parse(raw.read_answer(client))[0] == 200


def test_taken_port_names_its_holder(gateway, start_gateway):
    with pytest.raises(InputError) as caught:
        gateway.call(_start(gateway.port))
    comm = Path("/proc/self/comm").read_text().strip()
    assert (
        caught.value.message == f"127.0.0.1:{gateway.port} is taken by {comm} (pid {os.getpid()})."
    )
    assert "--port" in caught.value.hint


def test_socket_in_a_folder_that_is_not_there(gateway, tmp_path):
    with pytest.raises(InputError, match=r"Cannot listen on .*No such file"):
        gateway.call(_start(0, uds=str(tmp_path / "missing" / "g.sock")))


def test_host_of_another_machine(gateway):
    with pytest.raises(InputError, match=r"Cannot listen on 203\.0\.113\.1:1234"):
        gateway.call(_start(1234, host="203.0.113.1"))


async def _start(port, **config):
    from nimctl.server.gateway import EngineState, Gateway

    model = ServedModel(names=("m",), created=0)
    config = GatewayConfig(port=port, **config)
    await Gateway(config=config, model=model, engine=EngineState()).start()


def test_port_nobody_holds():
    assert find_port_holder(1) is None


def test_unix_socket_is_taken_over_only_when_stale(start_gateway, engine, raw, tmp_path):
    path = str(tmp_path / "g.sock")
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(path)
    gateway = start_gateway(engine, uds=path)
    assert gateway.url == f"unix:{path}"
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        client.sendall(raw.get("/v1/health/ready"))
        assert raw.parse(raw.read_all(client))[0] == 200
    with pytest.raises(InputError, match="in use"):
        gateway.call(_start(0, uds=path))
    gateway.call(gateway.gateway.close())
    assert not Path(path).exists()
