"""`nimctl serve --engine-url` in front of a real llama.cpp that somebody else started."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import openai
import pytest

pytestmark = pytest.mark.slow

QUESTION = [{"role": "user", "content": "What is the capital of France? Answer in one word."}]
WAIT_S = 120


@pytest.fixture(scope="module")
def llama(downloaded):
    """llama.cpp's own server on a port of loopback; its address."""
    (weights,) = Path(downloaded.stdout.strip()).rglob("*.gguf")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [
            *(sys.executable, "-P", "-m", "nimctl.environments.llama_server"),
            *("--model", str(weights), "--alias", "theirs", "--ctx-size", "2048", "--jinja"),
            *("--parallel", "2", "--threads", "2", "--metrics", "--port", str(port)),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    yield f"http://127.0.0.1:{port}/v1"
    process.kill()
    process.wait()


@pytest.fixture(scope="module")
def served(llama, environment):
    """It is still loading when nimctl looks for it."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "nimctl", "serve", "--engine-url", llama),
            *("--port", "0", "--json"),
        ],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    events = map(json.loads, process.stdout)
    yield next(event["url"] for event in events if event["event"] == "ready")
    process.terminate()
    assert process.wait(WAIT_S) == 0
    process.stdout.close()


def test_its_model_answers_through_the_gateway(served):
    with openai.OpenAI(base_url=f"{served}/v1", api_key="unused", max_retries=0) as client:
        assert [model.id for model in client.models.list()] == ["theirs"]
        stream = client.chat.completions.create(
            model="theirs", messages=QUESTION, max_tokens=24, temperature=0, stream=True
        )
        assert "Paris" in "".join(
            chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices
        )


def test_it_is_recognised_so_that_nims_fields_and_figures_fit(served):
    with openai.OpenAI(base_url=f"{served}/v1", api_key="unused", max_retries=0) as client:
        guided = client.chat.completions.create(
            model="theirs",
            messages=QUESTION,
            max_tokens=8,
            extra_body={"nvext": {"guided_choice": ["Rome", "Oslo"]}},
        )
        assert guided.choices[0].message.content in ("Rome", "Oslo")
        with pytest.raises(openai.BadRequestError, match="guided_regex"):
            client.chat.completions.create(
                model="theirs", messages=QUESTION, extra_body={"guided_regex": "a"}
            )
    assert httpx.get(f"{served}/v1/metadata").json()["engine"]["name"] == "llama.cpp"
    metrics = httpx.get(f"{served}/v1/metrics").text
    assert "llamacpp:tokens_predicted_total" in metrics
    assert "num_request_max 2" in metrics
    assert httpx.post(f"{served}/v1/load_lora_adapter", json={}).status_code == 501
