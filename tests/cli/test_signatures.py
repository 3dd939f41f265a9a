"""`--require-signature`: what the named key did not sign is neither brought nor used."""

import base64
import errno
import hashlib
import json
import os
import shutil
import ssl
import subprocess
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
from bare_weights import safetensors_file
from fake_hub import FakeHub
from fake_ngc import NAME, ORG, TEAM, VERSION, FakeNgc

from nimctl.cli.signatures import load_signer

pytest.importorskip("cryptography")

MODEL = f"ngc://{ORG}/{TEAM}/{NAME}:{VERSION}"
FILES = {
    "config.json": b"{}",
    "sub/tokenizer.json": b"[]",
    "model.safetensors": safetensors_file({"a": ("BF16", (1000,))}),
}
Sign = Callable[[Mapping[str, bytes]], bytes]


def make_keys(folder: Path, name: str) -> tuple[Path, Path]:
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    made = ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out"]
    subprocess.run([*made, str(private)], check=True, capture_output=True)
    shown = ["openssl", "ec", "-in", str(private), "-pubout", "-out", str(public)]
    subprocess.run(shown, check=True, capture_output=True)
    return private, public


@pytest.fixture
def run(run_here):
    """A child for each of so many calls would take a minute."""
    return run_here


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    return make_keys(tmp_path, "theirs")


@pytest.fixture
def sign(keys) -> Sign:
    signer = load_signer(keys[0], NAME)
    return lambda files: signer({p: hashlib.sha256(c).hexdigest() for p, c in files.items()})


@pytest.fixture
def ngc(sign: Sign) -> Iterator[FakeNgc]:
    with FakeNgc(dict(FILES)) as ngc:
        ngc.model_signature = sign(FILES)
        yield ngc


@pytest.fixture
def download(run, ngc, keys):
    there = {"NGC_CLI_API_URL": ngc.api_url, "NGC_CLI_AUTH_URL": ngc.auth_url}
    there["NGC_API_KEY"] = "nvapi-" + "x" * 64

    def download(*more: str, key: Path = keys[1], model: str = MODEL, **environment: str):
        asked = ("download", model, "--include", "*", "--require-signature", str(key))
        return run(*asked, *more, **there | environment)

    return download


def brought(tmp_path: Path) -> list[str]:
    snapshots = tmp_path / "cache" / "snapshots"
    return [path.name for path in snapshots.rglob("*") if path.is_file()]


def refuse(result, words: str, tmp_path: Path) -> None:
    assert (result.returncode, words in result.stderr) == (12, True), result.stderr
    assert "Traceback" not in result.stderr
    assert brought(tmp_path) == []


def test_a_signed_version_of_ngc_is_brought_and_stays_checked_offline(download, ngc) -> None:
    result = download()
    assert result.returncode == 0, result.stderr
    folder = Path(result.stdout.strip())
    assert {path: (folder / path).read_bytes() for path in FILES} == FILES
    ngc.__exit__(None, None, None)
    again = download("--offline")
    assert (again.returncode, again.stdout) == (0, result.stdout), again.stderr


@pytest.fixture
def linked(download, monkeypatch) -> Path:
    """The folder of a signed version whose names are links, as where hard links cannot be made."""

    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    folder = Path(download().stdout.strip())
    assert all((folder / path).is_symlink() for path in FILES)
    assert download("--offline").returncode == 0
    return folder


@pytest.mark.parametrize("target", ["evil.json", "sub/tokenizer.json"])
def test_a_link_that_leads_elsewhere_is_put_right_or_not_used(
    download, linked, tmp_path, target
) -> None:
    (tmp_path / "evil.json").write_bytes(b"[]")
    name = linked / "config.json"
    name.unlink()
    name.symlink_to(tmp_path / target if target == "evil.json" else linked / target)
    offline = download("--offline")
    assert (offline.returncode, offline.stdout) == (9, "")
    assert (mended := download()).returncode == 0, mended.stderr
    assert name.read_bytes() == FILES["config.json"]
    assert download("--offline").returncode == 0


