"""Environment variables: NIM's own names, disagreements, slips, and what Kubernetes makes up."""

from pathlib import Path

import pytest

from nimctl.errors import InputError
from nimctl.settings import KEYS, Settings, read_settings


def read(environment: dict[str, str], **flags: object) -> Settings:
    nowhere = Path("/nonexistent-folder")
    return read_settings(flags, environment, nowhere, nowhere / "config.yaml")


def fault(environment: dict[str, str]) -> str:
    with pytest.raises(InputError) as caught:
        read(environment)
    return caught.value.message


def test_the_stronger_of_two_names_wins_and_a_note_says_so() -> None:
    settings = read({"NIM_HTTP_API_PORT": "3", "NIM_SERVER_PORT": "2", "NIMCTL_PORT": "1"})
    assert (settings.port, settings.origins["port"]) == (1, "environment NIMCTL_PORT")
    assert settings.notes == (
        "port: environment NIMCTL_PORT wins over environment NIM_SERVER_PORT, which differs",
        "port: environment NIMCTL_PORT wins over environment NIM_HTTP_API_PORT, which differs",
    )


def test_two_names_that_mean_the_same_need_no_note() -> None:
    settings = read({"NIMCTL_LOG_LEVEL": "info", "NIM_LOG_LEVEL": "DEFAULT"})
    assert (settings.log_level, settings.notes) == ("info", ())


@pytest.mark.parametrize("word", ["default", "DEFAULT", ""])
def test_nims_default_profile_means_none(word: str) -> None:
    assert read({"NIM_MODEL_PROFILE": word}).profile is None


def test_an_empty_variable_is_ignored_and_noted() -> None:
    settings = read({"NIM_MAX_MODEL_LEN": " ", "HF_TOKEN": ""})
    assert settings.context_length is None
    assert not settings.hf_token
    assert settings.notes == (
        "environment NIM_MAX_MODEL_LEN is empty: ignored",
        "environment HF_TOKEN is empty: ignored",
    )


def test_a_bad_weaker_name_is_still_a_fault() -> None:
    assert fault({"NIMCTL_PORT": "1", "NIM_SERVER_PORT": "http"}) == (
        "environment NIM_SERVER_PORT: port: 'http' is not a whole number from 0 to 65535"
    )


def test_a_slip_in_our_own_names_is_a_fault_with_the_nearest_name() -> None:
    assert fault({"NIMCTL_PRT": "1"}) == (
        "environment NIMCTL_PRT: no such setting; did you mean NIMCTL_PORT?"
    )
    assert "did you mean HF_TOKEN?" in fault({"NIMCTL_HF_TOKEN": "hf_1"})
    assert fault({"NIMCTL_XYZZY": "1"}) == "environment NIMCTL_XYZZY: no such setting"


def test_nim_variables_without_effect_are_noted() -> None:
    settings = read({"NIM_LOW_MEMORY_MODE": "1", "NIMBLE": "1", "PATH": "/bin"})
    assert settings.notes == ("environment NIM_LOW_MEMORY_MODE has no effect in nimctl",)


def test_what_kubernetes_makes_up_for_a_service_is_not_a_setting() -> None:
    made_up = {
        "NIMCTL_SERVICE_HOST": "10.0.0.1",
        "NIMCTL_SERVICE_PORT": "8000",
        "NIMCTL_PORT": "tcp://10.0.0.1:8000",
        "NIMCTL_PORT_8000_TCP_ADDR": "10.0.0.1",
        "NIM_SERVER_SERVICE_HOST": "10.0.0.2",
        "NIM_SERVER_PORT": "tcp://10.0.0.2:80",
    }
    settings = read(made_up)
    assert (settings.port, settings.origins["port"]) == (8000, "default")
    assert settings.notes == (
        "environment NIMCTL_PORT is a Kubernetes service link: ignored",
        "environment NIM_SERVER_PORT is a Kubernetes service link: ignored",
    )
    assert read(made_up | {"NIMCTL_PORT": "81"}).port == 81
    assert "NIMCTL_PORT: port: 'tcp://" in fault({"NIMCTL_PORT": "tcp://10.0.0.1:8000"})


TAGS = "precision=fp8, tp=2,llm_engine=vllm,profile=latency,feat_lora=true"


