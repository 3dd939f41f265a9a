"""Keeps one file on its way into the cache: looks, locks, hashes what arrives, publishes."""

import secrets
from dataclasses import dataclass
from threading import Event, Semaphore

from nimctl.cache.abandoned import open_part
from nimctl.cache.dispatch import Dispatch
from nimctl.cache.entry import CachedFile
from nimctl.cache.hashing import HASHERS, Hashed, hash_arriving
from nimctl.cache.known import content_key, find_blob
from nimctl.cache.layout import Layout
from nimctl.cache.locks import WorkLock
from nimctl.cache.part import Part
from nimctl.cache.patience import Patience, RetryPolicy
from nimctl.cache.progress import (
    FileDone,
    FileStarted,
    FileVerified,
    Note,
    OnProgress,
)
from nimctl.core.source import Digest, Listing, RemoteFile, TemporaryFetchError
from nimctl.errors import DigestMismatchError, FetchError, UnreachableError


@dataclass(frozen=True, kw_only=True, slots=True)
class Transfer:
    """One file to bring; `run` may be called from any thread.

    Its bytes come through the connections that serve `dispatch`.

    Attributes:
        turns: As in `hash_arriving`.
    """

    layout: Layout
    dispatch: Dispatch
    turns: Semaphore
    listing: Listing
    file: RemoteFile
    policy: RetryPolicy
    stop: Event

    def run(self, on_progress: OnProgress) -> CachedFile:
        """The file, whole and verified in the cache.

        Raises:
            FetchError: it could not be had; what arrived is kept for the next time.
            DigestMismatchError: twice the bytes were not the published ones.
            Stopped: the fetch was given up by another thread.
        """
        expected = self.file.digest
        if expected is not None and expected.algorithm not in HASHERS:
            raise FetchError(f"{self.file.path} has a digest nimctl cannot check: {expected}")
        key = content_key(self.listing, self.file)
        present = find_blob(self.layout, self.listing, self.file)
        if present is None:
            name = key or f"once-{secrets.token_hex(16)}"
            lock_path = self.layout.partial / f"{name}.lock"
            with WorkLock(lock_path, self.file.path, on_progress, self.stop) as lock:
                present = find_blob(self.layout, self.listing, self.file)
                if present is None:
                    return self._bring(name, key is not None, lock.is_certain, on_progress)
        on_progress(FileDone(path=present.path, size_bytes=present.size_bytes, was_cached=True))
        return present

    def _bring(
        self, name: str, is_fixed: bool, lock_is_certain: bool, on_progress: OnProgress
    ) -> CachedFile:
        rejected: list[Digest] = []
        while len(rejected) < 2:
            with open_part(
                self.layout, name, self.file.size_bytes, lock_is_certain=lock_is_certain
            ) as part:
                try:
                    hashed = self._receive(part, is_fixed, on_progress, is_told=bool(rejected))
                    if hashed.digest == self.file.digest:
                        return self._publish(part, hashed, on_progress)
                    if hashed.digest is not None:
                        rejected.append(hashed.digest)
                    part.reject(self.layout.quarantine / name)
                    on_progress(Note(text=f"{self.file.path} arrived damaged ({hashed.digest})"))
                finally:
                    if not is_fixed:
                        part.discard()
        raise self._mismatch(*rejected)

    def _receive(
        self, part: Part, is_fixed: bool, on_progress: OnProgress, *, is_told: bool
    ) -> Hashed:
        """Bring what the part lacks, and hash all of it meanwhile.

        Args:
            is_told: That the transfer begins was told; told anew its counter would go back.
        """
        patience = Patience(self.policy, self.file.path, on_progress, self.stop)
        intake = self.dispatch.add(self.file, part, patience, is_fixed=is_fixed)
        try:
            if not is_told:
                on_progress(
                    FileStarted(
                        path=self.file.path,
                        size_bytes=self.file.size_bytes,
                        done_bytes=intake.received_bytes,
                    )
                )
            hashed = hash_arriving(self.dispatch, intake, self.turns)
            if self.file.digest is None and not intake.is_end_sure:
                on_progress(Note(text=self._doubt(hashed)))
            return hashed
        except TemporaryFetchError as error:
            raise UnreachableError(
                f"{self.file.path} of {self.listing.uri} could not be fetched: {error.message}",
                hint="run the same command again later; it continues where this stopped",
            ) from error
        finally:
            self.dispatch.remove(intake)

    def _doubt(self, hashed: Hashed) -> str:
        """curl and pip take such a file for whole, too, and say nothing."""
        return (
            f"nothing tells whether {self.file.path} is whole: {self.listing.uri} gives neither "
            f"its length nor a digest; {hashed.size_bytes} bytes came"
        )

    def _publish(self, part: Part, hashed: Hashed, on_progress: OnProgress) -> CachedFile:
        expected = self.file.digest
        on_progress(
            FileVerified(path=self.file.path, digest=None if expected is None else str(expected))
        )
        done = CachedFile(path=self.file.path, size_bytes=hashed.size_bytes, sha256=hashed.sha256)
        blob = self.layout.blob(done.sha256)
        self.layout.make_folder(blob.parent)
        part.publish(blob, done.size_bytes)
        key = content_key(self.listing, self.file)
        if key is not None and (expected is None or expected.algorithm != "sha256"):
            self.layout.write_text(self.layout.partial / f"{key}.known", done.sha256 + "\n")
        on_progress(FileDone(path=done.path, size_bytes=done.size_bytes, was_cached=False))
        return done

    def _mismatch(self, first: Digest, second: Digest) -> DigestMismatchError:
        what = f"{self.file.path} of {self.listing.uri} is not the published file"
        if first == second:
            return DigestMismatchError(
                f"{what}: it is {first} each time, but {self.file.digest} is expected"
            )
        return DigestMismatchError(
            f"{what}: {self.file.digest} is expected, but different bytes arrive each time",
            hint="check this machine's memory, its disk, and any proxy on the way",
        )
