"""`nimctl download`: several places at once, patterns, and what is not let in."""

import json
import pickle
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from bare_weights import SMALL, gguf_file, llama_tensors, safetensors_file
from fake_hub import FakeHub, git_sha1

ADAPTER = {
    "adapter_config.json": b"{}",
    "adapter_model.safetensors": safetensors_file({"a": ("BF16", (1000,))}),
    "training_args.bin": b"x" * 2000,
}
DATA = {"README.md": b"data", "train/0.parquet": b"PAR1" * 1000, "train/1.parquet": b"PAR2" * 1000}
CHECKPOINT = {
    "config.json": json.dumps(SMALL).encode(),
    "model.safetensors": safetensors_file(llama_tensors(SMALL)),
    "modeling_toy.py": b"import os\n",
    "tokenizer.json": b"{}",
}
PICKLED = {"config.json": b"{}", "pytorch_model.bin": pickle.dumps([1.0] * 1000)}


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub() as hub:
        hub.add_model("acme/adapter", ADAPTER)
        hub.add_model("acme/data", DATA)
        hub.add_model("acme/toy", CHECKPOINT)
        hub.add_model("acme/toy-gguf", {"toy-Q8_0.gguf": gguf_file()})
        hub.add_model("acme/pickled", PICKLED)
        yield hub


@pytest.fixture
def download(run, hub):
    return lambda *asked, **more: run("download", *asked, **{"HF_ENDPOINT": hub.url} | more)


def brought(folder: str) -> set[str]:
    top = Path(folder)
    return {str(path.relative_to(top)) for path in top.rglob("*") if path.is_file()}


def test_models_and_other_places_in_one_command(download):
    result = download("hf://acme/toy-gguf", "hf://acme/adapter", "hf://acme/data")
    assert result.returncode == 0, result.stderr
    model, adapter, data = result.stdout.splitlines()
    assert brought(model) == {"toy-Q8_0.gguf"}
    assert brought(adapter) == {"adapter_config.json", "adapter_model.safetensors"}
    assert brought(data) == set(DATA)
    assert "left out: training_args.bin" in result.stderr
    assert "it is taken as plain files" in result.stderr
    again = download("hf://acme/toy-gguf", "hf://acme/adapter", "hf://acme/data", "--json")
    assert [entry["path"] for entry in json.loads(again.stdout)["entries"]] == [
        model,
        adapter,
        data,
    ]


@pytest.mark.slow  # a hub that is not there is asked six times
def test_the_first_failure_ends_it_and_what_was_brought_is_told(download):
    result = download("hf://acme/data", "https://127.0.0.1:9/gone", "hf://acme/adapter")
    assert result.returncode == 9
    assert len(result.stdout.splitlines()) == 1


def test_a_file_on_a_web_server(download, hub):
    address = f"{hub.url}/acme/toy-gguf/resolve/main/toy-Q8_0.gguf"
    result = download(address)
    assert result.returncode == 0, result.stderr
    assert brought(result.stdout.strip()) == {"toy-Q8_0.gguf"}


def test_patterns_choose_the_files(download):
    result = download("hf://acme/data", "--include", "*.parquet", "--exclude", "*/1.*")
    assert result.returncode == 0, result.stderr
    assert brought(result.stdout.strip()) == {"train/0.parquet"}
    plan = download("hf://acme/toy", "--include", "*.json", "--dry-run", "--json")
    (document,) = json.loads(plan.stdout)["plans"]
    assert {file["path"] for file in document["files"]} == {"config.json", "tokenizer.json"}
    none = download("hf://acme/data", "--include", "*.txt")
    assert (none.returncode, "matches *.txt" in none.stderr) == (8, True)
    nearly = download("hf://acme/data", "--include", "README.txt")
    assert nearly.stderr.splitlines()[-1] == "hint:  it has README.md"
    nowhere = download("/nowhere/at/all")
    assert (nowhere.returncode, nowhere.stderr) == (8, "error: /nowhere/at/all does not exist\n")


@pytest.mark.slow  # a hub that is not there is asked six times
def test_patterns_choose_among_the_files_of_a_model_by_its_name(run):
    asked = ("llama3-8b-instruct", "--hardware", "h100", "--engine", "vllm", "--include", "*.txt")
    result = run("download", *asked, HF_ENDPOINT="http://127.0.0.1:9", HF_TOKEN="t")
    assert result.returncode == 9
    assert "127.0.0.1:9" in result.stderr


