"""Which layer decides a setting, and what each says about where it came from."""

import os
import tempfile
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from nimctl.core.engine_address import EngineAddress
from nimctl.errors import InputError
from nimctl.settings import KEYS, Key, Secret, Settings, list_settings, read_settings

# Two ways to write each setting, and the value each means.
SAMPLES: dict[str, tuple[tuple[str, object], tuple[str, object]]] = {
    "model": (("a/b", "a/b"), ("hf://c/d", "hf://c/d")),
    "cache_dir": (("/a", Path("/a")), ("/b c", Path("/b c"))),
    "engines_dir": (("/a", Path("/a")), ("/b c", Path("/b c"))),
    "engine_path": (("/a/vllm", Path("/a/vllm")), ("/b/vllm", Path("/b/vllm"))),
    "container": (("docker", "docker"), ("PODMAN", "podman")),
    "container_image": (("me/vllm:v1", "me/vllm:v1"), ("b/vllm", "b/vllm")),
    "shm_size": (("32GiB", "32gb"), ("1024", "1024")),
    "manifest_dirs": (("/a", (Path("/a"),)), (f"/b{os.pathsep}/c", (Path("/b"), Path("/c")))),
    "profile": (("default", None), ("0a1b2c3d", "0a1b2c3d")),
    "engine": (("TRTLLM", "tensorrt_llm"), ("llama_cpp", "llama.cpp")),
    "precision": (("fp8", "fp8"), ("bf16", "bf16")),
    "goal": (("latency", "latency"), ("Throughput", "throughput")),
    "context_length": (("1", 1), ("131072", 131072)),
    "concurrency": (("1", 1), ("64", 64)),
    "kv_precision": (("fp8", "fp8"), ("q8_0", "q8_0")),
    "tensor_parallel": (("1", 1), ("8", 8)),
    "memory_share": (("0.5", 0.5), ("1", 1.0)),
    "lora": (("true", True), ("0", False)),
    "lora_dir": (("/a", Path("/a")), ("/b", Path("/b"))),
    "lora_adapters": (
        ("a=/a", (("a", Path("/a")),)),
        ("a=/a, b=/b", (("a", Path("/a")), ("b", Path("/b")))),
    ),
    "max_lora_rank": (("8", 8), ("64", 64)),
    "max_loras": (("1", 1), ("8", 8)),
    "max_cpu_loras": (("1", 1), ("16", 16)),
    "tool_parser": (("hermes", "hermes"), ("none", "none")),
    "reasoning_parser": (("qwen3", "qwen3"), ("none", "none")),
    "chat_template": (("/a.jinja", Path("/a.jinja")), ("/b", Path("/b"))),
    "prefix_caching": (("1", True), ("no", False)),
    "chunked_prefill": (("1", True), ("no", False)),
    "structured_output_backend": (("xgrammar", "xgrammar"), ("guidance", "guidance")),
    "speculative": (("ngram", "ngram"), ("/draft", "/draft")),
    "speculative_tokens": (("1", 1), ("64", 64)),
    "seed": (("0", 0), ("42", 42)),
    "tags_selector": (
        ("gpu=h100", {"gpu": "h100"}),
        ("pp=1, gpu=l40s", {"pp": "1", "gpu": "l40s"}),
    ),
    "allow_cpu": (("1", True), ("no", False)),
    "heal": (("0", False), ("yes", True)),
    "host": (("::1", "::1"), ("0.0.0.0", "0.0.0.0")),  # noqa: S104
    "port": (("0", 0), ("65535", 65535)),
    "uds": (("/run/nim.sock", Path("/run/nim.sock")), ("/s", Path("/s"))),
    "tls_mode": (("MTLS", "mtls"), ("disabled", "off")),
    "tls_cert": (("/c.pem", Path("/c.pem")), ("/d.pem", Path("/d.pem"))),
    "tls_key": (("/c.key", Path("/c.key")), ("/d.key", Path("/d.key"))),
    "tls_client_ca": (("/ca", Path("/ca")), ("/cb", Path("/cb"))),
    "max_concurrency": (("1", 1), ("64", 64)),
    "max_waiting": (("0", 0), ("16", 16)),
    "max_body_size": (("64MiB", 64 * 1024**2), ("1", 1)),
    "cors_allow_origins": (("https://a, https://b", ("https://a", "https://b")), ("*", ("*",))),
    "cors_allow_headers": (("x-team", ("x-team",)), ("a,b", ("a", "b"))),
    "cors_max_age_s": (("0", 0), ("60", 60)),
    "served_model_names": (("a", ("a",)), ("b, c", ("b", "c"))),
    "api_key": (("key-1", Secret("key-1")), ("key-2", Secret("key-2"))),
    "api_key_file": (("/a", Path("/a")), ("/b", Path("/b"))),
    "management_api_key": (("k-1", Secret("k-1")), ("k-2", Secret("k-2"))),
    "management_api_key_file": (("/a", Path("/a")), ("/b", Path("/b"))),
    "metrics_api_key": (("k-1", Secret("k-1")), ("k-2", Secret("k-2"))),
    "metrics_api_key_file": (("/a", Path("/a")), ("/b", Path("/b"))),
    "engine_url": (
        ("https://a/v1/", EngineAddress(host="a", port=443, tls=True)),
        ("unix:/s", EngineAddress(uds="/s")),
    ),
    "engine_api_key": (("k-1", Secret("k-1")), ("k-2", Secret("k-2"))),
    "engine_api_key_file": (("/a", Path("/a")), ("/b", Path("/b"))),
    "engine_args": (("--a", ("--a",)), ("--b 'c d'", ("--b", "c d"))),
    "offline": (("yes", True), ("OFF", False)),
    "mirrors": (
        ("s3://bucket/", ("s3://bucket/",)),
        ("hf://=https://a, file:///b", ("hf://=https://a", "file:///b")),
    ),
    "connections": (("1", 1), ("64", 64)),
    "limit_rate": (("50MB/s", 50_000_000), ("1.5 GiB", 1_610_612_736)),
    "xet": (("1", True), ("no", False)),
    "progress": (("JSON", "json"), ("none", "none")),
    "allow_pickle": (("1", True), ("no", False)),
    "trust_remote_code": (("1", True), ("no", False)),
    "require_signature": (("/a.pub", Path("/a.pub")), ("/b", Path("/b"))),
    "hf_token": (("hf_1", Secret("hf_1")), ("hf_2", Secret("hf_2"))),
    "hf_endpoint": (("https://a/", "https://a"), ("http://b:81/c", "http://b:81/c")),
    "ngc_api_key": (("n-1", Secret("n-1")), ("n-2", Secret("n-2"))),
    "ngc_endpoint": (("https://a/", "https://a"), ("http://b:81", "http://b:81")),
    "ngc_auth_endpoint": (("https://a/", "https://a"), ("http://b:81", "http://b:81")),
    "log_level": (("DEFAULT", "info"), ("CRITICAL", "error")),
    "log_format": (("json", "json"), ("0", "text")),
    "otel": (("1", True), ("no", False)),
    "otel_service_name": (("a", "a"), ("b", "b")),
    "otel_traces_exporter": (("otlp", "otlp"), ("NONE", "none")),
    "otel_endpoint": (("https://a/", "https://a"), ("http://b:4318", "http://b:4318")),
    "start_timeout_s": (("1", 1.0), ("2.5", 2.5)),
    "drain_timeout_s": (("0", 0.0), ("1e2", 100.0)),
    "restart_limit": (("0", 0), ("12", 12)),
    "restart_window_s": (("60", 60.0), ("0.5", 0.5)),
    "hang_timeout_s": (("0", 0.0), ("90", 90.0)),
}

