"""LoRA adapters on a real vLLM: one from the start, one that comes and goes through the gateway."""

import httpx
import openai
import pytest
from e2e.tiny_adapter import write_adapter
from e2e.vllm_on_cpu import EAGER, VllmServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_adapters_by_name_from_the_start_and_later(vllm, weights, environment, tmp_path):
    first = write_adapter(tmp_path / "first", 8)
    later = write_adapter(tmp_path / "later", 12)
    where = {"NIMCTL_ENGINES_DIR": str(vllm.folder.parent)}
    size = ("--context-length", "1024", "--served-model-name", "base")
    lora = ("--lora", f"first={first}", "--max-lora-rank", "16")
    server = VllmServer(environment | where, weights, *size, *lora, *EAGER)
    try:
        url = server.wait_until_ready().url
        with openai.OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0) as client:
            check_adapters(client, url, later)
    finally:
        server.stop()


def check_adapters(client, url, later):
    def ask(model):
        asked = {"model": model, "prompt": "The sea is", "max_tokens": 12, "temperature": 0}
        return client.completions.create(**asked).choices[0].text

    base, first = ask("base"), ask("first")
    assert base != first
    assert [one.id for one in client.models.list()] == ["base", "first"]
    with pytest.raises(openai.NotFoundError):
        ask("later")
    loaded = httpx.post(
        f"{url}/v1/load_lora_adapter",
        json={"lora_name": "later", "lora_path": str(later)},
        timeout=60,
    )
    assert loaded.status_code == 200, loaded.text
    assert ask("later") not in (base, first)
    gone = httpx.post(f"{url}/v1/unload_lora_adapter", json={"lora_name": "later"}, timeout=60)
    assert gone.status_code == 200, gone.text
    with pytest.raises(openai.NotFoundError):
        ask("later")
    assert ask("base") == base