def test_pickles_are_refused_and_the_hint_brings_them(download, hub):
    refused = download("hf://acme/pickled")
    assert refused.returncode == 6
    assert "only as pytorch_model.bin" in refused.stderr
    assert hub.served("acme/pickled", "pytorch_model.bin") == 0
    hint = refused.stderr.splitlines()[-1]
    assert hint.startswith("hint:") and "--allow-pickle" in hint
    allowed = download("hf://acme/pickled", "--allow-pickle")
    assert allowed.returncode == 0, allowed.stderr
    assert brought(allowed.stdout.strip()) == set(PICKLED)
    assert "pytorch_model.bin: " in allowed.stderr and "scanned" in allowed.stderr
    assert download("hf://acme/pickled", "--offline").returncode != 0


def test_where_nothing_can_scan_pickles_it_is_said_once_they_are_there(run_here, hub, monkeypatch):
    for module in ("picklescan", "picklescan.scanner"):
        monkeypatch.setitem(sys.modules, module, None)  # as if it was not installed
    result = run_here("download", "hf://acme/pickled", "--allow-pickle", HF_ENDPOINT=hub.url)
    assert result.returncode == 0, result.stderr
    assert brought(result.stdout.strip()) == set(PICKLED)
    last = result.stderr.splitlines()[-1]
    assert last == "pytorch_model.bin: not scanned; `pip install picklescan` lets nimctl do that"


def test_a_pickle_that_would_run_a_program_is_refused(download, hub):
    pytest.importorskip("picklescan")
    evil = b"cos\nsystem\n(S'true'\ntR." + b" " * 2000
    hub.add_model("acme/evil", {"pytorch_model.bin": evil})
    for _ in range(2):
        result = download("hf://acme/evil", "--allow-pickle")
        assert (result.returncode, result.stdout) == (6, "")
        assert "system" in result.stderr
    hint = result.stderr.splitlines()[-1]
    assert "nimctl cache rm hf://acme/evil" in hint


def test_code_comes_only_when_trusted(download):
    asked = ("hf://acme/toy", "--include", "*")
    result = download(*asked)
    assert result.returncode == 0, result.stderr
    assert "modeling_toy.py" not in brought(result.stdout.strip())
    assert "left out: modeling_toy.py" in result.stderr
    trusted = download(*asked, "--trust-remote-code")
    assert brought(trusted.stdout.strip()) == set(CHECKPOINT)
    only = download("hf://acme/toy", "--include", "*.py")
    assert (only.returncode, "--trust-remote-code" in only.stderr) == (6, True)


def header(text: bytes, *, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(text) if length is None else length) + text + bytes(300_000)


def entry(begin: int, end: int) -> dict[str, object]:
    return {"dtype": "U8", "shape": [end - begin], "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (header(b"{}", length=2**40), "a header of"),
        (header(b"no json"), "not JSON"),
        (header(json.dumps({"a": entry(0, 200_000), "b": entry(100_000, 300_000)}).encode()),
         "'b' begins at 100000"),
        (header(json.dumps({"a": entry(0, 10**9)}).encode()), "take 1000000000 bytes"),
        (header(b'{"a":{"dtype":"U8","shape":[300000],"data_offsets":[0,300000]},'
                b'"a":{"dtype":"U8","shape":[300000],"data_offsets":[0,300000]}}'), "twice"),
    ],
    ids=["huge", "no-json", "overlap", "out-of-bounds", "twice"],
)  # fmt: skip
def test_a_wrong_header_is_refused_before_the_body(download, hub, head, words):
    hub.add_model("acme/bad", ADAPTER | {"adapter_model.safetensors": head})
    result = download("hf://acme/bad")
    assert result.returncode == 6, result.stderr
    assert words in result.stderr
    assert hub.served("acme/bad", "adapter_model.safetensors") <= 2 * 64 * 1024


def counted(tensors: int, pairs: int) -> bytes:
    whole = gguf_file()
    return whole[:8] + struct.pack("<QQ", tensors, pairs) + whole[24:]


@pytest.mark.parametrize("asked", [(), ("--include", "*")], ids=["by its model", "by its files"])
@pytest.mark.parametrize(
    ("whole", "words", "most_bytes"),
    [
        (gguf_file(texts={"tokenizer.chat_template": "x" * (2**20 + 1)}) + bytes(2**22),
         "'tokenizer.chat_template' has 1048577 characters", 2**21),
        (gguf_file(texts={"general.description": "x" * (2**20 + 1)}) + bytes(2**22),
         "'general.description' has 1048577 characters", 2**21),
        (gguf_file()[:-40_000], "the tensors end at 1114624, the file at 1074624 bytes", 2**16),
        (counted(2**60, 8), "1152921504606846976 tensors are more than any model has", 2**16),
        (counted(2, 2**62), "4611686018427387904 metadata keys are more", 2**16),
    ],
    ids=["template", "text", "out-of-bounds", "tensors", "keys"],
)  # fmt: skip
def test_a_wrong_gguf_header_is_refused_before_the_body(
    download, hub, whole, words, most_bytes, asked
):
    hub.add_model("acme/bad", {"toy-Q8_0.gguf": whole})
    result = download("hf://acme/bad", *asked)
    assert (result.returncode, words in result.stderr) == (6, True), result.stderr
    looks = 1 if asked else 2  # to make profiles of it, and before it is brought
    assert hub.served("acme/bad", "toy-Q8_0.gguf") <= looks * most_bytes


