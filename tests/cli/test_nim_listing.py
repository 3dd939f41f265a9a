"""NIM's own manifests through the real program: what is left out, not judged, or looked up."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from bare_weights import SMALL, llama_tensors, safetensors_file
from fake_hub import FakeHub

NIM = Path(__file__).parents[1] / "catalog" / "nim"
LLAMA = "meta/llama-3.1-8b-instruct"
H100 = ("--hardware", "h100x8")


@pytest.fixture
def own(tmp_path) -> Path:
    folder = tmp_path / "own"
    folder.mkdir()
    return folder


@pytest.fixture
def of_llama(own) -> tuple[str, ...]:
    """The arguments that put NIM's manifest in the place of the catalogue's."""
    text = (NIM / "v2_llm.yaml").read_text().replace("acme/llama-8b", LLAMA)
    (own / "nim.yaml").write_text(text + "overrides: true\n")
    return ("--manifest-dir", str(own))


class TestLeftOut:
    def test_each_reason_is_counted(self, run, of_llama):
        out = run("list-profiles", LLAMA, *of_llama, *H100).stdout
        _, _, told = out.partition("- Left out")
        assert "1 x nimctl has no engine lmdeploy" in told
        assert "lmdeploy-bf16-tp4-pp1" not in out

    def test_each_profile_is_explained(self, run, of_llama, own):
        out = run("list-profiles", LLAMA, *of_llama, *H100, "--explain").stdout
        assert "behind" in out
        assert "f8b6e0dae1a0 (lmdeploy-bf16-tp4-pp1-balanced)" in out
        assert f"{own / 'nim.yaml'}:67" in "".join(out.split())

    def test_json_has_them_all(self, run, of_llama):
        document = json.loads(run("list-profiles", LLAMA, *of_llama, *H100, "--json").stdout)
        assert {one["reason"] for one in document["left_out"]} == {
            "nimctl has no engine lmdeploy",
            "its tags name no precision",
            "its tags name no engine",
        }
        ids = [one["profile_id"] for one in document["left_out"] + document["profiles"]]
        assert len(set(ids)) == 10

    def test_they_are_told_where_nothing_fits(self, run, of_llama):
        result = run("select", LLAMA, *of_llama)
        assert result.returncode == 3
        assert "; 3 more of" in result.stderr
        assert f"`nimctl list-profiles {LLAMA}` explains" in result.stderr

    def test_one_that_is_named_is_refused_with_the_reason(self, run, of_llama):
        result = run("select", LLAMA, *of_llama, *H100, "--profile", "f8b6e0dae1a0")
        assert result.returncode == 2
        assert "is left out: nimctl has no engine lmdeploy" in result.stderr

    def test_an_engine_built_for_this_gpu_runs_on_it_and_on_no_other(self, run, of_llama):
        document = json.loads(run("list-profiles", LLAMA, *of_llama, *H100, "--json").stdout)
        checks = {
            one["gpu"]: {finding["check"] for finding in one["findings"]}
            for one in document["profiles"]
            if "gpu" in one
        }
        assert checks["H100"] == set()
        assert "gpu-kind" in checks["A10G"]


SHAPELESS = {
    "schema_version": "2.0.0",
    "model": "acme/new-1b",
    "profiles": [
        {
            "id": f"{tp}" * 64,
            "tags": {"llm_engine": "vllm", "precision": "bf16", "tp": f"{tp}", "pp": "1"},
            "workspace": {
                "files": {
                    name: {"uri": f"hf://Acme/New-1B:main?file={name}"}
                    for name in ("config.json", "model.safetensors")
                }
            },
        }
        for tp in (1, 2)
    ],
}


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub() as hub:
        yield hub


@pytest.fixture
def shapeless(own) -> tuple[str, ...]:
    (own / "nim.json.yaml").write_text(json.dumps(SHAPELESS))
    return ("--manifest-dir", str(own))


class TestUnknownShape:
    def test_it_spoils_no_listing(self, run, shapeless):
        result = run("list-profiles", *shapeless, *H100)
        assert result.returncode == 0, result.stderr
        _, _, told = result.stdout.partition("NOT JUDGED")
        words = " ".join(told.split())
        assert words.startswith("acme/new-1b its attention shape is not known")
        assert "memory cannot be predicted" in words
        assert "`nimctl list-profiles acme/new-1b` looks for it at hf://Acme/New-1B:main" in words
        document = json.loads(run("list-profiles", *shapeless, *H100, "--json").stdout)
        assert [one["model"] for one in document["unjudged"]] == ["acme/new-1b"]
        assert LLAMA in [one["model"] for one in document["models"]]

    def test_named_it_is_judged_by_its_own_config(self, run, shapeless, hub):
        hub.add_model(
            "Acme/New-1B",
            {
                "config.json": json.dumps(SMALL).encode(),
                "model.safetensors": safetensors_file(llama_tensors(SMALL)),
            },
        )
        asked = ("select", "acme/new-1b", *shapeless, *H100, "--json")
        document = json.loads(run(*asked, HF_ENDPOINT=hub.url).stdout)
        assert document["model"] == "acme/new-1b"
        assert {one["profile_id"] for one in document["profiles"]} == {"1" * 64, "2" * 64}
        weights = hub.models["Acme/New-1B"].files["model.safetensors"]
        plan = next(p["plan"] for p in document["profiles"] if p["profile_id"] == "1" * 64)
        assert 0.9 < plan["memory_per_device"]["weights_bytes"] / len(weights) <= 1
        assert hub.served("Acme/New-1B", "model.safetensors") < len(weights)

    def test_each_place_is_looked_into_and_one_that_refuses_is_told(self, run, shapeless, own, hub):
        """Weights of a precision whose place cannot be looked into are left out, no more."""
        places = {"3" * 64: ("fp8", "New-1B-FP8"), "4" * 64: ("nvfp4", "New-1B-FP4")}
        others = [
            {
                "id": identity,
                "tags": {"llm_engine": "vllm", "precision": precision, "tp": "1", "pp": "1"},
                "workspace": {
                    "files": {
                        name: {"uri": f"hf://Acme/{place}:main?file={name}"}
                        for name in ("config.json", "model.safetensors")
                    }
                },
            }
            for identity, (precision, place) in places.items()
        ]
        profiles = [*SHAPELESS["profiles"], *others]
        (own / "nim.json.yaml").write_text(yaml.safe_dump(SHAPELESS | {"profiles": profiles}))
        quantized = SMALL | {"quantization_config": {"quant_method": "fp8"}}
        for name, config, dtype in (
            ("Acme/New-1B", SMALL, "BF16"),
            ("Acme/New-1B-FP8", quantized, "F8_E4M3"),
        ):
            weights = safetensors_file(llama_tensors(SMALL, dtype=dtype))
            files = {"config.json": json.dumps(config).encode(), "model.safetensors": weights}
            hub.add_model(name, files)
        asked = ("list-profiles", "acme/new-1b", *shapeless, *H100, "--json")
        result = run(*asked, HF_ENDPOINT=hub.url)
        assert result.returncode == 0, result.stderr
        assert "shows no model Acme/New-1B-FP4" in result.stderr
        document = json.loads(result.stdout)
        assert {p["precision"] for p in document["profiles"]} == {"bf16", "fp8"}
        assert [one["profile_id"] for one in document["left_out"]] == ["4" * 64]

    def test_where_its_config_cannot_be_read_its_profiles_are_listed_all_the_same(
        self, run, shapeless, hub
    ):
        asked = ("list-profiles", "acme/new-1b", *shapeless, *H100)
        result = run(*asked, HF_ENDPOINT=hub.url)
        assert result.returncode == 0, result.stderr
        words = " ".join(result.stdout.split())
        assert "its config could not be read: " in words
        assert "shows no model Acme/New-1B" in words
        for profile in SHAPELESS["profiles"]:
            assert profile["id"][:12] in words
        document = json.loads(run(*asked, "--json", HF_ENDPOINT=hub.url).stdout)
        assert len(document["left_out"]) == 2
        assert document["profiles"] == []

    def test_nothing_is_chosen_of_it(self, run, shapeless, hub):
        result = run("select", "acme/new-1b", *shapeless, *H100, HF_ENDPOINT=hub.url)
        assert result.returncode == 2
        assert "memory cannot be predicted" in result.stderr
        assert "describe it in a nimctl manifest, acme/new-1b.yaml" in result.stderr

    def test_the_hint_can_be_followed(self, run, shapeless, own):
        """A manifest of the user's own in the same folder, and `overrides: true` in NIM's."""
        shape = {
            "architecture": "LlamaForCausalLM", "parameters": 10**9, "hidden_size": 2048,
            "attention_heads": 16, "vocab_size": 32_000, "max_context_length": 8192,
            "kv": {"layers": 16, "kv_heads": 8, "head_dim": 128},
        }  # fmt: skip
        weights = {
            "source": "hf://Acme/New-1B", "format": "safetensors", "weight_bytes": 2 * 10**9,
            "download_bytes": 2 * 10**9,
        }  # fmt: skip
        mine = {
            "schema": "nimctl-manifest/1", "model": "acme/new-1b", "title": "New 1B",
            "licence": "MIT", "shape": shape, "artifacts": {"bf16": weights},
            "profiles": [{"engine": "vllm", "precision": "bf16"}],
        }  # fmt: skip
        path = own / "acme" / "new-1b.yaml"
        path.parent.mkdir()
        path.write_text(json.dumps(mine))
        (own / "nim.json.yaml").write_text(json.dumps(SHAPELESS | {"overrides": True}))
        result = run("select", "acme/new-1b", *shapeless, *H100, "--json")
        assert result.returncode == 0, result.stderr
        document = json.loads(result.stdout)
        assert {one["profile_id"] for one in document["profiles"]} == {"1" * 64, "2" * 64}
