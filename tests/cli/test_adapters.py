"""LoRA adapters by folder and by name, with the rank each tells."""

import json

import pytest

from nimctl.cli.adapters import find_adapters
from nimctl.cli.asked import split_lora
from nimctl.engines import TRAITS
from nimctl.errors import InputError
from nimctl.settings import read_settings


def make_adapter(folder, **config):
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"r": 16} | config))
    return folder


def find(tmp_path, *written, engine="vllm"):
    flags = split_lora(written)
    settings = read_settings(flags, {}, tmp_path, tmp_path / "none.yaml")
    return find_adapters(settings, TRAITS[engine])


def test_a_folder_and_names_beside_it(tmp_path):
    loras = tmp_path / "loras"
    loras.mkdir()
    make_adapter(loras / "support")
    other = make_adapter(tmp_path / "other", r=8, rank_pattern={"q_proj": 64})
    found = find(tmp_path, str(loras), f"sales={other}")
    assert [(one.name, one.path, one.rank) for one in found] == [
        ("support", loras / "support", 16),
        ("sales", other, 64),
    ]


def test_a_name_replaces_that_of_the_folder(tmp_path):
    (tmp_path / "loras").mkdir()
    make_adapter(tmp_path / "loras" / "a")
    other = make_adapter(tmp_path / "b")
    (one,) = find(tmp_path, str(tmp_path / "loras"), f"a={other}")
    assert one.path == other


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (("a=nowhere",), "there is no adapter_config.json"),
        (("nowhere",), "does not exist"),
        (("a=x", "a=y"), "the name a is given twice"),
        (("one", "two"), "one folder of adapters, not 2"),
    ],
)
def test_what_is_not_there_is_said(tmp_path, written, message):
    with pytest.raises(InputError, match=message):
        find(tmp_path, *written)


@pytest.mark.parametrize("config", ['{"r": "8"}', '{"r": 0}', "[]", "{", "{}"])
def test_an_adapter_without_a_rank_is_said(tmp_path, config):
    folder = make_adapter(tmp_path / "a")
    (folder / "adapter_config.json").write_text(config)
    with pytest.raises(InputError, match="rank"):
        find(tmp_path, f"a={folder}")


def test_llama_cpp_wants_one_gguf_file(tmp_path):
    folder = make_adapter(tmp_path / "a")
    with pytest.raises(InputError, match="one GGUF file") as caught:
        find(tmp_path, f"a={folder}", engine="llama.cpp")
    assert "convert_lora_to_gguf.py" in caught.value.hint
    (folder / "adapter.gguf").write_bytes(b"GGUF")
    (one,) = find(tmp_path, f"a={folder}", engine="llama.cpp")
    assert one.path == folder / "adapter.gguf"
    with pytest.raises(InputError, match="into every answer"):
        find(tmp_path, f"a={folder}", f"b={folder}", engine="llama.cpp")
