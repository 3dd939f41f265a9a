"""What a repository held at a commit is asked once; what is here is not asked again."""

import json
import time
from pathlib import Path

import pytest
from bare_weights import SMALL, llama_tensors, safetensors_file
from fake_hub import FakeHub, Fault

MODEL = "acme/toy"
WEIGHTS = "model.safetensors"
DOWNLOAD = ("download", f"hf://{MODEL}", "--profile", "vllm-bf16-tp1-pp1")


def checkpoint(**changes):
    config = SMALL | changes
    return {
        "config.json": json.dumps(config).encode(),
        WEIGHTS: safetensors_file(llama_tensors(config)),
        "tokenizer.json": b"{}",
    }


@pytest.fixture
def hub():
    with FakeHub() as hub:
        hub.add_model(MODEL, checkpoint())
        yield hub


@pytest.fixture
def download(run, hub):
    def download_again(*more):
        before = len(hub.seen)
        result = run(*DOWNLOAD, *more, HF_ENDPOINT=hub.url)
        assert result.returncode == 0, result.stderr
        return result.stdout, [seen.path for seen in hub.seen[before:]]

    return download_again


def test_the_second_time_the_hub_is_asked_for_the_commit_and_nothing_else(download):
    path, _ = download()
    again, asked = download()
    assert again == path
    assert asked == [f"/api/models/{MODEL}?expand=sha"]


def test_a_busy_hub_is_asked_once_in_the_time_it_asks_for(download, hub):
    path, _ = download()
    hub.api_faults.append(Fault(kind="status", status=429, headers={"Retry-After": "1"}))
    begun_s = time.monotonic()
    again, asked = download()
    assert again == path
    assert time.monotonic() - begun_s >= 1
    assert asked == 2 * [f"/api/models/{MODEL}?expand=sha"]


def test_another_commit_is_listed_and_brought(download, hub):
    path, _ = download()
    hub.add_model(MODEL, checkpoint(vocab_size=2048))
    other, asked = download()
    assert other != path
    assert hub.models[MODEL].commit in other
    assert any("/tree/" in one for one in asked)


def test_a_listing_of_another_hub_is_not_believed(download, tmp_path):
    download()
    (kept,) = (tmp_path / "cache" / "listings").rglob("*.json")
    document = json.loads(kept.read_text())
    kept.write_text(json.dumps(document | {"endpoint": "http://127.0.0.1:1"}))
    _, asked = download()
    assert any("/tree/" in one for one in asked)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": "nimctl-listing/1"}', "\x00"])
def test_a_damaged_listing_is_made_again(download, tmp_path, text):
    path, _ = download()
    (kept,) = (tmp_path / "cache" / "listings").rglob("*.json")
    kept.write_text(text)
    assert download()[0] == path
    assert json.loads(kept.read_text())["schema"] == "nimctl-listing/1"


def test_a_header_damaged_on_this_disk_is_not_what_the_model_is_judged_by(download, hub):
    path, _ = download()
    weights = Path(path.strip(), WEIGHTS)
    content = bytearray(weights.read_bytes())
    content[8] ^= 1
    weights.chmod(0o644)
    weights.write_bytes(content)
    download()
    assert weights.read_bytes() == hub.models[MODEL].files[WEIGHTS]


def test_a_refusal_is_explained_as_ever(download, run, hub):
    download()
    del hub.models[MODEL]
    result = run(*DOWNLOAD, HF_ENDPOINT=hub.url)
    assert result.returncode == 7
    assert f"shows no model {MODEL}" in result.stderr
