"""`list-profiles`, `select` and `doctor` as a user sees them, here and on recorded machines."""

import json
from pathlib import Path

import pytest

MACHINES = Path(__file__).parents[1] / "machines"
SMOLLM2 = "huggingfacetb/smollm2-135m-instruct"
LLAMA = "meta/llama3-8b-instruct"


def snapshot(name):
    return str(MACHINES / name / "snapshot.json")


class TestListProfiles:
    def test_the_three_groups_stand_in_nims_order(self, run):
        out = run("list-profiles", LLAMA, "--hardware", snapshot("h100")).stdout
        heads = [line for line in out.splitlines() if line.startswith("- ")]
        assert heads == [
            "- Compatible with system and runnable:",
            "- Compatible with system but low memory: <None>",
            "- Incompatible with system:",
        ]
        assert "[2330:10de] (0) NVIDIA H100 80GB HBM3" in out

    def test_every_profile_is_listed_once_with_a_reason(self, run):
        document = json.loads(run("list-profiles", LLAMA, "--json").stdout)
        out = run("list-profiles", LLAMA).stdout
        for profile in document["profiles"]:
            assert out.count(profile["profile_id"][:12]) == 1
            assert profile["fit"] == "runnable" or profile["findings"]

    def test_the_catalogue_has_one_line_a_model(self, run):
        document = json.loads(run("list-profiles", "--json").stdout)
        names = [model["model"] for model in document["models"]]
        assert {SMOLLM2, LLAMA} <= set(names)
        out = run("list-profiles").stdout
        assert all(
            sum(line.startswith(f"{name} ") for line in out.splitlines()) == 1 for name in names
        )

    def test_low_memory_comes_with_a_change_that_helps(self, run):
        small = ("--hardware", snapshot("container-2gib"))
        asked = ("list-profiles", SMOLLM2, *small, "--concurrency", "64", "--json")
        (low,) = [p for p in json.loads(run(*asked).stdout)["profiles"] if p["fit"] == "low_memory"]
        change = low["findings"][0]["try"].split()
        retried = json.loads(run("list-profiles", SMOLLM2, *small, *change, "--json").stdout)
        assert retried["chosen"] == low["profile_id"]

    def test_what_was_not_asked_for_is_counted_not_listed(self, run):
        out = run("list-profiles", LLAMA, "--engine", "vllm").stdout
        assert "tensorrt_llm-" not in out
        assert "more profiles are not what was asked for" in out


class TestSelect:
    def test_the_choice_comes_with_reason_memory_and_command(self, run):
        out = run("select", "smollm2-135m-instruct").stdout
        for part in ("llama.cpp-q4_1-tp1-pp1", "why", "KV cache", "--ctx-size", "engine.sock"):
            assert part in out

    def test_the_reason_is_data_too(self, run):
        document = json.loads(run("select", LLAMA, "--hardware", snapshot("h100"), "--json").stdout)
        assert document["decided_by"]["field"] == "speed"
        assert document["command"][0] == "vllm"
        assert document["profiles"][0]["profile_id"] == document["chosen"]

    def test_what_decided_is_told_where_one_profile_alone_runs(self, run):
        asked = ("select", SMOLLM2, "--hardware", snapshot("container-2gib"), "--json")
        document = json.loads(run(*asked).stdout)
        runnable = [one for one in document["profiles"] if one["fit"] == "runnable"]
        assert (len(runnable), document["decided_by"]["field"]) == (1, "fit")
        assert document["decided_by"]["reason"] == document["reason"]

    def test_a_preset_stands_for_a_machine(self, run):
        document = json.loads(run("select", LLAMA, "--hardware", "h100x8", "--json").stdout)
        assert document["profiles"][0]["plan"]["device"] == "gpu"
        wrong = run("select", LLAMA, "--hardware", "h9000")
        assert wrong.returncode == 2
        assert "h100" in wrong.stderr

    def test_every_profile_is_explained(self, run):
        document = json.loads(run("select", LLAMA, "--hardware", "h100", "--json").stdout)
        out = run("select", LLAMA, "--hardware", "h100", "--explain").stdout
        for profile in document["profiles"]:
            assert profile["profile_id"][:12] in out
            for finding in profile["findings"]:
                assert finding["check"] in out
        assert "behind" in out

    def test_nothing_is_served_on_another_machine(self, run):
        assert run("serve", LLAMA, "--hardware", "h100").returncode == 2
        assert run("serve", LLAMA, "--hardware", "h100", "--dry-run").returncode == 0

    def test_keys_and_values_in_fewer_bits_leave_more_room(self, run):
        def cache(*more):
            out = run("select", SMOLLM2, "--json", *more).stdout
            return json.loads(out)["profiles"][0]["plan"]["memory_per_device"]["kv_cache_bytes"]

        assert cache("--kv-precision", "q8_0") == cache() * 34 // 64

    @pytest.mark.parametrize(
        ("variables", "engine"),
        [
            ({"NIM_MODEL_PROFILE": "vllm-fp8-tp1-pp1"}, "vllm"),
            ({"NIM_TAGS_SELECTOR": "llm_engine=vllm,precision=bf16"}, "vllm"),
            ({"NIMCTL_ENGINE": "llamacpp"}, "llama.cpp"),
        ],
    )
    def test_nims_variables_are_honoured(self, run, variables, engine):
        asked = ("select", LLAMA, "--hardware", snapshot("h100"), "--json")
        document = json.loads(run(*asked, **variables).stdout)
        assert document["profiles"][0]["inference_backend"] == engine

    def test_nothing_fits_has_its_own_exit_code_and_a_hint(self, run):
        result = run("select", SMOLLM2, "--engine", "vllm")
        assert result.returncode == 3
        assert "it needs an NVIDIA GPU and none was found" in result.stderr
        assert "hint:" in result.stderr
        assert "Traceback" not in result.stderr

    def test_the_hint_on_a_long_context_can_be_followed(self, run):
        refused = run("select", SMOLLM2, "--context-length", "99999")
        assert refused.returncode == 3
        assert "--context-length 8192" in refused.stderr
        assert run("select", SMOLLM2, "--context-length", "8192").returncode == 0


