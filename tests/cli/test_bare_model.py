"""A model by its address, through the real program and a real hub on loopback."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from bare_weights import (
    LLAMA_8B,
    LLAMA_8B_PARAMETERS,
    SMALL,
    gguf_file,
    llama_tensors,
    safetensors_file,
    safetensors_head,
)
from fake_hub import FakeHub

CARD = b"---\nlicense: apache-2.0\n---\n"
CHECKPOINT = {
    "README.md": CARD,
    "config.json": json.dumps(SMALL).encode(),
    "model.safetensors": safetensors_file(llama_tensors(SMALL)),
    "tokenizer.json": b"{}",
    "pytorch_model.bin": b"no",
}
GGUFS = {
    "toy-Q8_0.gguf": gguf_file(),
    "toy-Q4_0.gguf": gguf_file(file_type=2, tensor_type=2),
}


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub() as hub:
        hub.add_model("Acme/Toy", CHECKPOINT)
        hub.add_model("Acme/Toy-GGUF", GGUFS)
        yield hub


def test_a_checkpoint_on_the_hub_is_judged_by_its_headers(run, hub):
    # The body is larger than what the kernel's buffers hold of it when the connection ends.
    config = SMALL | {"vocab_size": 65_536}
    hub.add_model(
        "Acme/Toy",
        CHECKPOINT
        | {
            "config.json": json.dumps(config).encode(),
            "model.safetensors": safetensors_file(llama_tensors(config)),
        },
    )
    result = run("list-profiles", "hf://Acme/Toy", "--json", HF_ENDPOINT=hub.url)
    assert result.returncode == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["model"] == "acme/toy"
    commit = hub.models["Acme/Toy"].commit
    assert {p["source"] for p in document["profiles"]} == {f"hf://Acme/Toy:{commit}"}
    whole = len(hub.models["Acme/Toy"].files["model.safetensors"])
    assert hub.served("Acme/Toy", "model.safetensors") < whole / 4
    assert hub.served("Acme/Toy", "pytorch_model.bin") == 0


def test_the_best_gguf_of_a_repository_is_brought_and_found_offline(run, hub):
    asked = {"HF_ENDPOINT": hub.url}
    chosen = json.loads(run("select", "hf://Acme/Toy-GGUF", "--json", **asked).stdout)
    assert {p["precision"] for p in chosen["profiles"]} == {"q8_0", "q4_0"}
    result = run("download", "hf://Acme/Toy-GGUF", "--precision", "q4_0", **asked)
    assert result.returncode == 0, result.stderr
    (file,) = (path for path in Path(result.stdout.strip()).iterdir())
    assert file.read_bytes() == GGUFS["toy-Q4_0.gguf"]
    assert hub.served("Acme/Toy-GGUF", "toy-Q8_0.gguf") == 0
    hub.__exit__(None, None, None)
    again = run("download", "hf://Acme/Toy-GGUF", "--offline", **asked)
    assert (again.returncode, again.stdout) == (0, result.stdout), again.stderr
    unknown = run("download", "hf://Acme/Toy", "--offline", **asked)
    assert unknown.returncode == 9
    assert "is not in the cache" in unknown.stderr


def test_a_checkpoint_is_brought_without_pickles_and_found_offline(run, hub):
    asked = ("--hardware", "h100", "--engine", "vllm")
    result = run("download", "hf://Acme/Toy", *asked, HF_ENDPOINT=hub.url)
    assert result.returncode == 0, result.stderr
    folder = Path(result.stdout.strip())
    names = {path.name for path in folder.iterdir()}
    assert names == {"config.json", "model.safetensors", "tokenizer.json"}
    again = run("download", "hf://Acme/Toy", *asked, "--offline", HF_ENDPOINT="http://127.0.0.1:9")
    assert (again.returncode, again.stdout) == (0, result.stdout), again.stderr


def test_a_hub_that_is_not_there_is_a_fetch_error(run, hub):
    hub.__exit__(None, None, None)
    result = run("select", "hf://Acme/Toy", HF_ENDPOINT=hub.url)
    assert result.returncode == 9
    assert "Traceback" not in result.stderr
    assert result.stderr.count("error:") == 1


def test_a_folder_of_this_machine_is_used_where_it_lies(run, tmp_path):
    folder = tmp_path / "My Llama"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(LLAMA_8B))
    head, size_bytes = safetensors_head(llama_tensors(LLAMA_8B))
    with (folder / "model.safetensors").open("wb") as file:
        file.write(head)
        file.truncate(size_bytes)
    asked = ("--hardware", "h100", "--engine", "vllm", "--json")
    document = json.loads(run("select", "./My Llama", *asked).stdout)
    assert document["model"] == "local/my-llama"
    plan = document["profiles"][0]["plan"]
    assert plan["memory_per_device"]["weights_bytes"] == 2 * LLAMA_8B_PARAMETERS
    assert str(folder) in document["command"]
    brought = run("download", "./My Llama", *asked[:-1])
    assert brought.stdout.strip() == str(folder)
    assert not (tmp_path / "cache" / "blobs").exists()


def test_a_gguf_file_of_this_machine(run, tmp_path):
    (tmp_path / "toy.gguf").write_bytes(GGUFS["toy-Q8_0.gguf"])
    document = json.loads(run("select", "toy.gguf", "--json").stdout)
    assert document["profiles"][0]["description"] == "llama.cpp-q8_0-tp1-pp1"
    assert str(tmp_path / "toy.gguf") in document["command"]


def test_parts_of_a_gguf_on_this_machine_are_opened_by_the_first(run, tmp_path):
    for part in range(2):
        name = f"toy-Q8_0-0000{part + 1}-of-00002.gguf"
        (tmp_path / name).write_bytes(gguf_file(split=(part, 2)))
    document = json.loads(run("select", "./toy-Q8_0-00001-of-00002.gguf", "--json").stdout)
    assert document["model"] == "local/toy-q8_0"
    assert str(tmp_path / "toy-Q8_0-00001-of-00002.gguf") in document["command"]


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("./nowhere", "does not exist"),
        ("s3://bucket/model", "s3"),
        ("hf://", "names no place"),
        ("./broken.gguf", "does not begin with GGUF"),
        ("./weights.safetensors", "neither a folder nor a .gguf file"),
    ],
)
def test_an_address_that_cannot_be_used_is_bad_input(run, tmp_path, address, message):
    (tmp_path / "broken.gguf").write_bytes(b"<html>" * 99)
    (tmp_path / "weights.safetensors").write_bytes(b"")
    result = run("select", address)
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
