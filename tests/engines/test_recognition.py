"""Engines told apart by their answers, as they gave them here or as their sources have them."""

import json

import pytest

from nimctl.engines.recognition import ASKED, Told, recognise


def told(**documents):
    """Answers by the last word of the path; the rest is 404."""
    by_path = {path: path.rpartition("/")[2] for path in ASKED}
    return {
        path: Told(
            status=200, body=answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        )
        if (answer := documents.get(word)) is not None
        else Told(status=404, body=b"nothing here")
        for path, word in by_path.items()
    }


# xllamacpp 2026.10.11549
LLAMA = told(
    models={
        "object": "list",
        "data": [
            {
                "id": "smol",
                "object": "model",
                "owned_by": "llamacpp",
                "meta": {"n_ctx": 1024, "n_ctx_train": 8192},
            }
        ],
    },
    props={"total_slots": 2, "default_generation_settings": {"n_ctx": 1024}},
    metrics=b"# TYPE llamacpp:prompt_tokens_total counter\nllamacpp:prompt_tokens_total 0\n",
)
# vLLM 0.32.0 with an adapter
VLLM = told(
    models={
        "object": "list",
        "data": [
            {"id": "base", "owned_by": "vllm", "max_model_len": 4096, "parent": None},
            {"id": "mine", "owned_by": "vllm", "max_model_len": None, "parent": "base"},
        ],
    },
    version={"version": "0.32.0"},
    metrics=b"# TYPE vllm:num_requests_running gauge\n",
)


def test_llama_cpp():
    found = recognise(LLAMA)
    assert (found.engine, found.names, found.sequences) == ("llama.cpp", ("smol",), 2)
    assert found.context_lengths == {"smol": 1024}
    assert found.health_path == "/health"
    assert not found.offer.offers("/v1/load_lora_adapter")
    assert found.offer.offers("/v1/embeddings")  # whether it was started so is not known


def test_vllm_and_its_adapters():
    found = recognise(VLLM)
    assert (found.engine, found.version) == ("vllm", "0.32.0")
    assert (found.names, found.adapters) == (("base",), ("mine",))
    assert found.context_lengths == {"base": 4096}
    assert found.offer.adapters_by_name
    assert "max_thinking_tokens" in found.offer.fields["/v1/chat/completions"]


def test_an_old_vllm_lacks_what_came_later():
    found = recognise({**VLLM, "/version": Told(status=200, body=b'{"version": "0.10.1"}')})
    assert not found.offer.offers("/v1/messages")


@pytest.mark.parametrize("owner", ["sglang", "tensorrt_llm"])
def test_others_are_known_by_what_they_call_themselves(owner):
    models = {"data": [{"id": "base", "owned_by": owner}]}
    found = recognise(told(models=models, version={"version": "1.2.0"}))
    assert (found.engine, found.version, found.names) == (owner, "1.2.0", ("base",))
    assert found.offer.offers("/v1/chat/completions")


def test_nim_is_watched_by_its_own_health():
    found = recognise(
        told(
            models={"data": [{"id": "meta/llama", "owned_by": "system"}]},
            ready={"object": "health.response", "message": "Service is ready."},
        )
    )
    assert (found.engine, found.health_path) == (None, "/v1/health/ready")
    assert found.offer.metrics_path == ""


def test_a_hosted_endpoint_is_taken_at_its_word():
    found = recognise(told(models={"data": [{"id": "a", "owned_by": "acme"}]}))
    assert (found.engine, found.names, found.health_path) == (None, ("a",), "/v1/models")
    assert found.offer.fields is None


@pytest.mark.parametrize(
    "models",
    [
        b"<html>",
        b"[" * 100_000,
        [],
        {"data": "x"},
        {"data": [1, {"id": 5}, {"id": ""}, {"id": "a\nb"}, {"id": "x" * 1000}]},
    ],
)
def test_nonsense_is_no_model(models):
    found = recognise(told(models=models, props=[1], version=b"\xff"))
    assert (found.engine, found.names) == (None, ())