def test_tags_fill_what_the_environment_leaves_open() -> None:
    settings = read({"NIM_TAGS_SELECTOR": TAGS})
    assert (settings.precision, settings.tensor_parallel) == ("fp8", 2)
    assert (settings.engine, settings.goal, settings.lora) == ("vllm", "latency", True)
    assert settings.tags_selector["tp"] == "2"
    for name in ("precision", "tensor_parallel", "engine", "goal", "lora", "tags_selector"):
        assert settings.origins[name] == "environment NIM_TAGS_SELECTOR"
    assert settings.notes == ()


def test_a_key_of_its_own_wins_over_a_tag() -> None:
    settings = read({"NIM_TAGS_SELECTOR": TAGS, "NIMCTL_ENGINE": "vllm"}, precision="bf16")
    assert (settings.precision, settings.origins["precision"]) == ("bf16", "flag --precision")
    assert settings.origins["engine"] == "environment NIMCTL_ENGINE"
    settings = read({"NIM_TAGS_SELECTOR": TAGS, "NIMCTL_ENGINE": "trtllm"})
    assert settings.engine == "tensorrt_llm"
    assert settings.notes == (
        "engine: environment NIMCTL_ENGINE wins over environment NIM_TAGS_SELECTOR, which differs",
    )


def test_tags_are_as_strong_as_their_layer(tmp_path: Path) -> None:
    (tmp_path / "nimctl.yaml").write_text("precision: bf16\ngoal: throughput\n")
    environment = {"NIM_TAGS_SELECTOR": "precision=fp8"}
    settings = read_settings({}, environment, tmp_path, tmp_path / "config.yaml")
    assert (settings.precision, settings.goal) == ("fp8", "throughput")


def test_a_tag_without_a_setting_is_noted_and_a_bad_one_is_a_fault() -> None:
    assert read({"NIM_TAGS_SELECTOR": "gpu=h100"}).notes == (
        "environment NIM_TAGS_SELECTOR: the tag gpu has no effect in nimctl",
    )
    assert "tensor_parallel: 'two'" in fault({"NIM_TAGS_SELECTOR": "tp=two"})
    assert "'fp8' is not name=value" in fault({"NIM_TAGS_SELECTOR": "fp8,tp=2"})


@pytest.mark.parametrize(
    ("variable", "written", "words"),
    [
        (
            "NIMCTL_ENGINE",
            "vlm",
            "is not one of tensorrt_llm, vllm, sglang, llama.cpp; did you mean vllm?",
        ),
        ("NIMCTL_GOAL", "thruput", "; did you mean throughput?"),
        ("NIMCTL_PORT", "65536", "'65536' is not a whole number from 0 to 65535"),
        ("NIMCTL_PORT", "-1", "is not a whole number"),
        ("NIM_MAX_MODEL_LEN", "8k", "'8k' is not a whole number of 1 or more"),
        ("NIM_MAX_MODEL_LEN", "²", "is not a whole number"),
        ("NIM_MAX_MODEL_LEN", "9" * 5000, "is not a whole number"),
        ("NIMCTL_DRAIN_TIMEOUT_S", "nan", "is not a number of seconds"),
        ("NIMCTL_DRAIN_TIMEOUT_S", "-1", "is not a number of seconds"),
        (
            "NIM_PASSTHROUGH_ARGS",
            "--a 'b",
            "cannot be split like a shell does: No closing quotation",
        ),
        ("NIMCTL_LIMIT_RATE", "fast", "'fast' is not a rate, e.g. 50MB/s"),
        ("NIMCTL_LIMIT_RATE", "1", "'1' is under 1024 bytes a second"),
        ("NIM_REPOSITORY_OVERRIDE", "mirror", "'mirror' is not ADDRESS or PREFIX=ADDRESS"),
        ("NIM_REPOSITORY_OVERRIDE", "https://me:pw@m", "must not hold a user name or password"),
        ("HF_ENDPOINT", "huggingface.co", "is not an http:// or https:// address"),
        ("HF_ENDPOINT", "http://[::1", "is not an http:// or https:// address"),
        ("NIMCTL_MODEL", "a\nb", "holds a line break or another control character"),
    ],
)
def test_a_bad_value_names_its_variable_and_what_is_allowed(
    variable: str, written: str, words: str
) -> None:
    message = fault({variable: written})
    assert message.startswith(f"environment {variable}: ")
    assert words in message


def test_every_variable_reaches_its_key() -> None:
    for key in KEYS:
        assert key.environment
        for variable in key.environment:
            bad = "a\nb"
            assert fault({variable: bad}).startswith(f"environment {variable}: {key.name}: ")


def test_a_home_folder_can_be_written_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert read({"NIM_CACHE_PATH": "~/nim"}).cache_dir == Path("/home/me/nim")
