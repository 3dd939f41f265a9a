"""Models by their address that cannot be used: the sentence, and the next command, followed."""

import json
from collections.abc import Iterator

import pytest
from bare_weights import SMALL, gguf_file, llama_tensors, safetensors_file
from fake_hub import FakeHub

H100 = ("--hardware", "h100")
CHECKPOINT = {
    "config.json": json.dumps(SMALL).encode(),
    "model.safetensors": safetensors_file(llama_tensors(SMALL)),
}
LLAMA = "meta-llama/Llama-3.1-8B-Instruct"


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub() as hub:
        hub.add_model("Acme/Toy", CHECKPOINT)
        hub.add_model("Acme/Toy-GGUF", {"toy-Q8_0.gguf": gguf_file()})
        hub.add_model("Acme/Gated", CHECKPOINT, gated=True)
        hub.add_model("Acme/Pickled", {"pytorch_model.bin": b"no", "config.json": b"{}"})
        hub.add_model("Acme/Onnx", {"model.onnx": b"no", "README.md": b"# Toy"})
        hub.add_model("Acme/Adapter", {"adapter_model.safetensors": b"no"})
        hub.add_model("Acme/Headless", {"model.safetensors": CHECKPOINT["model.safetensors"]})
        strange = json.dumps(SMALL | {"architectures": ["NewForCausalLM"], "model_type": "new"})
        hub.add_model("Acme/New", CHECKPOINT | {"config.json": strange.encode()})
        hub.add_model("Acme/New-GGUF", {"new-Q8_0.gguf": gguf_file()})
        yield hub


@pytest.fixture
def refused(run, hub):
    """What `select` says of an address, on one line and in full words."""

    def ask(address: str, code: int) -> str:
        result = run("select", address, *H100, HF_ENDPOINT=hub.url)
        assert result.returncode == code, result.stderr
        assert "Traceback" not in result.stderr
        return " ".join(result.stderr.split())

    return ask


def test_a_repository_that_is_not_there(refused, hub):
    told = refused("hf://Acme/Nowhere", 7)
    assert "shows no model Acme/Nowhere" in told
    assert "check the name; if the model is private, set HF_TOKEN" in told


def test_a_gated_repository(refused, hub):
    told = refused("hf://Acme/Gated", 7)
    assert "Acme/Gated is gated: its licence must be accepted first" in told
    assert f"accept the licence at {hub.url}/Acme/Gated, then set HF_TOKEN" in told
    assert "catalogue" not in told


def test_a_gated_repository_that_the_catalogue_describes(refused, run, hub):
    hub.add_model(LLAMA, CHECKPOINT, gated=True)
    told = refused(f"hf://{LLAMA}", 7)
    command = "nimctl list-profiles meta/llama-3.1-8b-instruct"
    assert f"`{command}` judges what the catalogue says of it" in told
    listed = run(*command.split()[1:], *H100, HF_ENDPOINT=hub.url)
    assert listed.returncode == 0
    assert "vllm-bf16-tp1-pp1" in listed.stdout


@pytest.mark.parametrize(
    ("name", "sentence", "hint"),
    [
        ("Pickled", "only as pickles (pytorch_model.bin)", "in .safetensors or .gguf files"),
        ("Onnx", "holds no .safetensors and no .gguf files among its 2", "`nimctl list-profiles"),
        ("Adapter", "an adapter for another model", "with --lora a folder that holds the adapter"),
        ("Headless", "no config.json, so its shape is unknown", "a conversion to GGUF"),
        ("New", "NewForCausalLM", "a conversion to GGUF"),
    ],
)
def test_files_that_cannot_be_used(refused, name, sentence, hint):
    error, _, told_hint = refused(f"hf://Acme/{name}", 2).partition("hint:")
    assert sentence in error
    assert hint in told_hint


def test_of_an_unknown_architecture_a_conversion_to_gguf_is_judged(refused, run, hub):
    told = refused("hf://Acme/New", 2)
    assert "memory cannot be predicted" in told
    command = "nimctl list-profiles hf://ORG/NAME-GGUF"
    assert command in told
    arguments = command.replace("ORG/NAME", "Acme/New").split()[1:]
    result = run(*arguments, HF_ENDPOINT=hub.url)
    assert result.returncode == 0, result.stderr
    assert "llama.cpp-q8_0-tp1-pp1" in result.stdout


def test_a_name_the_catalogue_does_not_know_may_be_one_of_the_hub(run, hub):
    result = run("select", "Acme/Toy", *H100, HF_ENDPOINT=hub.url)
    assert result.returncode == 2
    assert "hf://Acme/Toy names one of Hugging Face" in result.stderr
    assert run("select", "hf://Acme/Toy", *H100, HF_ENDPOINT=hub.url).returncode == 0


def test_a_folder_of_several_quantizations_has_a_profile_for_each(run, tmp_path):
    for number, name in enumerate(("Q8_0", "Q4_0", "Q4_K_M", "BF16")):
        (tmp_path / f"toy-{name}.gguf").write_bytes(gguf_file(file_type=(7, 2, 15, 32)[number]))
    (tmp_path / "toy-2-Q8_0.gguf").write_bytes(gguf_file())
    result = run("list-profiles", ".", "--json")
    document = json.loads(result.stdout)
    assert sorted(p["description"] for p in document["profiles"]) == [
        f"llama.cpp-{precision}-tp1-pp1" for precision in ("bf16", "q4_0", "q4_k_m", "q8_0")
    ]
    assert "is left out, as q8_0 is there; named by itself it is used" in result.stderr
    alone = run("select", "./toy-2-Q8_0.gguf", "--json")
    assert str(tmp_path / "toy-2-Q8_0.gguf") in json.loads(alone.stdout)["command"]
