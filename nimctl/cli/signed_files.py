"""Makes sure that what is fetched was signed with the key the user named, before it is used."""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from nimctl.cache import CacheEntry
from nimctl.cache.papers import find_signature, write_signature
from nimctl.cli.signatures import read_signed_files
from nimctl.core.model_signature import SIGNATURE_FILE, SignedFiles
from nimctl.core.source import Listing, RemoteFile, SignedSource, Source
from nimctl.errors import SignatureError
from nimctl.sources.oci import Bundle
from nimctl.sources.oci_files import INDEX
from nimctl.sources.peek import read_text

_MOST_SIGNATURE_BYTES = 16 * 1024**2


@dataclass(kw_only=True, slots=True)
class SignatureCheck:
    """Looks at the signature of one fetch: before the bytes as far as digests are listed, and
    again at the sha256 of what arrived.

    Attributes:
        key_file: The public key, in PEM, whose owner must have signed.
        root: The cache, which keeps the signature with the entry.
    """

    key_file: Path
    root: Path
    _signature: bytes | None = None

    def look_at(self, source: Source, listing: Listing) -> None:
        """Refuse a listing that is not the signed one; nothing of it was brought yet.

        Raises:
            SignatureError: it is not signed, with another key, or other files are.
            FetchError: the signature cannot be had.
        """
        if listing.uri.scheme == "oci":
            check_bundle(Bundle(Path(listing.uri.location)), self.key_file)
            return
        self._signature = _read_signature(source, listing)
        signed = read_signed_files(self.key_file, self._signature, str(listing.uri))
        missing = signed.find_missing(file.path for file in listing.files)
        if missing is not None:
            raise SignatureError(f"{missing} was signed, but {listing.uri} does not hold it")
        _refuse_strangers(signed, _list_known(listing.files), str(listing.uri))

    def check(self, source: Source, entry: CacheEntry, *, offline: bool) -> None:
        """Refuse an entry whose files are not the signed ones; what is right is noted with it.

        Raises:
            SignatureError: as above, or offline no signature is kept.
            FetchError: the signature cannot be had.
        """
        if entry.uri.scheme == "oci":
            check_bundle(Bundle(Path(entry.uri.location)), self.key_file)
            return
        kept = find_signature(self.root, entry)
        signature = self._signature or (kept.encode() if kept else None)
        if signature is None and not offline:
            signature = _read_signature(source, _as_listing(entry))
        signed = read_signed_files(self.key_file, signature, str(entry.uri))
        files = {file.path: file.sha256 for file in entry.files}
        _refuse_strangers(signed, files, str(entry.uri))
        if signature is not None:
            write_signature(self.root, entry, signature.decode())


def check_bundle(bundle: Bundle, key_file: Path) -> None:
    """Make sure that the owner of a key signed the index of a bundle, which names everything else
    by digest.

    Raises:
        SignatureError: it is not signed, or not with that key, or was changed.
    """
    signed = read_signed_files(key_file, bundle.read_signature(), str(bundle.path))
    if signed.sha256.get(INDEX) != sha256(bundle.index).hexdigest():
        raise SignatureError(f"{bundle.path} was changed since it was signed")


def check_bundle_or_models(bundle: Bundle, key_file: Path) -> None:
    """The same; or each model of it carries its publisher's signature, made with that key.

    Raises:
        SignatureError: neither is so.
    """
    try:
        check_bundle(bundle, key_file)
    except SignatureError:
        if not bundle.models or any(model.signature is None for model in bundle.models):
            raise
        for model in bundle.models:
            signature = (model.signature or "").encode()
            signed = read_signed_files(key_file, signature, str(model.uri))
            _refuse_strangers(signed, _list_known(model.files), str(model.uri))


def _read_signature(source: Source, listing: Listing) -> bytes | None:
    """What the place says of it, or a file of its own name beside the others."""
    kept = source.read_signature(listing) if isinstance(source, SignedSource) else None
    if kept is not None:
        return kept
    for file in listing.files:
        if file.path == SIGNATURE_FILE:
            return read_text(source, listing, file, most_bytes=_MOST_SIGNATURE_BYTES)
    return None


def _as_listing(entry: CacheEntry) -> Listing:
    files = tuple(RemoteFile(path=file.path, size_bytes=file.size_bytes) for file in entry.files)
    return Listing(uri=entry.uri, revision=entry.revision, files=files)


def _list_known(files: Iterable[RemoteFile]) -> dict[str, str]:
    return {
        file.path: file.digest.hex
        for file in files
        if file.digest is not None and file.digest.algorithm == "sha256"
    }


def _refuse_strangers(signed: SignedFiles, files: dict[str, str], what: str) -> None:
    stranger = signed.find_stranger(files)
    if stranger is not None:
        raise SignatureError(f"{what} is not what was signed: {stranger}")
