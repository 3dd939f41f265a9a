"""What clients may ask of which engine: routes, NIM's fields, adapters, documents about it all."""

import json
import re

import jsonschema
import pytest

from nimctl.core.surface import Offer, offer
from nimctl.engines import ENGINES
from nimctl.server.gateway.openapi_schemas import BODIES, SUMMARIES
from nimctl.server.gateway.routes import ROUTES

CLOSE = ["Connection: close"]
ADAPTER = {"lora_name": "poet", "lora_path": "/adapters/poet"}


def offer_of(engine, *argv):
    return offer(ENGINES[engine].surface, version=None, argv=argv)


@pytest.fixture
def ask(raw):
    """Status and document of one request."""

    def ask(gateway, path, *, method="POST", **fields):
        if method == "POST":
            data = raw.post(path, headers=CLOSE, **fields)
        else:
            data = raw.get(path, headers=CLOSE, method=method)
        status, _, body = raw.parse(gateway.exchange(data))
        return status, json.loads(body)

    return ask


@pytest.mark.parametrize("engine_name", ENGINES)
def test_a_route_the_engine_lacks_is_refused_before_it_is_asked(engine_name, start_gateway, ask):
    title = ENGINES[engine_name].traits.title
    what = offer_of(engine_name)
    gateway = start_gateway(served={"offer": what})  # no engine at all behind it
    for route in ROUTES:
        if route.respond is None and "{id}" not in route.path:
            status, document = ask(gateway, route.path)
            lacks = not what.offers(route.path)
            assert status == (501 if lacks else 503)
            if lacks:
                error = document["error"]
                assert error["message"].startswith(f"{title} has no {route.path}")
                assert (error["type"], error["code"]) == ("server_error", "not_offered_by_engine")


def test_every_route_reaches_an_engine_that_is_taken_at_its_word(gateway, ask):
    for path in ("/v1/messages/count_tokens", "/v1/rerank", "/rerank", "/detokenize"):
        status, document = ask(gateway, path, tokens=[1])
        assert (status, document["asked"]) == (200, f"POST {path}")
        assert document["heard"] == {"model": "fake", "tokens": [1]}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/responses/resp_1"),
        ("POST", "/v1/responses/resp_1/cancel"),
    ],
)
def test_a_kept_response_is_read_and_cancelled(method, path, gateway, raw):
    request = raw.get(path, method=method, headers=["Content-Length: 0", *CLOSE])
    status, _, body = raw.parse(gateway.exchange(request))
    assert (status, json.loads(body)["asked"]) == (200, f"{method} {path}")
    route = path.replace("resp_1", "{id}")
    assert [key[0] for key in gateway.metrics.requests] == [route]


def test_nvext_is_renamed_for_the_engine(start_gateway, engine, ask, raw):
    what = offer_of("llama.cpp")
    tokenizing = {**what.fields, "/tokenize": what.fields["/v1/chat/completions"]}
    gateway = start_gateway(engine, served={"offer": Offer(title="llama.cpp", fields=tokenizing)})
    asked = {"nvext": {"guided_choice": ["a", "b"], "top_k": 3, "ignore_eos": None}, "min_p": 0.1}
    status, document = ask(gateway, "/tokenize", **asked)
    wanted = {"model": "fake", "min_p": 0.1, "top_k": 3, "grammar": 'root ::= "a" | "b"'}
    assert (status, document["heard"]) == (200, wanted)


@pytest.mark.parametrize("where", ["nvext", "top level"])
def test_a_field_the_engine_cannot_honour_is_refused_by_name(where, start_gateway, engine, ask):
    gateway = start_gateway(engine, served={"offer": offer_of("llama.cpp")})
    fields = {"guided_regex": "a+"}
    fields = {"nvext": fields} if where == "nvext" else fields
    status, document = ask(gateway, "/v1/chat/completions", messages=[], **fields)
    error = document["error"]
    assert (status, error["param"], error["code"]) == (400, "guided_regex", "unsupported_field")
    assert error["message"] == (
        "llama.cpp cannot honour guided_regex: it knows grammars and JSON schemas; "
        "use guided_grammar."
    )
    assert engine.events("begun") == []


def test_an_empty_nvext_does_not_reach_the_engine(start_gateway, engine, ask):
    gateway = start_gateway(engine, served={"offer": offer_of("vllm")})
    _, document = ask(gateway, "/tokenize", prompt="a", nvext={})
    assert document["heard"] == {"model": "fake", "prompt": "a"}
    status, document = ask(gateway, "/tokenize", prompt="a", nvext={"top_k": 1})
    assert (status, document["error"]["param"]) == (400, "top_k")


def test_nvext_of_a_body_too_large_to_be_parsed_goes_on_as_it_came(start_gateway, engine, ask):
    gateway = start_gateway(engine, served={"offer": offer_of("vllm")}, max_parsed_body_bytes=100)
    asked = {"model": "whatever", "prompt": "a" * 200, "nvext": {"top_k": 1}}
    _, document = ask(gateway, "/tokenize", **asked)
    assert document["heard"] == asked


