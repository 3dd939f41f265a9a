"""Signs and checks the index of a bundle with a key of the user's.

A signature is detached and plain: Ed25519 (RFC 8032), or ECDSA with SHA-256, over the bytes of
`index.json`, so that `openssl pkeyutl -verify` or `openssl dgst -verify` can check it too. It is
no OpenSSF Model Signing bundle: that lists files, and this one names manifests that do.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from nimctl.errors import InputError, SignatureError

_MOST_KEY_BYTES = 64 * 1024


def load_signer(key_file: Path) -> Callable[[bytes], bytes]:
    """What signs with the private key in a PEM file.

    Raises:
        InputError: it is no such key, needs a password, or nimctl cannot sign here.
    """
    serialization, ec, ed25519, hashes = _import_cryptography()
    try:
        key = serialization.load_pem_private_key(_read(key_file), password=None)
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{key_file} is not a private key in PEM without a password",
            hint=f"`openssl genpkey -algorithm ed25519 -out {key_file}` makes one",
        ) from error
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return lambda data: bytes(key.sign(data))
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return lambda data: bytes(key.sign(data, ec.ECDSA(hashes.SHA256())))
    raise InputError(f"{key_file} is neither an Ed25519 key nor one of an elliptic curve")


def check_signature(key_file: Path, signature: bytes | None, data: bytes, what: str) -> None:
    """Make sure that the owner of a public key, in a PEM file, signed `data`.

    Raises:
        InputError: the key cannot be used.
        SignatureError: `what` is not signed, or by somebody else.
    """
    serialization, ec, ed25519, hashes = _import_cryptography()
    from cryptography.exceptions import (  # type: ignore[import-not-found, unused-ignore]
        InvalidSignature,
    )

    try:
        key = serialization.load_pem_public_key(_read(key_file))
    except ValueError as error:
        raise InputError(f"{key_file} is not a public key in PEM") from error
    if signature is None:
        raise SignatureError(f"{what} is not signed")
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, data)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, data, ec.ECDSA(hashes.SHA256()))
        else:
            raise InputError(f"{key_file} is neither an Ed25519 key nor one of an elliptic curve")
    except InvalidSignature as error:
        raise SignatureError(
            f"{what} was not signed with the key that belongs to {key_file}, or was changed since"
        ) from error


def _import_cryptography() -> tuple[Any, Any, Any, Any]:
    """The modules that are needed, or the way to them."""
    try:
        from cryptography.hazmat.primitives import (  # type: ignore[import-not-found, unused-ignore]
            hashes,
            serialization,
        )
        from cryptography.hazmat.primitives.asymmetric import (  # type: ignore[import-not-found, unused-ignore]
            ec,
            ed25519,
        )
    except ImportError as error:
        raise InputError(
            "signatures need the package cryptography, which is not installed",
            hint="pip install cryptography",
        ) from error
    return serialization, ec, ed25519, hashes


def _read(key_file: Path) -> bytes:
    try:
        with key_file.open("rb") as stream:
            return stream.read(_MOST_KEY_BYTES)
    except OSError as error:
        raise InputError(f"{key_file} cannot be read: {error.strerror}") from error
