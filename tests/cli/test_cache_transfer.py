"""`nimctl cache import, export, view, serve` as a user runs them."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from bare_weights import SMALL, llama_tensors, safetensors_file
from fake_hub import FakeHub

COMMAND = [sys.executable, "-m", "nimctl"]
CONFIG = SMALL | {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 1,
    "vocab_size": 256,
}
WEIGHTS = safetensors_file(llama_tensors(CONFIG))
FILES = {"config.json": json.dumps(CONFIG).encode(), "model.safetensors": WEIGHTS}
BIG = b"x" * 5000
COMMIT = "c" * 40


@pytest.fixture
def run(run_here):
    """A child for each of so many calls would take a minute."""
    return run_here


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def hugging_face(home: Path, clean_environment) -> Path:
    """A Hugging Face cache where it usually lies."""
    repository = home / ".cache" / "huggingface" / "hub" / "models--acme--toy"
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    entries = {}
    for path, content in FILES.items():
        name = hashlib.sha256(content).hexdigest()
        blob = repository / "blobs" / name
        blob.parent.mkdir(exist_ok=True)
        blob.write_bytes(content)
        (snapshot / path).symlink_to(f"../../blobs/{name}")
        size = len(content)
        entries[path] = {"size": size, "blob_id": "0" * 40, "lfs_sha256": name, "lfs_size": size}
    for folder, name, text in (
        ("refs", "main", COMMIT),
        ("trees", f"{COMMIT}.json", json.dumps({"format_version": 1, "files": entries})),
    ):
        (repository / folder).mkdir()
        (repository / folder / name).write_text(text)
    return repository


@pytest.fixture
def ollama(home: Path, clean_environment) -> Path:
    models = home / ".ollama" / "models"
    digest = hashlib.sha256(BIG).hexdigest()
    (models / "blobs").mkdir(parents=True)
    (models / "blobs" / f"sha256-{digest}").write_bytes(BIG)
    manifest = models / "manifests" / "registry.ollama.ai" / "library" / "toy" / "1b"
    manifest.parent.mkdir(parents=True)
    layer = {"mediaType": "application/vnd.ollama.image.model", "digest": f"sha256:{digest}"}
    manifest.write_text(json.dumps({"layers": [layer]}))
    return models


def import_json(run, *arguments: str, **environment: str):
    result = run("cache", "import", *arguments, "--json", **environment)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)["models"]


def test_every_tool_of_this_machine_is_taken_over(run, hugging_face, ollama) -> None:
    found = import_json(run, "--dry-run")
    assert {model["tool"] for model in found} == {"Hugging Face cache", "Ollama"}
    assert json.loads(run("cache", "ls", "--json").stdout)["entries"] == []
    adopted = {model["tool"]: model for model in import_json(run)}
    assert adopted["Hugging Face cache"]["serve"].startswith("nimctl serve hf://acme/toy")
    served = adopted["Ollama"]["serve"].removeprefix("nimctl serve ")
    assert Path(served).read_bytes() == BIG
    ways = {file["way"] for model in adopted.values() for file in model["files"]}
    assert ways <= {"hard link", "reflink"}
    again = import_json(run)
    assert {file["way"] for model in again for file in model["files"]} == {"here already"}
    plain = run("cache", "import", "ollama")
    assert "nimctl serve" in plain.stdout and "1 file: here already" in plain.stdout


def test_what_was_imported_is_not_downloaded(run, hugging_face) -> None:
    import_json(run, "hf")
    with FakeHub() as hub:
        model = hub.add_model("acme/toy", FILES)
        model.commit = COMMIT
        result = run("download", "hf://acme/toy", "--include", "*", HF_ENDPOINT=hub.url)
        assert result.returncode == 0, result.stderr
        assert hub.sent_bytes == {}


def test_damage_is_told_and_the_rest_is_taken(run, hugging_face) -> None:
    blob = (hugging_face / "snapshots" / COMMIT / "model.safetensors").resolve()
    blob.write_bytes(bytes(len(WEIGHTS)))
    result = run("cache", "import", "hf")
    assert result.returncode == 11
    assert "is damaged" in result.stderr and "1 file: hard link" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("/nowhere",), "does not exist"),
        (("hf", "--from", "nim"), "given twice"),
        (("hf", "--require-signature", "key.pub"), "only a bundle is signed"),
    ],
)
def test_bad_places_are_refused(run, arguments: tuple[str, ...], words: str) -> None:
    result = run("cache", "import", *arguments)
    assert (result.returncode, words in result.stderr) == (2, True), result.stderr


def test_without_another_tool_there_is_nothing_to_do(run) -> None:
    result = run("cache", "import")
    assert result.returncode == 0
    assert "no cache of another tool" in result.stdout or "no models in" in result.stdout


@pytest.mark.parametrize("name", ["bundle", "bundle.tar", "-"])
def test_a_bundle_carries_a_model_to_another_cache(
    run, hugging_face, clean_environment, tmp_path: Path, name: str
) -> None:
    import_json(run, "hf")
    bundle = tmp_path / ("stream.tar" if name == "-" else name)
    if name == "-":
        with bundle.open("wb") as stream:
            subprocess.run(
                [*COMMAND, "cache", "export", "acme/toy", "-o", "-"],
                stdout=stream,
                env=clean_environment,
                check=True,
            )
    else:
        done = run("cache", "export", "toy", "-o", str(bundle), "--json")
        assert json.loads(done.stdout)["models"] == ["acme/toy"], done.stderr
    other = {"NIMCTL_CACHE_DIR": str(tmp_path / "other"), "HF_HUB_OFFLINE": "1"}
    (shown,) = import_json(run, str(bundle), "--dry-run", **other)
    assert shown["name"] == "acme/toy"
    (brought,) = import_json(run, str(bundle), **other)
    folder = Path(brought["path"])
    assert {path: (folder / path).read_bytes() for path in FILES} == FILES
    listed = json.loads(run("cache", "ls", "--json", **other).stdout)["entries"]
    assert [entry["source"] for entry in listed] == [f"hf://acme/toy:{COMMIT}"]
    download = run("download", f"oci://{bundle}:acme/toy", "--include", "*.json", **other)
    assert download.returncode == 0, download.stderr


ON_H100 = ("--hardware", "h100x8", "--engine", "vllm")


@pytest.mark.parametrize("address", ["hf://acme/toy", f"hf://acme/toy:{COMMIT}"])
def test_an_imported_model_is_chosen_and_prepared_offline(run, hugging_face, address: str) -> None:
    import_json(run, "hf")
    offline = {"HF_HUB_OFFLINE": "1"}
    chosen = run("select", address, *ON_H100, "--json", **offline)
    assert chosen.returncode == 0, chosen.stderr
    prepared = run("download", address, *ON_H100, "--json", **offline)
    assert prepared.returncode == 0, prepared.stderr
    (entry,) = json.loads(prepared.stdout)["entries"]
    assert (Path(entry["path"]) / "model.safetensors").read_bytes() == WEIGHTS


def test_a_tampered_bundle_is_refused(run, hugging_face, tmp_path: Path) -> None:
    import_json(run, "hf")
    bundle = tmp_path / "bundle.tar"
    run("cache", "export", "toy", "-o", str(bundle))
    data = bytearray(bundle.read_bytes())
    with tarfile.open(bundle) as archive:
        blob = archive.getmember(f"blobs/sha256/{hashlib.sha256(WEIGHTS).hexdigest()}")
    data[blob.offset_data + len(WEIGHTS) - 1] ^= 1
    bundle.write_bytes(data)
    result = run("cache", "import", str(bundle), NIMCTL_CACHE_DIR=str(tmp_path / "other"))
    assert result.returncode == 11
    assert "is expected" in result.stderr and "Traceback" not in result.stderr


def make_keys(tmp_path: Path, *algorithm: str) -> tuple[Path, Path]:
    private, public = tmp_path / "key.pem", tmp_path / "key.pub"
    made = ["openssl", "genpkey", *algorithm, "-out", str(private)]
    subprocess.run(made, check=True, capture_output=True)
    shown = ["openssl", "pkey", "-in", str(private), "-pubout", "-out", str(public)]
    subprocess.run(shown, check=True, capture_output=True)
    return private, public


@pytest.mark.parametrize(
    "algorithm",
    [
        ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"),
        ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"),
    ],
    ids=["P-256", "P-521"],
)
def test_only_what_the_key_signed_is_imported(
    run, hugging_face, tmp_path: Path, algorithm: tuple[str, ...]
) -> None:
    pytest.importorskip("cryptography")
    import_json(run, "hf")
    private, public = make_keys(tmp_path, *algorithm)
    bundle = tmp_path / "bundle"
    signed = run("cache", "export", "toy", "-o", str(bundle), "--sign", str(private), "--json")
    assert json.loads(signed.stdout)["signed"] is True, signed.stderr
    other = {"NIMCTL_CACHE_DIR": str(tmp_path / "other")}
    wanted = ("--require-signature", str(public))
    assert "is signed" in run("cache", "import", str(bundle), "--dry-run", **other).stderr
    assert len(import_json(run, str(bundle), *wanted, **other)) == 1
    index = bundle / "index.json"
    index.write_bytes(index.read_bytes() + b" ")
    assert "was changed since" in run("cache", "import", str(bundle), *wanted, **other).stderr
    (bundle / "model.sig").unlink()
    unsigned = run("cache", "import", str(bundle), *wanted, **other)
    assert unsigned.returncode == 12 and "is not signed" in unsigned.stderr


def test_exports_that_cannot_be_are_told(run, hugging_face, tmp_path: Path) -> None:
    import_json(run, "hf")
    cases = {
        ("nothing/here", "-o", "x.tar"): "holds nothing of nothing/here",
        ("toy", "-o", "x", "--format", "zip"): "no format 'zip'",
        ("toy", "-o", "x", "--format", "hf", "--since", "x"): "are for bundles",
        ("toy", "-o", "/proc/x.tar"): "cannot be",
        ("toy", "-o", "x", "--since", "nowhere.tar"): "does not exist",
    }
    for arguments, words in cases.items():
        result = run("cache", "export", *arguments)
        assert result.returncode in (2, 4, 8), (arguments, result.stderr)
        assert words in result.stderr, (arguments, result.stderr)
        assert "Traceback" not in result.stderr


@pytest.mark.parametrize("form", ["hf", "nim-cache", "model-store", "nim-s3"])
def test_other_formats_are_folders_with_the_same_bytes(
    run, hugging_face, tmp_path: Path, form: str
) -> None:
    import_json(run, "hf")
    result = run("cache", "export", "toy", "-o", "out", "--format", form, "--json")
    document = json.loads(result.stdout)
    assert document["format"] == form
    written = [path.read_bytes() for path in Path(document["folder"]).rglob("*") if path.is_file()]
    assert WEIGHTS in written


def test_views_lie_in_the_cache_unless_told(run, hugging_face, tmp_path: Path) -> None:
    import_json(run, "hf")
    result = run("cache", "view", "hf")
    folder = tmp_path / "cache" / "views" / "hf"
    assert f"HF_HUB_CACHE={folder}/hub" in result.stderr
    name = folder / "hub" / "models--acme--toy" / "snapshots" / COMMIT / "model.safetensors"
    assert name.read_bytes() == WEIGHTS
    assert run("cache", "verify").returncode == 0
    assert run("cache", "view", "floppy").returncode == 2


def test_the_mirror_serves_until_it_is_ended(
    run, hugging_face, clean_environment, tmp_path: Path
) -> None:
    import_json(run, "hf")
    command = [*COMMAND, "cache", "serve", "--port", "0", "--json"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean_environment
    ) as server:
        try:
            assert server.stdout is not None and server.stderr is not None
            ready = json.loads(server.stdout.readline())
            assert ready["models"] == ["acme/toy"]
            other = {"NIMCTL_CACHE_DIR": str(tmp_path / "other"), "HF_ENDPOINT": ready["url"]}
            result = run("download", "hf://acme/toy", "--include", "*", "--json", **other)
            assert result.returncode == 0, result.stderr
            assert json.loads(result.stdout)["entries"][0]["revision"] == COMMIT
            port = ready["url"].rpartition(":")[2]
            taken = run("cache", "serve", "--port", port)
            assert taken.returncode == 2 and "another --port" in taken.stderr
        finally:
            os.kill(server.pid, signal.SIGINT)
            assert server.wait(20) == 0
        assert server.stderr.read() == ""


def test_whom_a_mirror_serves_is_said_beyond_loopback(clean_environment) -> None:
    command = [*COMMAND, "cache", "serve", "--host", "0.0.0.0", "--port", "0", "--json"]  # noqa: S104
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean_environment
    ) as server:
        try:
            assert server.stdout is not None and server.stderr is not None
            server.stdout.readline()
        finally:
            os.kill(server.pid, signal.SIGTERM)
            assert server.wait(20) == 0
        assert "whoever connects gets every model" in server.stderr.read()
