"""The official model_signing verifies what nimctl signs, and the other way round."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from nimctl.cli.signatures import load_signer, read_signed_files
from nimctl.errors import SignatureError

pytestmark = pytest.mark.slow  # each call of the official tool takes seconds

FILES = {"config.json": b"{}", "sub/table.parquet": bytes(1000), "é.txt": b"words"}
DIGESTS = {path: hashlib.sha256(content).hexdigest() for path, content in FILES.items()}


@pytest.fixture(autouse=True)
def official() -> None:
    pytest.importorskip("model_signing")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    model = tmp_path / "model"
    for path, content in FILES.items():
        (model / path).parent.mkdir(parents=True, exist_ok=True)
        (model / path).write_bytes(content)
    return model


def make_keys(folder: Path, curve: str) -> tuple[Path, Path]:
    private, public = folder / "key.pem", folder / "key.pub"
    assert ends_well("openssl", "ecparam", "-name", curve, "-genkey", "-noout", "-out", private)
    assert ends_well("openssl", "ec", "-in", private, "-pubout", "-out", public)
    return private, public


def verifies(model: Path, public: Path, signature: Path) -> bool:
    tool = (sys.executable, "-m", "model_signing", "verify", "key")
    return ends_well(*tool, model, "--public_key", public, "--signature", signature)


def ends_well(*command: object) -> bool:
    words = [str(one) for one in command]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("curve", ["prime256v1", "secp384r1", "secp521r1"])
class TestEachCurve:
    def test_it_verifies_ours_and_refuses_a_changed_file(self, model, tmp_path, curve):
        private, public = make_keys(tmp_path, curve)
        ours = model / "model.sig"
        ours.write_bytes(load_signer(private, "model")(DIGESTS))
        assert verifies(model, public, ours)
        (model / "config.json").write_bytes(b"{ }")
        assert not verifies(model, public, ours)

    def test_we_verify_its_own_and_refuse_a_changed_one(self, model, tmp_path, curve):
        private, public = make_keys(tmp_path, curve)
        theirs = tmp_path / "their.sig"
        sign = (sys.executable, "-m", "model_signing", "sign", "key")
        assert ends_well(*sign, model, "--private_key", private, "--signature", theirs)
        signature = theirs.read_bytes()
        signed = read_signed_files(public, signature, "their model")
        assert signed.find_stranger(DIGESTS) is None
        assert signed.find_missing(DIGESTS) is None
        changed = signature.replace(b'"sig":"M', b'"sig":"N')
        assert changed != signature
        with pytest.raises(SignatureError):
            read_signed_files(public, changed, "their model")


def test_a_bundle_is_a_signed_model_to_it(run, model, tmp_path):
    private, public = make_keys(tmp_path, "prime256v1")
    bundle = tmp_path / "bundle"
    assert run("download", str(model), "--include", "*").returncode == 0
    exported = run("cache", "export", str(model), "-o", str(bundle), "--sign", str(private))
    assert exported.returncode == 0, exported.stderr
    assert verifies(bundle, public, bundle / "model.sig")
    (bundle / "index.json").write_bytes((bundle / "index.json").read_bytes() + b" ")
    assert not verifies(bundle, public, bundle / "model.sig")
