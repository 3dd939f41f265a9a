"""Signs files of models with a key of the user's, and checks who signed them.

The form is that of OpenSSF Model Signing, which the package model_signing and NVIDIA's catalogue
use; see `nimctl.core.model_signature`.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nimctl.core.model_signature import (
    ModelSignatureError,
    SignedFiles,
    encode_for_signing,
    make_signature,
    make_statement,
    parse_signature,
    parse_statement,
)
from nimctl.errors import InputError, SignatureError

_MOST_KEY_BYTES = 64 * 1024
_HASHES = {"secp256r1": "SHA256", "secp384r1": "SHA384", "secp521r1": "SHA512"}
"""What is hashed with on each curve. Source: model_signing 1.1, `sign_ec_key.py`."""


def load_signer(key_file: Path, name: str) -> Callable[[Mapping[str, str]], bytes]:
    """What signs files, given by path and hex sha256, with the private key in a PEM file.

    Args:
        name: What the files are called together.

    Raises:
        InputError: it is no such key, needs a password, or nimctl cannot sign here.
    """
    crypto = _import_cryptography()
    try:
        key = crypto.serialization.load_pem_private_key(_read(key_file), password=None)
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{key_file} is not a private key in PEM without a password",
            hint=f"`openssl ecparam -name prime256v1 -genkey -noout -out {key_file}` makes one",
        ) from error
    public_key = key.public_key()
    algorithm = _find_algorithm(crypto, public_key, key_file)
    pem = public_key.public_bytes(
        crypto.serialization.Encoding.PEM, crypto.serialization.PublicFormat.SubjectPublicKeyInfo
    )

    def sign(files: Mapping[str, str]) -> bytes:
        payload = make_statement(name, files)
        return make_signature(payload, key.sign(encode_for_signing(payload), algorithm), pem)

    return sign


def read_signed_files(key_file: Path, signature: bytes | None, what: str) -> SignedFiles:
    """The files that the owner of a public key, in a PEM file, signed.

    Raises:
        InputError: the key cannot be used.
        SignatureError: `what` is not signed, by somebody else, or in a way nimctl cannot check.
    """
    crypto = _import_cryptography()
    try:
        key = crypto.serialization.load_pem_public_key(_read(key_file))
    except ValueError as error:
        raise InputError(f"{key_file} is not a public key in PEM") from error
    algorithm = _find_algorithm(crypto, key, key_file)
    if signature is None:
        raise SignatureError(f"{what} is not signed")
    try:
        envelope = parse_signature(signature)
        if not any(
            _is_signed(crypto, key, algorithm, one, signed)
            for one in envelope.signatures
            for signed in envelope.signed
        ):
            raise SignatureError(
                f"{what} was not signed with the key that belongs to {key_file}, "
                "or its signature was changed since"
            )
        return parse_statement(envelope.payload)
    except ModelSignatureError as error:
        raise SignatureError(f"the signature of {what} cannot be used: {error}") from error


def _is_signed(crypto: Any, key: Any, algorithm: Any, signature: bytes, data: bytes) -> bool:
    try:
        key.verify(signature, data, algorithm)
    except crypto.InvalidSignature:
        return False
    return True


def _find_algorithm(crypto: Any, public_key: Any, key_file: Path) -> Any:
    """How such a key signs; Ed25519 and RSA are no keys of model_signing."""
    curve = getattr(getattr(public_key, "curve", None), "name", "")
    if curve not in _HASHES:
        raise InputError(
            f"{key_file} is not a key of the curve P-256, P-384 or P-521",
            hint="`openssl ecparam -name prime256v1 -genkey -noout -out key.pem` makes one",
        )
    return crypto.ec.ECDSA(getattr(crypto.hashes, _HASHES[curve])())


class _Cryptography:
    """What is used of the package cryptography."""

    def __init__(self) -> None:
        from cryptography.exceptions import (  # type: ignore[import-not-found, unused-ignore]
            InvalidSignature,
        )
        from cryptography.hazmat.primitives import (  # type: ignore[import-not-found, unused-ignore]
            hashes,
            serialization,
        )
        from cryptography.hazmat.primitives.asymmetric import (  # type: ignore[import-not-found, unused-ignore]
            ec,
        )

        self.InvalidSignature = InvalidSignature
        self.hashes, self.serialization, self.ec = hashes, serialization, ec


def _import_cryptography() -> Any:
    try:
        return _Cryptography()
    except ImportError as error:
        raise InputError(
            "signatures need the package cryptography, which is not installed",
            hint="pip install cryptography",
        ) from error


def _read(key_file: Path) -> bytes:
    try:
        with key_file.open("rb") as stream:
            return stream.read(_MOST_KEY_BYTES)
    except OSError as error:
        raise InputError(f"{key_file} cannot be read: {error.strerror}") from error
