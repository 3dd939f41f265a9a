"""The project file and the user file: where they are looked for, and every slip in them named."""

from pathlib import Path

import pytest

from nimctl.errors import InputError
from nimctl.settings import Settings, read_settings


def read(folder: Path, content: str | bytes) -> Settings:
    file = folder / "nimctl.yaml"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_settings({}, {}, folder, folder / "config.yaml")


def faults(folder: Path, content: str | bytes) -> list[str]:
    """The faults of a project file, each without the path before its line number."""
    with pytest.raises(InputError) as caught:
        read(folder, content)
    lines = caught.value.message.splitlines()
    lines = [line.strip() for line in lines if not line.endswith("cannot be used:")]
    assert all(line.startswith(f"{folder}/nimctl.yaml:") for line in lines)
    return [line.removeprefix(f"{folder}/nimctl.yaml:") for line in lines]


def test_all_faults_of_a_file_come_at_once(tmp_path: Path) -> None:
    content = "portt: 1\nport: 99999\n\ncache-dir: /a\nNIM_MAX_MODEL_LEN: 5\nxyzzy: 1\n"
    assert faults(tmp_path, content) == [
        "1: portt: no such setting; did you mean port?",
        "2: port: '99999' is not a whole number from 0 to 65535",
        "4: cache-dir: no such setting; did you mean cache_dir?",
        "5: NIM_MAX_MODEL_LEN: no such setting; did you mean context_length?",
        "6: xyzzy: no such setting",
    ]


def test_values_stand_for_their_text(tmp_path: Path) -> None:
    settings = read(
        tmp_path,
        "profile: 123456\nprecision: 1e5\nmodel: 2024-01-01\noffline: yes\nport: '81'\n",
    )
    assert (settings.profile, settings.precision, settings.model) == ("123456", "1e5", "2024-01-01")
    assert (settings.offline, settings.port) == (True, 81)


def test_lists_and_mappings(tmp_path: Path) -> None:
    settings = read(
        tmp_path,
        "manifest_dirs: [a, /b]\nserved_model_names:\n  - x\n  - 4\n"
        "tags_selector: {tp: 2, llm_engine: vllm}\n",
    )
    assert settings.manifest_dirs == (tmp_path / "a", Path("/b"))
    assert settings.served_model_names == ("x", "4")
    assert (settings.tensor_parallel, settings.engine) == (2, "vllm")
    assert settings.origins["engine"] == "nimctl.yaml:5"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("port: [1]", "1: port: wants one value"),
        ("port: {a: 1}", "1: port: wants one value"),
        ("port:", "1: port: wants one value"),
        ("model: ''", "1: model: is empty"),
        ("port: 1\nport: 1", "2: port: already set on line 1"),
        ("served_model_names: [[a]]", "1: served_model_names: wants plain text or numbers"),
        ("served_model_names: [~]", "1: served_model_names: wants plain text or numbers"),
        ("model: !x y", "1: model: wants plain text or numbers"),
        ("- port", "1: wants lines of the form `key: value`"),
        ("port", "1: wants lines of the form `key: value`"),
        ("[a]: 1", "1: wants lines of the form `key: value`"),
        ("host: @a\nport: 1", "1: not valid YAML: found character that cannot start any token"),
        ("port: 1\n---\nport: 2", "2: not valid YAML: "),
        (b"port: \xff", "1: not valid YAML: "),
        ('"\\e[31m": 1', "1: '\\x1b[31m': no such setting"),
    ],
)
def test_a_slip_is_named(tmp_path: Path, content: str | bytes, expected: str) -> None:
    (found,) = faults(tmp_path, content)
    assert found.startswith(expected)


def test_an_empty_file_says_nothing(tmp_path: Path) -> None:
    assert read(tmp_path, "# later\n").origins["port"] == "default"


def test_null_takes_back_what_a_weaker_layer_says(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("engine: vllm\nprofile: abc\n")
    settings = read(tmp_path, "engine: null\nprofile:\n")
    assert (settings.engine, settings.origins["engine"]) == (None, "nimctl.yaml:1")
    assert (settings.profile, settings.origins["profile"]) == (None, "nimctl.yaml:2")


def test_relative_paths_start_at_their_file(tmp_path: Path) -> None:
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    (tmp_path / "nimctl.yaml").write_text("cache_dir: weights\n")
    environment = {"NIMCTL_LORA_DIR": "lora"}
    settings = read_settings({}, environment, below, tmp_path / "config.yaml")
    assert settings.cache_dir == tmp_path / "weights"
    assert settings.lora_dir == below / "lora"


def test_the_nearest_project_file_counts(tmp_path: Path) -> None:
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    (tmp_path / "nimctl.yaml").write_text("port: 1\nhost: '::1'\n")
    (tmp_path / "a" / "nimctl.yaml").write_text("port: 2\n")
    settings = read_settings({}, {}, below, tmp_path / "config.yaml")
    assert (settings.port, settings.host) == (2, "127.0.0.1")


def test_the_search_ends_at_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "home" / "project"
    project.mkdir(parents=True)
    (tmp_path / "nimctl.yaml").write_text("port: 1\n")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert read_settings({}, {}, project, tmp_path / "c").port == 8000
    (tmp_path / "home" / "nimctl.yaml").write_text("port: 2\n")
    assert read_settings({}, {}, project, tmp_path / "c").port == 2


def test_a_home_folder_behind_a_link_ends_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "home")
    (tmp_path / "nimctl.yaml").write_text("port: 1\n")
    monkeypatch.setenv("HOME", str(tmp_path / "link"))
    assert read_settings({}, {}, (tmp_path / "home").resolve(), tmp_path / "c").port == 8000


def test_a_user_file_that_cannot_be_read_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").mkdir()
    with pytest.raises(InputError, match=r"config\.yaml: cannot be read: Is a directory"):
        read_settings({}, {}, tmp_path, tmp_path / "config.yaml")


def test_a_user_without_a_home_folder_must_name_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)  # as for the made-up user of a container
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match="no home folder") as caught:
        read_settings({}, {}, tmp_path)
    assert caught.value.hint == "set NIMCTL_CACHE_DIR to a folder"
    settings = read_settings({}, {"NIMCTL_CACHE_DIR": str(tmp_path)}, tmp_path)
    assert (settings.cache_dir, settings.files) == (tmp_path, ())


def test_a_folder_that_is_gone_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(InputError, match="the current folder no longer exists"):
        read_settings({}, {}, user_file=tmp_path / "c")
