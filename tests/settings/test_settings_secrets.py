"""Secrets: usable, never shown, and refused where others can read them."""

import traceback
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nimctl.errors import InputError
from nimctl.settings import KEYS, Secret, list_settings, read_settings

SECRET_KEYS = [key for key in KEYS if key.secret]
SECRET = "s3cr3t"


def test_a_secret_shows_only_whether_it_is_set() -> None:
    for shown in (repr, str, "{}".format, "{!r}".format, "%s".__mod__):
        assert shown(Secret(SECRET)) == "set"
        assert shown(Secret()) == "not set"
    assert Secret(SECRET).reveal() == SECRET
    assert (bool(Secret(SECRET)), bool(Secret())) == (True, False)
    assert Secret(SECRET) == Secret(SECRET) != Secret("other")
    assert len({Secret(SECRET), Secret(SECRET)}) == 1


def test_the_table_marks_every_secret() -> None:
    assert [key.name for key in SECRET_KEYS] == [
        *("hf_token", "ngc_api_key"),
        *("api_key", "management_api_key", "metrics_api_key", "engine_api_key"),
    ]
    assert all(isinstance(key.default, Secret) for key in SECRET_KEYS)


def test_settings_never_show_a_secret(tmp_path: Path) -> None:
    variables = {variable: f"{SECRET}-{i}" for i, variable in enumerate(_secret_variables())}
    file = tmp_path / "config.yaml"
    file.write_text("".join(f"{key.name}: {SECRET}-user\n" for key in SECRET_KEYS))
    file.chmod(0o600)
    for environment in (variables, {}):
        settings = read_settings({}, environment, tmp_path, file)
        assert all(getattr(settings, key.name) for key in SECRET_KEYS)
        shown = [repr(settings), str(settings), f"{settings}", repr(list_settings(settings))]
        shown += [*settings.origins.values(), *settings.notes]
        assert SECRET not in " ".join(shown)
        assert "hf_token=set" in repr(settings)
    assert settings.hf_token.reveal() == f"{SECRET}-user"


def _secret_variables() -> list[str]:
    return [variable for key in SECRET_KEYS for variable in key.environment]


def test_a_secret_is_taken_without_the_line_break_of_its_file(tmp_path: Path) -> None:
    settings = read_settings({}, {"NGC_API_KEY": f"{SECRET}\n"}, tmp_path, tmp_path / "c")
    assert settings.ngc_api_key.reveal() == SECRET


BROKEN_TEXT = st.text(max_size=4) | st.sampled_from(
    ["*", "!", "!a!", "&", "@", "`", "%", "[", "{", "|", "\n", "\t", "'", '"', "# ", ": ", "\0"]
)


# On a line of its own the secret would be a key, and an unknown key is named.
SAME_LINE_TEXT = BROKEN_TEXT.filter(lambda text: not set(text) & set("\n\r\x85\u2028\u2029"))


@given(
    name=st.sampled_from([key.name for key in SECRET_KEYS]),
    before=SAME_LINE_TEXT,
    after=BROKEN_TEXT,
)
def test_no_fault_quotes_a_secret(
    name: str, before: str, after: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("faults")
    written = f"{before}{SECRET}{after}"
    (folder / "nimctl.yaml").write_text(f"port: x\n{name}: {written}\n", errors="replace")
    (folder / "config.yaml").write_text(f"port: x\n{name}: {written}\n", errors="replace")
    (folder / "config.yaml").chmod(0o600)
    environment = dict.fromkeys(_secret_variables(), written + "\x00")
    with pytest.raises(InputError) as caught:
        read_settings({name: written}, environment, folder, folder / "config.yaml")
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_a_project_file_may_not_hold_a_secret(tmp_path: Path) -> None:
    file = tmp_path / "nimctl.yaml"
    file.write_text(f"port: 1\nngc_api_key: {SECRET}\n")
    file.chmod(0o600)
    with pytest.raises(InputError) as caught:
        read_settings({}, {}, tmp_path, tmp_path / "c")
    assert caught.value.message == (
        f"{file}:2: ngc_api_key: a secret has no place in a project file, which is often "
        "committed; use the environment variable NGC_API_KEY"
    )


def test_a_project_file_may_not_say_which_programs_run(tmp_path: Path) -> None:
    (tmp_path / "nimctl.yaml").write_text("engines_dir: here\n")
    with pytest.raises(InputError, match="engines_dir: it decides which programs run"):
        read_settings({}, {}, tmp_path, tmp_path / "c")


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_user_file_with_a_secret_must_be_private(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "my config.yaml"
    file.write_text(f"hf_token: {SECRET}\n")
    file.chmod(mode)
    with pytest.raises(InputError) as caught:
        read_settings({}, {}, tmp_path, file)
    command = f"chmod 600 '{file}'"
    assert caught.value.message == (
        f"{file}:1: hf_token: other users may read this file; run: {command}"
    )
    file.chmod(0o600)
    assert read_settings({}, {}, tmp_path, file).hf_token.reveal() == SECRET


def test_a_user_file_without_secrets_may_be_public(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("port: 1\n")
    file.chmod(0o644)
    assert read_settings({}, {}, tmp_path, file).port == 1


@pytest.mark.parametrize("written", ["", "''", "&anchor", "[a]", "!x"])
def test_a_secret_that_yaml_swallows_is_a_fault_not_an_open_door(
    tmp_path: Path, written: str
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(f"api_key: {written}\n")
    file.chmod(0o600)
    with pytest.raises(InputError, match=r"config\.yaml:1: api_key: wants"):
        read_settings({}, {}, tmp_path, file)


def test_an_address_with_a_password_is_refused_unquoted(tmp_path: Path) -> None:
    environment = {"HF_ENDPOINT": f"https://me:{SECRET}@mirror.example"}
    with pytest.raises(InputError) as caught:
        read_settings({}, environment, tmp_path, tmp_path / "c")
    assert caught.value.message == (
        "environment HF_ENDPOINT: hf_endpoint: must not hold a user name or password"
    )


def test_a_project_may_not_say_where_a_token_goes(tmp_path):
    (tmp_path / "nimctl.yaml").write_text("hf_endpoint: https://elsewhere.example\n")
    with pytest.raises(InputError, match=r"nimctl.yaml:1: hf_endpoint: .* HF_ENDPOINT"):
        read_settings({}, {"HF_TOKEN": "t"}, tmp_path, tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("allow_pickle: true", "it decides whose code is let in"),
        ("trust_remote_code: true", "it decides whose code is let in"),
        ("engine_args: [--trust-remote-code]", "it decides whose code is let in"),
        ("mirrors: [https://mirror]", "it decides where a token is sent"),
    ],
)
def test_a_project_file_may_not_let_in_what_others_wrote(
    tmp_path: Path, line: str, words: str
) -> None:
    (tmp_path / "nimctl.yaml").write_text(f"{line}\n")
    with pytest.raises(InputError, match=words):
        read_settings({}, {}, tmp_path, tmp_path / "c")
