"""Which bytes a listed file has, and whether they are in the cache already."""

import hashlib
import json
import re

from nimctl.cache.entry import CachedFile, CacheEntry
from nimctl.cache.layout import Layout, is_whole
from nimctl.cache.request import FetchRequest, choose_files
from nimctl.cache.stamps import look_at
from nimctl.core.source import Listing, RemoteFile


def is_all_of(layout: Layout, request: FetchRequest, listing: Listing, entry: CacheEntry) -> bool:
    """Whether `entry` holds just what `request` asks of a listing, byte for byte.

    Raises:
        FetchError: the listing cannot be trusted, or lacks what is asked for.
    """
    listed = {find_blob(layout, listing, file) for file in choose_files(request, listing)}
    return listing.revision == entry.revision and listed == set(entry.files)


def content_key(listing: Listing, file: RemoteFile) -> str | None:
    """Names these very bytes before they are here; None where nothing identifies them."""
    if file.size_bytes is None:
        return None
    if file.digest is not None:
        return f"{file.digest.algorithm}-{file.digest.hex}"
    if file.version is None:
        return None
    facts = [listing.uri.scheme, listing.uri.location, listing.revision]
    facts += [file.path, str(file.size_bytes), file.version]
    return f"file-{hashlib.sha256(json.dumps(facts).encode()).hexdigest()}"


def find_blob(layout: Layout, listing: Listing, file: RemoteFile) -> CachedFile | None:
    """The file, where its bytes are in the cache already."""
    if file.digest is not None and file.digest.algorithm == "sha256":
        sha256 = file.digest.hex
    else:
        sha256 = _read_known(layout, content_key(listing, file))
    facts = look_at(layout.blob(sha256)) if sha256 else None
    if facts is None or file.size_bytes not in (None, facts.st_size):
        return None
    return CachedFile(path=file.path, size_bytes=facts.st_size, sha256=sha256)


def _read_known(layout: Layout, key: str | None) -> str:
    note = layout.partial / f"{key}.known"
    if key is None or not is_whole(note, 65):
        return ""
    text = note.read_text().strip()
    return text if re.fullmatch(r"[0-9a-f]{64}", text) else ""