def test_a_wrong_header_of_another_file_than_the_one_profiles_are_made_from(download, hub):
    bad = gguf_file(texts={"tokenizer.chat_template": "x" * (2**20 + 1)})
    files = {"toy-Q4_0.gguf": gguf_file(file_type=2, tensor_type=2), "toy-Q8_0.gguf": bad}
    hub.add_model("acme/bad", files)
    result = download("hf://acme/bad", "--all")
    assert (result.returncode, "'tokenizer.chat_template' has" in result.stderr) == (6, True)
    assert "toy-Q8_0.gguf of hf://acme/bad" in result.stderr


def test_a_whole_tokenizer_in_a_gguf_header_may_be_long(download, hub):
    texts = {"tokenizer.huggingface.json": "x" * (2**20 + 1)}
    hub.add_model("acme/long", {"toy-Q8_0.gguf": gguf_file(texts=texts)})
    result = download("hf://acme/long")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("path", "most_bytes"),
    [("tokenizer.json", 2**28), ("tokenizer.model", 2**28), ("a/recipe.yaml", 2**20)],
)
def test_a_file_that_is_parsed_whole_has_a_limit(download, hub, path, most_bytes):
    hub.add_model("acme/long", {"README.md": b"words", path: b"short"})
    hub.tree = [listed("README.md", 5), listed(path, most_bytes + 1)]
    result = download("hf://acme/long", "--include", "*")
    words = f"{path} of hf://acme/long has {most_bytes + 1} bytes; over {most_bytes} is refused"
    assert (result.returncode, words in result.stderr) == (6, True), result.stderr
    assert hub.sent_bytes == {}
    rest = download("hf://acme/long", "--include", "*", "--exclude", path)
    assert (rest.returncode, brought(rest.stdout.strip())) == (0, {"README.md"}), rest.stderr


def listed(path: str, size_bytes: int) -> dict[str, object]:
    return {"type": "file", "path": path, "size": size_bytes, "oid": git_sha1(b"words")}


def test_a_chat_template_without_end_is_refused(download, hub):
    hub.add_model("acme/bad", {"chat_template.jinja": b"x" * 2**21, "README.md": b""})
    result = download("hf://acme/bad")
    assert result.returncode == 6
    assert "chat_template.jinja" in result.stderr
    again = download("hf://acme/bad", "--exclude", "chat_template.jinja")
    assert again.returncode == 0, again.stderr
    hub.add_model("acme/long", {"chat_template.jinja": b"x" * 2**20, "README.md": b""})
    assert download("hf://acme/long").returncode == 0


def test_every_profile_is_brought_where_none_can_run(download):
    refused = download("hf://acme/toy", "--hardware", "h100", "--engine", "llama.cpp")
    assert refused.returncode == 3
    assert "--all brings the files of every profile" in refused.stderr
    result = download("hf://acme/toy", "--hardware", "h100", "--engine", "llama.cpp", "--all")
    assert result.returncode == 0, result.stderr
    assert "model.safetensors" in brought(result.stdout.splitlines()[0])


def test_a_limit_and_connections_are_kept(download, hub):
    rate = 20_000_000
    began_s = time.monotonic()
    result = download(
        "hf://acme/toy", "--include", "*.safetensors", "--connections", "2",
        "--limit-rate", f"{rate}",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    size_bytes = len(CHECKPOINT["model.safetensors"])
    assert time.monotonic() - began_s >= size_bytes / rate - 0.2
    ranges = [one for one in hub.requests("storage") if "range" in one.headers]
    assert len(ranges) > 1
    assert len({one.port for one in ranges}) <= 3  # two, and one that read the header


@pytest.mark.parametrize(
    "wrong", [("--limit-rate", "quick"), ("--connections", "0"), ("--progress", "loud")]
)
def test_a_wrong_value_is_said(download, wrong):
    result = download("hf://acme/toy", *wrong)
    assert (result.returncode, wrong[0] in result.stderr) == (2, True)
