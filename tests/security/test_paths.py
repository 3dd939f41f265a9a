"""Paths that could mean another one to somebody behind: known ones only, and never rewritten."""

import json

import pytest

from nimctl.server.gateway import ApiKey


@pytest.mark.parametrize(
    ("request_line", "status", "code"),
    [
        ("GET /v1/nowhere", 404, "unknown_path"),
        ("GET /v1/chat/completions/", 404, "unknown_path"),
        ("GET //v1/version", 404, "unknown_path"),
        ("GET /v1/../v1/version", 404, "unknown_path"),
        ("GET /v1/chat/completions", 405, "wrong_method"),
        ("DELETE /v1/models", 405, "wrong_method"),
        ("OPTIONS *", 404, "unknown_path"),
    ],
)
def test_paths_and_methods_there_are_not(request_line, status, code, gateway, raw):
    method, path = request_line.split()
    answered, headers, body = raw.parse(gateway.exchange(raw.get(path, method=method)))
    error = json.loads(body)["error"]
    assert (answered, error["code"]) == (status, code)
    assert error["type"] == "invalid_request_error"
    assert ("allow" in headers) is (status == 405)


def test_absolute_form_and_query(gateway, raw):
    for target in ("http://x/v1/version", "/v1/version?a=b", "http://x/v1/version?a#b"):
        assert raw.parse(gateway.exchange(raw.get(target)))[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "/v1/responses/",
        "/v1/responses/a/b",
        "/v1/responses/a/cancel/",
        "/v1/responses/..",
        "/v1/responses/%2e%2e",
        "/v1/responses/a%2fb",
    ],
)
def test_paths_that_only_look_like_a_response(path, gateway, raw):
    status, _, body = raw.parse(gateway.exchange(raw.get(path)))
    assert (status, json.loads(body)["error"]["code"]) == (404, "unknown_path")


KEYED = "/v1/metadata"


@pytest.mark.parametrize(
    "target",
    [
        "/v1/health/../metadata",
        "/v1/health/live/../../metadata",
        "/v1/health/live;/../metadata",
        "/v1/health/%2e%2e/metadata",
        "/v1/health/..%2fmetadata",
        "/v1/health\\..\\metadata",
        "/v1//metadata",
        "/v1/./metadata",
        "/v1/metadata/",
        "/v1/metadata%00",
        "/v1/metadata%20",
        "/v1/%6detadata",
        "/V1/METADATA",
        "/v1/metadata;x=y",
        "http://x//v1/metadata",
        "http://x/v1/health/live/../../metadata",
        "x:80",
        "v1/metadata",
    ],
)
def test_no_spelling_of_a_path_goes_around_its_key(target, start_gateway, engine, raw):
    gateway = start_gateway(engine, api_keys=(ApiKey(name="a", key="k"),))
    assert raw.parse(gateway.exchange(raw.get(target)))[0] in (400, 401, 404)
    assert raw.parse(gateway.exchange(raw.get(KEYED)))[0] == 401


@pytest.mark.parametrize("target", ["/v1/responses/r1?a=\xff", "/v1/responses/r1?a=\xe2\x80\xa8"])
def test_bytes_beyond_ascii_reach_no_engine(target, gateway, engine, raw):
    request = f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode("latin-1")
    assert raw.parse(gateway.exchange(request + raw.get("/v1/version")))[0] == 400


def test_engine_is_asked_the_path_that_was_checked(start_gateway, scripted_engine, raw):
    engine = scripted_engine(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
    gateway = start_gateway(engine)
    request = raw.post(
        "http://elsewhere/v1/chat/completions?a=/../b", headers=["Connection: close"]
    )
    assert raw.parse(gateway.exchange(request))[0] == 200
    assert engine.heard[0].startswith(
        b"POST /v1/chat/completions?a=/../b HTTP/1.1\r\nhost: localhost"
    )
