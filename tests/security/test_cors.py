"""Web pages of other origins: off unless asked, and only those that are named."""

import pytest

from nimctl.server.gateway.cors import Cors

PAGE = "Origin: https://chat.example"
QUESTION = (PAGE, "Access-Control-Request-Method: POST", "Connection: close")


def ask(gateway, raw, *headers, path="/v1/models", method="GET"):
    status, found, _ = raw.parse(gateway.exchange(raw.get(path, method=method, headers=headers)))
    return status, {name: value for name, value in found.items() if name.startswith("access-")}


def test_without_a_setting_no_page_may_call(gateway, raw):
    assert ask(gateway, raw, PAGE, "Connection: close") == (200, {})
    assert ask(gateway, raw, *QUESTION, method="OPTIONS") == (405, {})


def test_page_that_is_named(start_gateway, engine, raw):
    gateway = start_gateway(engine, cors=Cors(origins=("https://chat.example",)))
    status, told = ask(gateway, raw, *QUESTION, path="/v1/chat/completions", method="OPTIONS")
    assert status == 204
    assert told["access-control-allow-origin"] == "https://chat.example"
    assert "POST" in told["access-control-allow-methods"]
    assert "authorization" in told["access-control-allow-headers"]
    status, told = ask(gateway, raw, PAGE, "Connection: close")
    assert (status, told["access-control-allow-origin"]) == (200, "https://chat.example")
    _, told = ask(gateway, raw, "Origin: https://evil.example", "Connection: close")
    assert told == {}
    status, told = ask(
        gateway,
        raw,
        "Origin: https://evil.example",
        *QUESTION[1:],
        method="OPTIONS",
    )
    assert (status, told) == (403, {})


def test_streams_carry_it_too(start_gateway, engine, raw):
    gateway = start_gateway(engine, cors=Cors(origins=("*",)))
    answer = gateway.exchange(raw.post(headers=(PAGE, "Connection: close"), stream=True))
    _, headers, _ = raw.parse(answer)
    assert headers["access-control-allow-origin"] == "*"
    assert "x-request-id" in headers["access-control-expose-headers"]


@pytest.mark.parametrize("origin", ["null", "https://chat.example.evil", "https://CHAT.example"])
def test_nearly_the_same_is_another_page(origin, start_gateway, engine, raw):
    gateway = start_gateway(engine, cors=Cors(origins=("https://chat.example",)))
    assert ask(gateway, raw, f"Origin: {origin}", "Connection: close") == (200, {})


def test_key_is_still_needed(start_gateway, engine, raw):
    from nimctl.server.gateway import ApiKey

    gateway = start_gateway(
        engine, cors=Cors(origins=("*",)), api_keys=(ApiKey(name="one", key="secret"),)
    )
    assert ask(gateway, raw, *QUESTION, method="OPTIONS")[0] == 204
    assert ask(gateway, raw, PAGE, "Connection: close")[0] == 401