def test_adapters_come_and_go(start_gateway, engine, ask):
    what = offer_of("vllm", "--enable-lora")
    gateway = start_gateway(engine, served={"offer": what, "adapters": ("scribe",)})

    def listed():
        return {model["id"]: model for model in ask(gateway, "/v1/models", method="GET")[1]["data"]}

    assert list(listed()) == ["meta/fake-8b", "fake", "scribe"]
    assert listed()["scribe"]["root"] == listed()["scribe"]["parent"] == "meta/fake-8b"
    assert ask(gateway, "/v1/chat/completions", model="poet")[0] == 404
    assert ask(gateway, "/v1/load_lora_adapter", **ADAPTER)[0] == 200
    assert ask(gateway, "/v1/models/poet", method="GET")[0] == 200
    assert ask(gateway, "/v1/chat/completions", model="poet", messages=[])[0] == 200
    assert ask(gateway, "/v1/unload_lora_adapter", lora_name="poet")[0] == 200
    assert "poet" not in listed()
    assert ask(gateway, "/v1/chat/completions", model="poet")[0] == 404


def test_an_engine_that_ends_forgets_what_it_had_loaded(start_gateway, engine, ask, raw):
    gateway = start_gateway(engine, served={"adapters": ("scribe",)})
    assert ask(gateway, "/v1/load_lora_adapter", **ADAPTER)[0] == 200
    gateway.state.down("It ended.")
    raw.until(lambda: gateway.gateway._service.adapters == ["scribe"])
    gateway.state.ready(engine.address)
    assert ask(gateway, "/v1/models/poet", method="GET")[0] == 404
    assert ask(gateway, "/v1/models/scribe", method="GET")[0] == 200


def test_an_adapter_that_was_not_loaded_is_not_listed(start_gateway, scripted_engine, ask):
    refusal = b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}"
    gateway = start_gateway(scripted_engine(refusal))
    assert ask(gateway, "/v1/load_lora_adapter", **ADAPTER)[0] == 404
    assert ask(gateway, "/v1/models/poet", method="GET")[0] == 404


def test_manifest_and_licence_are_answered_as_they_were_described(start_gateway, engine, ask):
    manifest = {"files": [{"path": "a.gguf", "size_bytes": 3, "sha256": "ab" * 32}]}
    served = {"manifest": manifest, "licence": {"name": "Apache-2.0"}}
    gateway = start_gateway(engine, served=served)
    assert ask(gateway, "/v1/manifest", method="GET") == (200, manifest)
    assert ask(gateway, "/v1/license", method="GET") == (200, {"name": "Apache-2.0"})


class TestDocuments:
    @pytest.mark.parametrize("engine_name", [*ENGINES, None])
    def test_the_document_has_exactly_the_routes_that_can_be_called(
        self, engine_name, start_gateway, ask
    ):
        what = Offer() if engine_name is None else offer_of(engine_name)
        gateway = start_gateway(served={"offer": what})
        status, document = ask(gateway, "/openapi.json", method="GET")
        callable_routes = {
            route.path: {method.lower() for method in route.methods}
            for route in ROUTES
            if route.respond is not None or what.offers(route.path)
        }
        described = {
            path: set(operations) - {"parameters"} for path, operations in document["paths"].items()
        }
        assert (status, document["openapi"], described) == (200, "3.1.0", callable_routes)

    def test_every_route_is_described(self):
        assert set(SUMMARIES) == {route.path for route in ROUTES}
        takes_body = {
            route.path for route in ROUTES if "POST" in route.methods and "{id}" not in route.path
        }
        assert set(BODIES) == takes_body

    def test_its_schemas_are_sound_and_fit_real_requests(self, start_gateway, ask):
        gateway = start_gateway(served={"offer": offer_of("llama.cpp")})
        document = ask(gateway, "/openapi.json", method="GET")[1]
        chat = document["paths"]["/v1/chat/completions"]["post"]["requestBody"]["content"]
        schema = chat["application/json"]["schema"]
        jsonschema.Draft202012Validator.check_schema(schema)
        jsonschema.validate({"messages": [{"role": "user", "content": "Hello"}]}, schema)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({"messages": "Hello"}, schema)
        assert "guided_choice" in schema["properties"]["nvext"]["properties"]
        assert "guided_regex" not in schema["properties"]["nvext"]["properties"]

    def test_the_page_needs_nothing_from_elsewhere(self, gateway, raw):
        status, headers, body = raw.parse(gateway.exchange(raw.get("/docs")))
        page = body.decode()
        assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
        for route in ROUTES:
            assert f"<code>{route.path}</code>" in page
        assert re.findall(r'(?:src|href)="([^"]*)"', page) == ["/openapi.json"]
        assert "<script" not in page