class TestBadInput:
    def test_a_wrong_name_is_answered_with_the_nearest(self, run):
        result = run("select", "smolm2-135m-instruct")
        assert result.returncode == 2
        assert SMOLLM2 in result.stderr

    def test_no_name_at_all(self, run):
        result = run("select")
        assert result.returncode == 2
        assert "no model was named" in result.stderr

    @pytest.mark.parametrize(
        "arguments",
        [
            ("select", SMOLLM2, "--context-length", "many"),
            ("select", SMOLLM2, "--engine", "ollama"),
            ("select", SMOLLM2, "--gpus", "first"),
            ("select", SMOLLM2, "--gpus", "0"),
            ("select", SMOLLM2, "--gpus", "0,GPU-"),
            ("select", SMOLLM2, "--hardware", "h100x2", "--gpus", "0,7"),
            ("select", SMOLLM2, "--profile", "vllm-bf16-tp9-pp1"),
            ("select", SMOLLM2, "--hardware", "/nowhere.json"),
            ("select", SMOLLM2, "--hardware", "nowhere"),
            ("list-profiles", "--manifest-dir", "/nowhere"),
            ("bench",),
            ("bench", SMOLLM2, "-n", "1", "-c", "4"),
            ("frobnicate",),
        ],
    )
    def test_bad_input_is_one_message_and_exit_code_2(self, run, arguments):
        result = run(*arguments)
        assert result.returncode == 2
        assert result.stderr
        assert not result.stdout
        assert "Traceback" not in result.stderr

    def test_all_faults_of_a_manifest_are_told_with_their_lines(self, run, tmp_path):
        folder = tmp_path / "manifests" / "acme"
        folder.mkdir(parents=True)
        (folder / "broken.yaml").write_text("schema: nimctl-manifest/1\nmodle: acme/broken\n")
        result = run("list-profiles", "--manifest-dir", str(folder.parent))
        assert result.returncode == 2
        assert "broken.yaml:2: " in result.stderr


class TestDoctor:
    def test_everything_is_shown(self, run):
        out = run("doctor").stdout
        for part in ("SYSTEM INFO", "CACHE", "CATALOGUE", "SETTINGS", "MISSING", "cache_dir"):
            assert part in out

    def test_settings_come_with_their_origin_and_without_secrets(self, run):
        result = run("doctor", "--json", HF_TOKEN="hf_verysecret", NIM_SERVER_PORT="9999")
        document = json.loads(result.stdout)
        assert document["settings"]["port"] == {
            "value": "9999",
            "origin": "environment NIM_SERVER_PORT",
        }
        assert document["settings"]["hf_token"]["value"] == "set"
        assert "verysecret" not in result.stdout + result.stderr

    def test_a_snapshot_is_judged_like_the_machine_it_was_taken_of(self, run, tmp_path):
        file = str(tmp_path / "machine.json")
        assert run("doctor", "--snapshot", file).returncode == 0
        here = json.loads(run("list-profiles", SMOLLM2, "--json").stdout)
        there = json.loads(run("list-profiles", SMOLLM2, "--hardware", file, "--json").stdout)
        assert here["chosen"] == there["chosen"]
        fits = [[p["fit"] for p in document["profiles"]] for document in (here, there)]
        assert fits[0] == fits[1]


@pytest.mark.parametrize("folder", ["/proc/nowhere", "/dev/null/cache"])
def test_a_cache_that_cannot_be_made_is_said(run, folder):
    result = run("download", SMOLLM2, "--cache-dir", folder)
    assert result.returncode == 4
    assert folder in result.stderr
    assert "Traceback" not in result.stderr
