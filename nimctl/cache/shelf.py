"""What a mirror may serve of a cache: repositories by name and revision, blobs by content."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from time import monotonic

from nimctl.cache.entry import CachedFile, CacheEntry
from nimctl.cache.hub_names import find_published_digest
from nimctl.cache.layout import Layout
from nimctl.cache.moving import read_moving
from nimctl.cache.store import Cache
from nimctl.core.source import Digest

REREAD_S = 2.0
"""How long a list of entries is used before the cache is read again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Commit:
    """What the cache holds of one repository at one commit."""

    name: str
    sha: str
    files: Mapping[str, CachedFile]


class AbsentError(Exception):
    """Something that is asked for is not here.

    Attributes:
        code: What a Hugging Face hub calls that.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Shelf:
    """What the mirror may serve, read again from the cache now and then."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._layout = Layout(root=cache.root)
        self._lock = Lock()
        self._read_at_s = -REREAD_S
        self._commits: dict[tuple[str, str], Commit] = {}
        self._blobs: dict[str, CachedFile] = {}
        self._digests: dict[str, Digest] = {}

    def list_models(self) -> tuple[str, ...]:
        """Names of the repositories."""
        self._read()
        return tuple(sorted({commit.name for commit in self._commits.values()}))

    def find_commit(self, name: str, revision: str) -> Commit:
        """A repository at a revision.

        Raises:
            AbsentError: the cache has none such.
        """
        self._read()
        commit = self._commits.get((name, revision))
        if commit is not None:
            return commit
        if any(name == known for known, _ in self._commits):
            raise AbsentError(
                "RevisionNotFound", f"the mirror has no revision {revision} of {name}"
            )
        raise AbsentError("RepoNotFound", f"the mirror has no model {name}")

    def find_blob(self, sha256_hex: str) -> CachedFile:
        """A file of any entry, by its content.

        Raises:
            AbsentError: the cache has none such.
        """
        self._read()
        if sha256_hex not in self._blobs:
            raise AbsentError("EntryNotFound", f"the mirror has no blob {sha256_hex}")
        return self._blobs[sha256_hex]

    def path_of(self, file: CachedFile) -> Path:
        """Where its bytes lie."""
        return self._layout.blob(file.sha256)

    def digest_of(self, file: CachedFile) -> Digest:
        """What a hub calls it; each content is looked at once."""
        known = self._digests.get(file.sha256)
        if known is None:
            known = self._digests[file.sha256] = find_published_digest(self._layout, file)
        return known

    def _read(self) -> None:
        with self._lock:
            if monotonic() - self._read_at_s < REREAD_S:
                return
            entries = self._cache.entries()
            self._blobs = {file.sha256: file for entry in entries for file in entry.files}
            self._commits = {}
            for entry in entries:
                if entry.uri.scheme == "hf":
                    self._add(entry)
            self._read_at_s = monotonic()

    def _add(self, entry: CacheEntry) -> None:
        name = entry.uri.location
        before = self._commits.get((name, entry.revision))
        files = dict(before.files if before else {}) | {file.path: file for file in entry.files}
        commit = Commit(name=name, sha=entry.revision, files=files)
        self._commits[name, entry.revision] = commit
        for revision in read_moving(self._cache.root, entry):
            self._commits[name, revision or "main"] = commit
        self._commits.setdefault((name, "main"), commit)
