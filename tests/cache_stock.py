"""A cache with something in it, filled from a fake hub."""

import hashlib
import os
import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from fake_hub import FakeHub

from nimctl.cache import Cache, CacheEntry, FetchRequest, OnProgress, RetryPolicy, ignore_progress
from nimctl.cache.upkeep import Upkeep, Verification
from nimctl.core.source import Source, parse_source_uri
from nimctl.sources import SourceAccess, open_source

WEIGHTS = random.Random(1).randbytes(200_000)
SHARED = random.Random(2).randbytes(50_000)
QUICK = RetryPolicy(attempts=4, first_wait_s=0.01, longest_asked_wait_s=2.0)
HOURS_S = 3600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Stock:
    """A hub and a cache; models are fetched at their fixed commit."""

    hub: FakeHub
    cache: Cache

    @property
    def upkeep(self) -> Upkeep:
        return Upkeep(self.cache)

    def request(self, name: str) -> FetchRequest:
        uri = parse_source_uri(f"hf://{name}")
        return FetchRequest(uri=replace(uri, revision=self.hub.models[name].commit))

    @contextmanager
    def source(self) -> Iterator[Source]:
        access = SourceAccess(
            scratch_folder=self.cache.scratch_folder,
            python=Path(sys.executable),
            hf_endpoint=self.hub.url,
            stall_timeout_s=5.0,
        )
        with closing(open_source(parse_source_uri("hf://any/thing"), access)) as source:
            yield source

    def fetch(
        self, name: str, on_progress: OnProgress = ignore_progress, *, offline: bool = False
    ) -> CacheEntry:
        with self.source() as source:
            return self.cache.fetch(self.request(name), source, on_progress, offline=offline)

    def add(self, name: str, files: Mapping[str, bytes]) -> CacheEntry:
        self.hub.add_model(name, dict(files))
        return self.fetch(name)

    def key(self, name: str) -> str:
        return f"hf/{name}/{self.hub.models[name].commit}"

    def blob(self, content: bytes) -> Path:
        sha256 = sha256_of(content)
        return self.cache.root / "blobs" / "sha256" / sha256[:2] / sha256

    def stamp(self, content: bytes) -> Path:
        sha256 = sha256_of(content)
        return self.cache.root / "stamps" / sha256[:2] / f"{sha256}.json"

    def verify(self, *, deep: bool = False) -> Verification:
        return self.upkeep.verify(deep=deep)


def sha256_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def read_files(entry: CacheEntry) -> dict[str, bytes]:
    return {file.path: (entry.path / file.path).read_bytes() for file in entry.files}


def edit(path: Path, content: bytes) -> None:
    """Write into the very file, as a program does that was given its name."""
    path.chmod(0o644)
    with path.open("r+b") as stream:
        stream.write(content)
        stream.truncate()


def make_older(path: Path, age_s: float) -> None:
    facts = path.lstat()
    os.utime(path, (facts.st_atime - age_s, facts.st_mtime - age_s), follow_symlinks=False)


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait for something that another process or thread does."""
    end_s = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end_s, f"never happened: {what}"
        time.sleep(0.01)