Spoken = dict[str, tuple[str, object]]


def layer(keys: list[Key]) -> st.SearchStrategy[Spoken]:
    """Some of the keys, each with one of its samples."""
    return st.fixed_dictionaries(
        {}, optional={key.name: st.sampled_from(SAMPLES[key.name]) for key in keys}
    )


def write(file: Path, spoken: Spoken) -> None:
    file.write_text(yaml.safe_dump({name: written for name, (written, _) in spoken.items()}))
    file.chmod(0o600)


def test_every_key_has_an_attribute_a_sample_and_a_flag_of_its_own() -> None:
    names = [key.name for key in KEYS]
    own = {"origins", "notes", "files", "environment"}
    assert [f.name for f in fields(Settings) if f.name not in own] == names
    assert sorted(SAMPLES) == sorted(names)
    assert len({key.flag for key in KEYS}) == len(names)
    variables = [variable for key in KEYS for variable in key.environment]
    assert len(set(variables)) == len(variables)


@given(
    flags=layer(list(KEYS)),
    environment=layer([key for key in KEYS if key.environment]),
    project=layer(
        [
            key
            for key in KEYS
            if not (key.secret or key.guides_secret or key.names_programs or key.lets_code_in)
        ]
    ),
    user=layer(list(KEYS)),
    pick=st.randoms(use_true_random=False),
)
def test_the_strongest_speaking_layer_decides_every_key(
    flags: Spoken, environment: Spoken, project: Spoken, user: Spoken, pick: Any
) -> None:
    variables = {key.name: pick.choice(key.environment) for key in KEYS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder / "nimctl.yaml", project)
        write(folder / "config.yaml", user)
        settings = read_settings(
            {key: written for key, (written, _) in flags.items()},
            {variables[key]: written for key, (written, _) in environment.items()},
            cwd=folder,
            user_file=folder / "config.yaml",
        )
    for key in KEYS:
        value = getattr(settings, key.name)
        origin = settings.origins[key.name]
        if key.name in flags:
            assert (value, origin) == (flags[key.name][1], f"flag {key.flag}")
        elif key.name in environment:
            expected = (environment[key.name][1], f"environment {variables[key.name]}")
            assert (value, origin) == expected
        elif key.name in project:
            assert value == project[key.name][1]
            assert origin.startswith("nimctl.yaml:")
        elif key.name in user:
            assert value == user[key.name][1]
            assert origin.startswith("config.yaml:")
        else:
            assert origin == "default"


