"""Shows that the official model_signing verifies what nimctl signs, and the other way round.

Not part of the suite. Run it with a Python that has nimctl and cryptography, and name one that has
`model-signing` and `pyOpenSSL`: `python tests/cli/check_model_signing.py .venv-ms/bin/python`.
"""

import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

from nimctl.cli.signatures import load_signer, read_signed_files
from nimctl.errors import SignatureError

CURVES = ("prime256v1", "secp384r1", "secp521r1")
FILES = {"config.json": b"{}", "sub/table.parquet": bytes(1000), "é.txt": b"words"}


def run(*command: object) -> bool:
    """Whether the command ends well."""
    words = [str(one) for one in command]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def check_curve(python: str, curve: str, top: Path) -> None:
    """Sign and verify with keys of one curve, in both directions."""
    private, public, model = top / "key.pem", top / "key.pub", top / "model"
    assert run("openssl", "ecparam", "-name", curve, "-genkey", "-noout", "-out", private)
    assert run("openssl", "ec", "-in", private, "-pubout", "-out", public)
    for path, content in FILES.items():
        (model / path).parent.mkdir(parents=True, exist_ok=True)
        (model / path).write_bytes(content)
    digests = {path: hashlib.sha256(content).hexdigest() for path, content in FILES.items()}
    ours = model / "model.sig"
    ours.write_bytes(load_signer(private, "model")(digests))
    tool = (python, "-m", "model_signing")
    verify = (*tool, "verify", "key", model, "--public_key", public, "--signature", ours)
    assert run(*verify), f"{curve}: model_signing refuses what nimctl signed"
    (model / "config.json").write_bytes(b"{ }")
    assert not run(*verify), f"{curve}: model_signing accepts a changed file"
    (model / "config.json").write_bytes(FILES["config.json"])
    theirs = top / "their.sig"
    ours.unlink()
    assert run(*tool, "sign", "key", model, "--private_key", private, "--signature", theirs)
    signed = read_signed_files(public, theirs.read_bytes(), "their model")
    assert signed.find_stranger(digests) is None and signed.find_missing(digests) is None
    try:
        read_signed_files(public, theirs.read_bytes().replace(b'"sig":"M', b'"sig":"N'), "x")
    except SignatureError:
        print(f"{curve}: each verifies what the other signs, and refuses what was changed")
    else:
        raise SystemExit(f"{curve}: nimctl accepts a changed signature")


def check_bundle(python: str, top: Path) -> None:
    """A folder that `nimctl cache export --sign` writes is a signed model to model_signing."""
    private, public = top / "key.pem", top / "key.pub"
    model, bundle, cache = top / "model", top / "bundle", top / "cache"
    nimctl = (sys.executable, "-m", "nimctl")
    caches = ("--cache-dir", cache)
    assert run(*nimctl, "download", model, "--include", "*", *caches)
    assert run(*nimctl, "cache", "export", model, "-o", bundle, "--sign", private, *caches)
    verify = (python, "-m", "model_signing", "verify", "key", bundle, "--public_key", public)
    assert run(*verify, "--signature", bundle / "model.sig"), "the bundle is refused"
    print("a bundle's model.sig is verified by model_signing")


def main() -> None:
    """With keys of every curve."""
    if len(sys.argv) != 2 or not run(sys.argv[1], "-c", "import model_signing"):
        raise SystemExit("skipped: name a Python that has model-signing and pyOpenSSL")
    for curve in CURVES:
        with tempfile.TemporaryDirectory() as folder:
            check_curve(sys.argv[1], curve, Path(folder))
            if curve == CURVES[0]:
                check_bundle(sys.argv[1], Path(folder))


if __name__ == "__main__":
    main()
