"""Only data is brought unless asked: what is left out, and what is refused."""

import pytest

from nimctl.cache import FetchRequest, SafetyPolicy
from nimctl.cache.request import choose_files, sort_files
from nimctl.cache.safety import describe_left_out
from nimctl.core.source import Listing, RemoteFile, parse_source_uri
from nimctl.errors import FetchError, UnsafeFilesError

TOY = parse_source_uri("hf://acme/toy")


def listing(*paths: str) -> Listing:
    return Listing(uri=TOY, revision="1", files=tuple(RemoteFile(path=path) for path in paths))


def chosen(request: FetchRequest, *paths: str) -> list[str]:
    return [file.path for file in choose_files(request, listing(*paths))]


def request(**asked: object) -> FetchRequest:
    return FetchRequest(uri=TOY, **asked)  # type: ignore[arg-type]


PICKLES_TOO = request(policy=SafetyPolicy(allow_pickle=True))


@pytest.mark.parametrize(
    "other",
    ["pytorch_model.bin", "a.pt", "a.pth", "a.ckpt", "a.PKL", "tf_model.h5", "flax.msgpack",
     "onnx/model.onnx", "onnx/model.onnx_data"],
)  # fmt: skip
def test_safetensors_win_over_every_other_format(other: str) -> None:
    both = ("config.json", "model.safetensors", other)
    assert chosen(request(), *both) == ["config.json", "model.safetensors"]
    assert chosen(PICKLES_TOO, *both) == ["config.json", "model.safetensors"]
    assert other in (describe_left_out(sort_files(request(), listing(*both))) or "")


def test_pickles_alone_are_refused_and_come_when_allowed() -> None:
    paths = ("config.json", "pytorch_model.bin")
    with pytest.raises(UnsafeFilesError, match=r"only as pytorch_model\.bin") as caught:
        chosen(request(), *paths)
    assert "--allow-pickle" in (caught.value.hint or "")
    assert caught.value.exit_code == 6
    assert chosen(PICKLES_TOO, *paths) == list(paths)


def test_a_pickle_that_is_named_is_refused_too() -> None:
    paths = ("model.safetensors", "pytorch_model.bin")
    with pytest.raises(UnsafeFilesError):
        chosen(request(include=("*.bin",)), *paths)
    named = SafetyPolicy(allow_pickle=True)
    assert chosen(request(include=("*.bin",), policy=named), *paths) == ["pytorch_model.bin"]


def test_code_stays_away_unless_trusted() -> None:
    paths = ("config.json", "modeling_toy.py", "model.safetensors")
    assert chosen(request(), *paths) == ["config.json", "model.safetensors"]
    trusting = request(policy=SafetyPolicy(allow_code=True))
    assert chosen(trusting, *paths) == list(paths)
    with pytest.raises(UnsafeFilesError, match="code of the publisher") as caught:
        chosen(request(include=("*.py",)), *paths)
    assert "--trust-remote-code" in (caught.value.hint or "")


def test_files_without_any_weights_are_brought() -> None:
    paths = ("README.md", "data/train-00000.parquet", "data/table.npy", "model.onnx")
    assert chosen(request(), *paths) == list(paths)


def test_what_is_excluded_is_not_brought() -> None:
    paths = ("a.safetensors", "b.safetensors", "c.json")
    assert chosen(request(exclude=("b.*",)), *paths) == ["a.safetensors", "c.json"]
    only = request(include=("*.safetensors",), exclude=("a.*",))
    assert chosen(only, *paths) == ["b.safetensors"]
    with pytest.raises(FetchError, match="excludes every file"):
        chosen(request(exclude=("*",)), *paths)


def test_other_choices_are_other_entries() -> None:
    choices = [
        request(),
        request(exclude=("a",)),
        request(include=("a",)),
        PICKLES_TOO,
        request(policy=SafetyPolicy(allow_code=True)),
    ]
    assert request().selection == ""
    assert len({one.selection for one in choices}) == len(choices)
