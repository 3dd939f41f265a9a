"""Writes entries as an OCI image layout, to be carried where there is no network.

```
oci-layout                 the version of the layout
index.json                 every model by name, and the digest of its manifest
model.sig                  with a key: a signature of all files after OpenSSF Model Signing
SHA256SUMS                 for `sha256sum --check`
blobs/sha256/<hex>         manifests, descriptions of entries, and the files of the models
```

The index names manifests by digest, and they name everything else: who signs it signs it all,
what an earlier bundle holds included.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

from nimctl.cache.entry import CacheEntry
from nimctl.cache.layout import Layout
from nimctl.cache.moving import read_moving, selection_of
from nimctl.cache.papers import read_signature
from nimctl.cache.stamps import hash_file, is_stamped, stamp_blob
from nimctl.core.model_signature import SIGNATURE_FILE
from nimctl.errors import DigestMismatchError

INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
MODEL_TYPE = "application/vnd.nimctl.model.v1"
ENTRY_TYPE = "application/vnd.nimctl.entry.v1+json"
FILE_TYPE = "application/octet-stream"
TITLE = "org.opencontainers.image.title"
REF_NAME = "org.opencontainers.image.ref.name"


class BundleOutput(Protocol):
    """Where a bundle goes."""

    def put_bytes(self, name: str, data: bytes) -> None:
        """Write a document."""
        ...

    def put_file(self, name: str, path: Path, size_bytes: int) -> None:
        """Write what the file at `path` holds."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class BundleReport:
    """What was written.

    Attributes:
        names: The models, by the names they have in the bundle.
        file_bytes: Files of the models, each once.
        left_out_bytes: Files of them that an earlier bundle holds.
    """

    names: tuple[str, ...]
    file_bytes: int
    left_out_bytes: int


@dataclass(kw_only=True, slots=True)
class _Documents:
    """Documents by the name they have in the bundle."""

    by_name: dict[str, bytes] = field(default_factory=dict)

    def add(self, document: Any) -> dict[str, Any]:
        """Keep a document as a blob, and describe it."""
        data = _render(document)
        digest = sha256(data).hexdigest()
        self.by_name[f"blobs/sha256/{digest}"] = data
        return {"digest": f"sha256:{digest}", "size": len(data)}


def write_bundle(
    root: Path,
    entries: Iterable[CacheEntry],
    output: BundleOutput,
    *,
    manifests: Sequence[list[dict[str, Any]]] | None = None,
    left_out: frozenset[str] = frozenset(),
    sign: Callable[[Mapping[str, str]], bytes] | None = None,
    on_file: Callable[[str], None] = lambda path: None,
) -> BundleReport:
    """Write entries of the cache at `root` into a bundle.

    Args:
        manifests: For each entry what describes its models, as documents.
        left_out: sha256 of blobs that are not written, as the other side has them.
        sign: Makes a signature of files, given by name and hex sha256.
        on_file: Told of each file before it is written.

    Raises:
        DigestMismatchError: a file of the cache is damaged.
        OSError: it cannot be read or written.
    """
    layout, entries = Layout(root=root), tuple(entries)
    documents, names = _Documents(), name_entries(entries)
    carried = manifests or [[] for _ in entries]
    described = [
        _describe(
            documents,
            name,
            entry,
            read_moving(root, entry),
            {
                "manifests": documents_of_entry,
                "signature": read_signature(root, entry),
            },
        )
        for name, entry, documents_of_entry in zip(names, entries, carried, strict=True)
    ]
    index = _render({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": described})
    files = {file.sha256: file for entry in entries for file in entry.files}
    written = [file for digest, file in files.items() if digest not in left_out]
    small = {
        "oci-layout": _render({"imageLayoutVersion": "1.0.0"}),
        "index.json": index,
        "SHA256SUMS": _list_sums(index, documents, files),
        **documents.by_name,
    }
    if sign is not None:
        digests = {name: sha256(data).hexdigest() for name, data in small.items()}
        digests |= {f"blobs/sha256/{file.sha256}": file.sha256 for file in written}
        output.put_bytes(SIGNATURE_FILE, sign(digests))
    for name, data in small.items():
        output.put_bytes(name, data)
    for file in written:
        on_file(file.path)
        _check(layout, file.sha256, file.size_bytes, file.path)
        blob = layout.blob(file.sha256)
        output.put_file(f"blobs/sha256/{file.sha256}", blob, file.size_bytes)
    file_bytes = sum(file.size_bytes for file in written)
    all_bytes = sum(file.size_bytes for file in files.values())
    return BundleReport(names=names, file_bytes=file_bytes, left_out_bytes=all_bytes - file_bytes)


def name_entries(entries: Iterable[CacheEntry]) -> tuple[str, ...]:
    """A short name for each: `org/name`, with the revision and a number where one is not enough."""
    entries = tuple(entries)
    plain = [_plain_name(entry) for entry in entries]
    longer = [f"{name}@{entry.revision}" for name, entry in zip(plain, entries, strict=True)]
    counts, longer_counts, numbers = Counter(plain), Counter(longer), Counter[str]()
    names = []
    for short, long in zip(plain, longer, strict=True):
        numbers[long] += 1
        numbered = f"{long}-{numbers[long]}" if longer_counts[long] > 1 else long
        names.append(short if counts[short] == 1 else numbered)
    return tuple(names)


def _plain_name(entry: CacheEntry) -> str:
    location = entry.uri.location.strip("/")
    return location if entry.uri.scheme in ("hf", "ngc", "pypi") else location.rpartition("/")[2]


def _describe(
    documents: _Documents,
    name: str,
    entry: CacheEntry,
    moving: tuple[str | None, ...],
    papers: Mapping[str, Any],
) -> dict[str, Any]:
    """Keep the documents of one entry, and name them for the index."""
    config = documents.add(
        {
            "schema": "nimctl-bundle-entry/1",
            "uri": str(entry.uri),
            "revision": entry.revision,
            "is_whole": not selection_of(entry),
            "moving": moving,
            **papers,
        }
    )
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": MODEL_TYPE,
        "config": {"mediaType": ENTRY_TYPE} | config,
        "layers": [
            {
                "mediaType": FILE_TYPE,
                "digest": f"sha256:{file.sha256}",
                "size": file.size_bytes,
                "annotations": {TITLE: file.path},
            }
            for file in entry.files
        ],
    }
    described = {"mediaType": MANIFEST_TYPE, "artifactType": MODEL_TYPE}
    return described | documents.add(document) | {"annotations": {REF_NAME: name}}


def _check(layout: Layout, sha256_hex: str, size_bytes: int, path: str) -> None:
    """Hash a blob that does not look as it did when it was last hashed."""
    if is_stamped(layout, sha256_hex, size_bytes):
        return
    if hash_file(layout.blob(sha256_hex)) != sha256_hex:
        raise DigestMismatchError(
            f"{path} is damaged in the cache ({layout.blob(sha256_hex)}); nothing more is written",
            hint="`nimctl cache verify --repair` brings it again",
        )
    stamp_blob(layout, sha256_hex)


def _list_sums(index: bytes, documents: _Documents, files: Iterable[str]) -> bytes:
    sums = {"index.json": sha256(index).hexdigest()}
    sums |= {name: name.rpartition("/")[2] for name in documents.by_name}
    sums |= {f"blobs/sha256/{digest}": digest for digest in files}
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items())).encode()


def _render(document: Any) -> bytes:
    return json.dumps(document, indent=1, ensure_ascii=False).encode() + b"\n"