def test_defaults_alone(tmp_path: Path) -> None:
    settings = read_settings({}, {}, tmp_path, tmp_path / "none.yaml")
    assert (settings.host, settings.port, settings.profile) == ("127.0.0.1", 8000, None)
    assert settings.cache_dir.name == "nimctl"
    assert settings.cache_dir.is_absolute()
    assert settings.hf_endpoint == "https://huggingface.co"
    assert set(settings.origins.values()) == {"default"}
    assert settings.notes == ()
    assert settings.files == ()


def test_flags_that_were_not_given_do_not_speak(tmp_path: Path) -> None:
    environment = {"NIMCTL_PORT": "1", "NIMCTL_MANIFEST_DIRS": "/m", "NIMCTL_OFFLINE": "1"}
    settings = read_settings(
        {"port": None, "manifest_dirs": [], "offline": False}, environment, tmp_path, tmp_path / "c"
    )
    assert (settings.port, settings.manifest_dirs) == (1, (Path("/m"),))
    assert (settings.offline, settings.origins["offline"]) == (False, "flag --offline")


def test_a_flag_nobody_knows_is_a_bug(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        read_settings({"prot": 1}, {}, tmp_path, tmp_path / "c")


def test_typed_flags_are_taken_as_they_are(tmp_path: Path) -> None:
    flags: dict[str, object] = {
        "port": 9000,
        "cache_dir": Path("weights"),
        "manifest_dirs": [Path("/m"), Path("n")],
        "engine_args": ("--a", "b c"),
        "drain_timeout_s": 1.5,
        "offline": True,
    }
    settings = read_settings(flags, {}, tmp_path, tmp_path / "c")
    assert settings.port == 9000
    assert settings.cache_dir == tmp_path / "weights"
    assert settings.manifest_dirs == (Path("/m"), tmp_path / "n")
    assert settings.engine_args == ("--a", "b c")
    assert settings.drain_timeout_s == 1.5
    assert settings.offline is True
    assert settings.origins["manifest_dirs"] == "flag --manifest-dir"


def test_one_origin_of_each_kind_is_listed(tmp_path: Path) -> None:
    (tmp_path / "nimctl.yaml").write_text("# ours\n\ncontext_length: 4096\n")
    (tmp_path / "config.yaml").write_text("engine: vllm\n")
    settings = read_settings(
        {"port": 1}, {"NIM_SERVED_MODEL_NAME": "a,b c"}, tmp_path, tmp_path / "config.yaml"
    )
    lines = {line.name: (line.value, line.origin) for line in list_settings(settings)}
    assert list(lines) == [key.name for key in KEYS]
    assert lines["port"] == ("1", "flag --port")
    assert lines["served_model_names"] == ("a 'b c'", "environment NIM_SERVED_MODEL_NAME")
    assert lines["context_length"] == ("4096", "nimctl.yaml:3")
    assert lines["engine"] == ("vllm", "config.yaml:1")
    assert lines["offline"] == ("false", "default")
    assert lines["profile"] == ("not set", "default")
    assert lines["tags_selector"] == ("not set", "default")
    assert settings.files == (tmp_path / "nimctl.yaml", tmp_path / "config.yaml")


def test_settings_cannot_be_changed(tmp_path: Path) -> None:
    environment = {"HF_TOKEN": "hf_1"}
    settings = read_settings({}, environment, tmp_path, tmp_path / "c")
    environment["HF_TOKEN"] = "hf_2"
    assert settings.environment == {"HF_TOKEN": "hf_1"}
    with pytest.raises(AttributeError):
        settings.port = 1  # type: ignore[misc]
    with pytest.raises(TypeError):
        settings.origins["port"] = "me"  # type: ignore[index]


def test_this_process_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nimctl.yaml").write_text("port: 1")
    (tmp_path / "nimctl").mkdir()
    (tmp_path / "nimctl" / "config.yaml").write_text("host: '::1'")
    for name in [name for name in os.environ if name.startswith("NIM")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("NIM_MAX_MODEL_LEN", "77")
    monkeypatch.chdir(tmp_path)
    settings = read_settings({})
    assert (settings.port, settings.context_length) == (1, 77)
    if os.name == "posix" and os.uname().sysname == "Linux":
        assert settings.host == "::1"


def test_faults_of_all_layers_come_at_once(tmp_path: Path) -> None:
    (tmp_path / "nimctl.yaml").write_text("port: x")
    (tmp_path / "config.yaml").write_text("goal: speed")
    with pytest.raises(InputError) as caught:
        read_settings(
            {"concurrency": 0}, {"HF_HUB_OFFLINE": "maybe"}, tmp_path, tmp_path / "config.yaml"
        )
    assert caught.value.message.splitlines() == [
        "4 settings cannot be used:",
        "  flag --concurrency: '0' is not a whole number of 1 or more",
        "  environment HF_HUB_OFFLINE: offline: 'maybe' is neither true nor false",
        f"  {tmp_path}/nimctl.yaml:1: port: 'x' is not a whole number from 0 to 65535",
        f"  {tmp_path}/config.yaml:1: goal: 'speed' is not one of latency, throughput, "
        "balanced, quality",
    ]
