"""Signatures of models after OpenSSF Model Signing: which files somebody signed, by sha256.

A signature is a Sigstore bundle (v0.3) around a DSSE envelope around an in-toto statement that
lists files with their digests; nothing here knows keys. Source of the format: the package
model_signing 1.1, `_signing/signing.py` and `_signing/sign_sigstore_pb.py`; DSSE 1.0.2.
"""

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

SIGNATURE_FILE = "model.sig"
"""What a signature is called where it lies beside the files it is of."""

BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"
EARLY_PREDICATE_TYPE = "https://model_signing/Digests/v0.1"
"""Of signatures made before model_signing 1.0."""

_NEVER_SIGNED = (".git", ".gitattributes", ".github", ".gitignore")


class ModelSignatureError(ValueError):
    """The text is no such signature, or says nothing that can be checked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Envelope:
    """What was signed, and the signatures of it.

    Attributes:
        signed: The bytes a signature may be over: the encoding of DSSE, and the one that
            model_signing used before 1.0, which contained a mistake.
    """

    payload: bytes
    signatures: tuple[bytes, ...]

    @property
    def signed(self) -> tuple[bytes, bytes]:
        """See above."""
        early = f"DSSEV1 {len(PAYLOAD_TYPE)} {PAYLOAD_TYPE} {len(self.payload)} {self.payload!r}"
        return encode_for_signing(self.payload), early.encode()


@dataclass(frozen=True, kw_only=True, slots=True)
class SignedFiles:
    """What a statement says of the files of a model.

    Attributes:
        sha256: Hex digests by relative path.
        ignored: Files and folders that were left out when it was signed.
    """

    sha256: Mapping[str, str]
    ignored: tuple[str, ...]

    def find_stranger(self, files: Mapping[str, str]) -> str | None:
        """The first of `files` (sha256 by path) that was not signed as it is, in words."""
        for path, digest in sorted(files.items()):
            expected = self.sha256.get(path)
            if expected is None and not self._is_ignored(path):
                return f"{path} is not among the {len(self.sha256)} files that were signed"
            if expected is not None and expected != digest:
                return f"{path} is sha256:{digest}, but sha256:{expected} was signed"
        return None

    def find_missing(self, paths: Iterable[str]) -> str | None:
        """The first signed file that is not among `paths`."""
        there = set(paths)
        return next((path for path in sorted(self.sha256) if path not in there), None)

    def _is_ignored(self, path: str) -> bool:
        ignored = (*self.ignored, SIGNATURE_FILE)
        return any(path == name or path.startswith(f"{name}/") for name in ignored)


def make_statement(name: str, files: Mapping[str, str]) -> bytes:
    """The statement that a model of that name has these files, by path and hex sha256."""
    listed = sorted(files.items())
    whole = sha256(b"".join(bytes.fromhex(digest) for _, digest in listed)).hexdigest()
    predicate = {
        "serialization": {
            "method": "files",
            "hash_type": "sha256",
            "allow_symlinks": False,
            "ignore_paths": [SIGNATURE_FILE, *_NEVER_SIGNED],
        },
        "resources": [
            {"name": path, "algorithm": "sha256", "digest": digest} for path, digest in listed
        ],
    }
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": whole}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": predicate,
    }
    return json.dumps(statement, indent=1).encode()


def encode_for_signing(payload: bytes) -> bytes:
    """The bytes that are signed for a payload (DSSE's pre-authentication encoding)."""
    return f"DSSEv1 {len(PAYLOAD_TYPE)} {PAYLOAD_TYPE} {len(payload)} ".encode() + payload


def make_signature(payload: bytes, signature: bytes, public_key_pem: bytes) -> bytes:
    """The signature as a file, made with the key that belongs to `public_key_pem`."""
    hint = sha256(public_key_pem).hexdigest()
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
    }
    bundle = {
        "mediaType": BUNDLE_TYPE,
        "verificationMaterial": {"publicKey": {"hint": hint}, "tlogEntries": []},
        "dsseEnvelope": envelope,
    }
    return json.dumps(bundle).encode()


def parse_signature(data: bytes) -> Envelope:
    """Read a signature; who made it must be checked before anything of it is believed.

    Raises:
        ModelSignatureError: it is not of the known form.
    """
    try:
        envelope = json.loads(data)["dsseEnvelope"]
        if envelope["payloadType"] != PAYLOAD_TYPE:
            raise ModelSignatureError("it is not about an in-toto statement")
        return Envelope(
            payload=base64.b64decode(envelope["payload"], validate=True),
            signatures=tuple(
                base64.b64decode(one["sig"], validate=True) for one in envelope["signatures"]
            ),
        )
    except ModelSignatureError:
        raise
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ModelSignatureError("it is no Sigstore bundle with a DSSE envelope") from error


def parse_statement(payload: bytes) -> SignedFiles:
    """The files that a statement lists.

    Raises:
        ModelSignatureError: it is another kind of statement, contradicts itself, or lists
            anything but whole files by sha256.
    """
    try:
        statement = json.loads(payload)
        kind = statement["predicateType"]
        if statement["_type"] != STATEMENT_TYPE or kind not in (
            PREDICATE_TYPE,
            EARLY_PREDICATE_TYPE,
        ):
            raise ModelSignatureError(f"it is not about the files of a model ({kind})")
        if kind == EARLY_PREDICATE_TYPE:
            named = [(one["name"], one["digest"]["sha256"]) for one in statement["subject"]]
            return SignedFiles(sha256=_collect(named), ignored=_NEVER_SIGNED)
        return _parse_predicate(statement)
    except ModelSignatureError:
        raise
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ModelSignatureError("its statement is not understood") from error


def _parse_predicate(statement: Any) -> SignedFiles:
    predicate, (subject,) = statement["predicate"], statement["subject"]
    how = predicate["serialization"]
    if (how["method"], how["hash_type"]) != ("files", "sha256"):
        raise ModelSignatureError(
            f"it lists {how['method']} by {how['hash_type']}; only files by sha256 can be checked"
        )
    resources = predicate["resources"]
    if any(one["algorithm"] != "sha256" for one in resources):
        raise ModelSignatureError("it lists files by other digests than sha256")
    named = _collect([(one["name"], one["digest"]) for one in resources])
    whole = sha256(b"".join(bytes.fromhex(one["digest"]) for one in resources)).hexdigest()
    if whole != subject["digest"]["sha256"]:
        raise ModelSignatureError("its digest of all files is not that of the files it lists")
    return SignedFiles(sha256=named, ignored=tuple(map(str, how.get("ignore_paths", ()))))


def _collect(named: list[tuple[Any, Any]]) -> dict[str, str]:
    files = {str(path): str(digest).lower() for path, digest in named}
    if len(files) != len(named) or not files:
        raise ModelSignatureError("it lists no files, or one file twice")
    return files