def test_a_link_to_what_the_signer_called_otherwise_is_refused(download, linked, tmp_path) -> None:
    sha256 = {path: hashlib.sha256(content).hexdigest() for path, content in FILES.items()}
    (record,) = tmp_path.glob("cache/models/**/*.json")
    swapped = record.read_text().replace(sha256["config.json"], sha256["sub/tokenizer.json"])
    record.chmod(0o600)
    record.write_text(swapped)
    name = linked / "config.json"
    name.unlink()
    name.symlink_to((linked / "sub" / "tokenizer.json").resolve())
    for asked in ((), ("--offline",)):
        result = download(*asked)
        assert (result.returncode, result.stdout) == (12, "")
        assert f"config.json is sha256:{sha256['sub/tokenizer.json']}, but" in result.stderr


def test_the_key_reaches_no_other_origin(download, ngc) -> None:
    assert download().returncode == 0
    assert all("authorization" not in seen.headers for seen in ngc.requests("storage"))


def test_another_key(download, ngc, tmp_path) -> None:
    other = make_keys(tmp_path, "other")[1]
    refuse(download(key=other), "was not signed with the key", tmp_path)
    assert sum(ngc.sent_bytes.values()) == 0


def test_no_signature(download, ngc, tmp_path) -> None:
    ngc.model_signature = None
    refuse(download(), "is not signed", tmp_path)
    assert sum(ngc.sent_bytes.values()) == 0


@pytest.mark.parametrize("is_hashed", [True, False], ids=["listed", "found out at the end"])
def test_a_changed_file(download, ngc, tmp_path, is_hashed) -> None:
    ngc.files["config.json"] = b"{ }"
    ngc.unhashed = set() if is_hashed else set(FILES)
    result = download()
    assert (result.returncode, result.stdout) == (12, ""), result.stderr
    assert "config.json is sha256:" in result.stderr


def test_a_file_too_many_and_one_too_few(download, ngc, tmp_path) -> None:
    ngc.files["extra.json"] = b"{}"
    refuse(download(), "extra.json is not among the 3 files", tmp_path)
    del ngc.files["extra.json"], ngc.files["sub/tokenizer.json"]
    refuse(download(), "sub/tokenizer.json was signed, but", tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda bundle: b"no json", "JSON"),
        (lambda bundle: b"{}", "no Sigstore bundle"),
        (lambda bundle: _with_payload(bundle, lambda payload: payload + b" "), "was not signed"),
        (lambda bundle: _with_payload(bundle, lambda payload: b"[]"), "was not signed"),
    ],
    ids=["no-json", "empty", "changed", "replaced"],
)
def test_a_broken_signature(download, ngc, tmp_path, change, words) -> None:
    ngc.model_signature = change(ngc.model_signature)
    result = download()
    assert result.returncode in (4, 12), result.stderr
    assert words in result.stderr
    assert brought(tmp_path) == []


@pytest.mark.parametrize("of_certificate", ["theirs", "other"])
@pytest.mark.parametrize("signed_with", ["theirs", "other"])
@pytest.mark.parametrize("form", ["chain", "one"])
def test_the_key_decides_whatever_certificate_comes_along(
    download, ngc, tmp_path, form, signed_with, of_certificate
) -> None:
    make_keys(tmp_path, "other")
    signer = load_signer(tmp_path / f"{signed_with}.pem", NAME)
    digests = {path: hashlib.sha256(content).hexdigest() for path, content in FILES.items()}
    document = json.loads(signer(digests))
    expired = base64.b64encode(make_expired_certificate(tmp_path / f"{of_certificate}.pem"))
    one = {"rawBytes": expired.decode()}
    told = {"certificate": one}
    if form == "chain":
        told = {"x509CertificateChain": {"certificates": [one]}}
    document["verificationMaterial"] = {**told, "tlogEntries": []}
    ngc.model_signature = json.dumps(document).encode()
    if signed_with == "theirs":
        assert download().returncode == 0
        return
    refuse(download(), "was not signed with the key", tmp_path)
    assert sum(ngc.sent_bytes.values()) == 0


