"""A profile whose files come from several places: brought, joined in one folder, found again."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from fake_hub import FakeHub

LLAMA = "meta/llama-3.1-8b-instruct"
ENGINE = {"rank0.engine": b"engine" * 1000, "config.json": b'{"engine": 1}'}
CHECKPOINT = {"config.json": b'{"model": 1}', "tokenizer.json": b"{}", "model.safetensors": b"no"}
PROFILE = "e" * 64
WORKSPACE = {
    "config.json": "hf://Acme/Toy:main?file=config.json",
    "tokenizer.json": "hf://Acme/Toy:main?file=tokenizer.json",
    "trtllm_engine/rank0.engine": "hf://Acme/Toy-H100x2:main?file=rank0.engine",
    "trtllm_engine/config.json": "hf://Acme/Toy-H100x2:main?file=config.json",
}
TAGS = {
    "llm_engine": "tensorrt_llm", "precision": "bf16", "gpu": "H100", "gpu_device": "2330:10de",
    "tp": "2", "pp": "1", "profile": "latency",
}  # fmt: skip


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub() as hub:
        hub.add_model("Acme/Toy", CHECKPOINT)
        hub.add_model("Acme/Toy-H100x2", ENGINE)
        yield hub


@pytest.fixture
def asked(tmp_path) -> tuple[str, ...]:
    files = {path: {"uri": uri} for path, uri in WORKSPACE.items()}
    profile = {"id": PROFILE, "tags": TAGS, "workspace": {"files": files}}
    document = {
        "schema_version": "2.0", "model": LLAMA, "overrides": True, "profiles": [profile],
    }  # fmt: skip
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "model_manifest.yaml").write_text(yaml.safe_dump(document))
    return (LLAMA, "--manifest-dir", str(folder), "--profile", PROFILE[:8])


def read_all(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if not path.is_dir())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_engine_and_tokenizer_lie_as_nim_wants_them(run, hub, asked, tmp_path):
    result = run("download", *asked, HF_ENDPOINT=hub.url)
    assert result.returncode == 0, result.stderr
    folder = Path(result.stdout.strip())
    assert read_all(folder) == {
        "config.json": CHECKPOINT["config.json"],
        "tokenizer.json": CHECKPOINT["tokenizer.json"],
        "trtllm_engine/config.json": ENGINE["config.json"],
        "trtllm_engine/rank0.engine": ENGINE["rank0.engine"],
    }
    assert hub.served("Acme/Toy", "model.safetensors") == 0

    (folder / "tokenizer.json").unlink()
    again = run("download", *asked, "--offline", "--json", HF_ENDPOINT="http://127.0.0.1:9")
    (entry,) = json.loads(again.stdout)["entries"]
    assert entry["path"] == str(folder)
    assert {file["path"] for file in entry["files"]} == set(WORKSPACE)
    assert set(read_all(folder)) == set(WORKSPACE)

    moved = tmp_path / "moved"
    (tmp_path / "cache").rename(moved)
    assert set(read_all(moved / "workspaces" / folder.name)) == set(WORKSPACE)


def test_a_place_that_is_missing_is_told(run, hub, asked):
    del hub.models["Acme/Toy-H100x2"]
    result = run("download", *asked, HF_ENDPOINT=hub.url)
    assert result.returncode == 7
    assert "shows no model Acme/Toy-H100x2" in result.stderr
    offline = run("download", *asked, "--offline", HF_ENDPOINT=hub.url)
    assert offline.returncode == 9
    assert "Toy-H100x2" in offline.stderr


def test_what_would_be_fetched_is_shown_place_by_place(run, hub, asked):
    result = run("download", *asked, "--dry-run", "--json", HF_ENDPOINT=hub.url)
    plans = json.loads(result.stdout)["plans"]
    assert [plan["source"] for plan in plans] == ["hf://Acme/Toy:main", "hf://Acme/Toy-H100x2:main"]
    assert sum(len(plan["files"]) for plan in plans) == 4
