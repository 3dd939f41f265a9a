"""Who is let in: keys, how they are compared, and where they never show."""

import hmac
import json

import openai
import pytest

from nimctl.server.gateway import ApiKey, GatewayConfig, keys

KEYS = (ApiKey(name="alice", key="k-alice"), ApiKey(name="bob", key="k-bob"))


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([], 401),
        (["Authorization: Bearer k-eve"], 401),
        (["Authorization: Bearer "], 401),
        (["Authorization: Basic k-bob"], 401),
        (["Authorization: Bearer k-bob"], 200),
        (["authorization: bearer k-alice"], 200),
        (["X-Api-Key: k-bob"], 200),
    ],
)
def test_keys(headers, status, start_gateway, engine, raw):
    gateway = start_gateway(engine, api_keys=KEYS)
    answered, answer, body = raw.parse(
        gateway.exchange(raw.post(headers=[*headers, "Connection: close"]))
    )
    assert answered == status
    if status == 401:
        assert answer["www-authenticate"] == "Bearer"
        assert json.loads(body)["error"]["code"] == "invalid_api_key"
        assert engine.events("begun") == []
    else:
        [record] = raw.until(lambda: gateway.records)
        assert record.key_name in ("alice", "bob")


def test_official_client_with_a_key(start_gateway, engine):
    url = start_gateway(engine, api_keys=KEYS).url
    with openai.OpenAI(base_url=f"{url}/v1", api_key="k-bob") as client:
        assert client.models.list().data
    with (
        openai.OpenAI(base_url=f"{url}/v1", api_key="wrong") as client,
        pytest.raises(openai.AuthenticationError),
    ):
        client.models.list()


def test_health_and_metrics_need_no_key(start_gateway, engine, raw):
    gateway = start_gateway(engine, api_keys=KEYS)
    for path in ("/v1/health/live", "/v1/health/ready", "/v1/metrics"):
        assert raw.parse(gateway.exchange(raw.get(path)))[0] == 200
    for path in ("/v1/models", "/v1/metadata", "/v1/version"):
        assert raw.parse(gateway.exchange(raw.get(path)))[0] == 401


def test_keys_are_not_shown():
    assert "k-bob" not in repr(GatewayConfig(api_keys=KEYS))


def test_keys_are_compared_in_a_time_that_tells_nothing(start_gateway, engine, raw, monkeypatch):
    """Every key is compared, whichever is right, as digests of one length, by `compare_digest`."""
    compared = []

    class Watched:
        @staticmethod
        def compare_digest(one, other):
            compared.append((len(one), len(other)))
            return hmac.compare_digest(one, other)

    monkeypatch.setattr(keys, "hmac", Watched)
    gateway = start_gateway(engine, api_keys=KEYS)
    for key in ("k-alice", "k-bob", "k", "x" * 5000):
        compared.clear()
        gateway.exchange(raw.get("/v1/version", headers=(f"X-Api-Key: {key}", "Connection: close")))
        assert compared == [(32, 32)] * len(KEYS)


@pytest.mark.parametrize(
    "headers",
    [
        ["Authorization: Bearer k-bob", "Authorization: Bearer k-eve"],
        ["X-Api-Key: k-bob", "X-Api-Key: k-eve"],
    ],
)
def test_two_keys_are_no_key(headers, start_gateway, engine, raw):
    gateway = start_gateway(engine, api_keys=KEYS)
    assert raw.parse(gateway.exchange(raw.post(headers=headers)))[0] == 400
    assert engine.events("begun") == []


def test_body_of_a_stranger_is_not_waited_for(start_gateway, engine, raw):
    gateway = start_gateway(engine, api_keys=KEYS)
    head = raw.post(body=b"y" * 300_000).partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    assert raw.parse(gateway.exchange(head))[0] == 401


def test_each_class_of_paths_is_opened_by_its_own_keys(start_gateway, engine, raw):
    gateway = start_gateway(
        engine,
        api_keys=(ApiKey(name="g", key="k-g"),),
        management_keys=(ApiKey(name="a", key="k-a"),),
        metrics_keys=(ApiKey(name="m", key="k-m"),),
    )
    generation = ("POST /v1/chat/completions", "GET /v1/models", "GET /v1/models/fake")
    management = ("GET /v1/metadata", "GET /v1/version", "POST /v1/load_lora_adapter")
    for opening, paths in (
        ("k-g", generation),
        ("k-a", management),
        ("k-m", ("GET /v1/metrics",)),
    ):
        for key in ("k-g", "k-a", "k-m"):
            for method, path in map(str.split, paths):
                headers = (f"X-Api-Key: {key}", "Connection: close")
                asked = raw.post(path, headers=headers)
                if method == "GET":
                    asked = raw.get(path, headers=headers)
                status = raw.parse(gateway.exchange(asked))[0]
                assert (status == 200) is (key == opening), (path, key, status)
    for path in ("/v1/health/live", "/v1/health/ready", "/openapi.json", "/docs"):
        assert raw.parse(gateway.exchange(raw.get(path)))[0] == 200