def make_expired_certificate(key_file: Path) -> bytes:
    """One that the owner of a private key made out for himself, in DER."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    key = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "signer")])
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
    made = made.not_valid_after(datetime(2021, 1, 1, tzinfo=UTC))
    return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def _with_payload(bundle: bytes, change: Callable[[bytes], bytes]) -> bytes:
    document = json.loads(bundle)
    envelope = document["dsseEnvelope"]
    payload = change(base64.b64decode(envelope["payload"]))
    envelope["payload"] = base64.b64encode(payload).decode()
    return json.dumps(document).encode()


def test_what_was_brought_before_without_it_is_checked_too(download, run, ngc, keys) -> None:
    there = {"NGC_CLI_API_URL": ngc.api_url, "NGC_API_KEY": "nvapi-x"}
    assert run("download", MODEL, "--include", "*", **there).returncode == 0
    offline = download("--offline")
    assert (offline.returncode, "is not signed" in offline.stderr) == (12, True)
    assert download().returncode == 0
    assert download("--offline").returncode == 0


def test_a_signature_beside_the_files_of_a_hub(download, sign) -> None:
    with FakeHub() as hub:
        hub.add_model("acme/signed", FILES | {"model.sig": sign(FILES)})
        hub.add_model("acme/plain", FILES)
        hub.add_model("acme/other", FILES | {"model.sig": sign({"a": b""})})
        results = [
            download(model=f"hf://acme/{name}", HF_ENDPOINT=hub.url).returncode
            for name in ("signed", "plain", "other")
        ]
    assert results == [0, 12, 12]


def test_a_model_out_of_a_signed_bundle(download, run, keys, tmp_path) -> None:
    assert download().returncode == 0
    bundle = tmp_path / "bundle"
    exported = run("cache", "export", NAME, "-o", str(bundle), "--sign", str(keys[0]))
    assert exported.returncode == 0, exported.stderr
    elsewhere = {"NIMCTL_CACHE_DIR": str(tmp_path / "there")}
    model = f"oci://{bundle}"
    assert download(model=model, **elsewhere).returncode == 0
    other = make_keys(tmp_path, "other")[1]
    assert download(model=model, key=other, **elsewhere).returncode == 12
    index = json.loads((bundle / "index.json").read_text())
    (bundle / "index.json").write_text(json.dumps(index))
    changed = download(model=model, **elsewhere)
    assert (changed.returncode, "was changed since" in changed.stderr) == (12, True)


def test_a_publishers_signature_travels_in_a_bundle(download, run, keys, tmp_path) -> None:
    assert download().returncode == 0
    bundle, elsewhere = str(tmp_path / "bundle.tar"), {"NIMCTL_CACHE_DIR": str(tmp_path / "there")}
    assert run("cache", "export", NAME, "-o", bundle).returncode == 0
    other = make_keys(tmp_path, "other")[1]
    results = [
        run("cache", "import", bundle, "--require-signature", str(key), **elsewhere).returncode
        for key in (other, keys[1])
    ]
    assert results == [12, 0]
    rule = {"NIMCTL_REQUIRE_SIGNATURE": str(other)}
    assert run("cache", "import", bundle, **elsewhere, **rule).returncode == 12
    asked = ("download", MODEL, "--include", "config.json", "--offline")
    found = run(*asked, "--require-signature", str(keys[1]), **elsewhere)
    assert found.returncode == 0, found.stderr


def test_a_folder_that_is_used_where_it_lies_is_refused(run, keys, tmp_path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(Path(__file__).parent, folder, ignore=lambda *_: ["__pycache__"])
    result = run("download", str(folder), "--include", "*", "--require-signature", str(keys[1]))
    assert result.returncode == 12


def test_a_key_that_is_none(download, keys, tmp_path) -> None:
    (tmp_path / "no.pub").write_text("no key")
    certificate = ssl.DER_cert_to_PEM_cert(make_expired_certificate(keys[0]))
    (tmp_path / "certificate.pem").write_text(certificate)
    for key in (tmp_path / "no.pub", tmp_path / "nowhere.pub", tmp_path / "certificate.pem"):
        result = download(key=key)
        assert (result.returncode, str(key) in result.stderr) == (2, True)
