"""A request is answered out of other entries only where they surely hold all of it."""

import hashlib
from contextlib import AbstractContextManager
from dataclasses import replace
from glob import escape
from pathlib import Path

import pytest

from nimctl.cache import Cache, FetchRequest, SafetyPolicy
from nimctl.cache.adopting import adopt_model
from nimctl.cache.deriving import derive_entry
from nimctl.cache.foreign import ForeignFile, ForeignModel
from nimctl.cache.layout import Layout
from nimctl.core.source import (
    ByteStream,
    Digest,
    Listing,
    PinnedFile,
    RemoteFile,
    SourceUri,
    parse_source_uri,
)

FILES = {"config.json": b"{}", "model[1].safetensors": b"weights", "b.safetensors": b"more"}
COMMIT = "c" * 40
TOY = parse_source_uri(f"hf://acme/toy:{COMMIT}")


def fill(tmp_path: Path, *, is_whole: bool) -> Layout:
    cache = Cache(tmp_path / "cache")
    folder = tmp_path / "files"
    folder.mkdir()
    for path, content in FILES.items():
        (folder / path).write_bytes(content)
    model = ForeignModel(
        tool="test",
        uri=TOY,
        revision=COMMIT,
        files=tuple(
            ForeignFile(path=path, location=folder / path, size_bytes=len(content), digest=None)
            for path, content in FILES.items()
        ),
        moving=(None,),
        is_whole=is_whole,
    )
    adopt_model(cache.root, model, lambda file: None)
    return Layout(root=cache.root)


def pin(path: str, content: bytes | None = None) -> PinnedFile:
    content = FILES[path] if content is None else content
    digest = Digest(algorithm="sha256", hex=hashlib.sha256(content).hexdigest())
    return PinnedFile(path=path, size_bytes=len(content), digest=digest)


def git_pin(path: str, content: bytes) -> PinnedFile:
    header = b"blob %d\0" % len(content)
    name = hashlib.sha1(header + content, usedforsecurity=False).hexdigest()
    digest = Digest(algorithm="git-sha1", hex=name)
    return PinnedFile(path=path, size_bytes=len(content), digest=digest)


LITERAL = (escape("config.json"), escape("model[1].safetensors"))
ALL = SafetyPolicy(allow_pickle=True)


@pytest.mark.parametrize(
    ("request_", "of_whole", "of_part"),
    [
        (FetchRequest(uri=TOY, include=("*.safetensors",)), 2, 0),
        (FetchRequest(uri=TOY, include=LITERAL), 2, 2),
        (FetchRequest(uri=TOY, include=LITERAL, pinned=(pin("b.safetensors"),)), 2, 2),
        (FetchRequest(uri=TOY, include=(*LITERAL, "other.json")), 2, 0),
        (FetchRequest(uri=TOY, pinned=(pin("b.safetensors"),)), 1, 1),
        (FetchRequest(uri=TOY, pinned=(pin("b.safetensors", b"morf"),)), 0, 0),
        (FetchRequest(uri=TOY, pinned=(git_pin("config.json", b"{}"),)), 1, 1),
        (FetchRequest(uri=TOY, pinned=(git_pin("config.json", b"{ "),)), 0, 0),
        (FetchRequest(uri=replace(TOY, file="b.safetensors")), 1, 1),
        (FetchRequest(uri=replace(TOY, file="c.safetensors")), 0, 0),
        (FetchRequest(uri=TOY, exclude=("b*",)), 2, 0),
        (FetchRequest(uri=TOY, include=("*.safetensors",), policy=ALL), 0, 0),
        (FetchRequest(uri=replace(TOY, revision="d" * 40), include=LITERAL), 0, 0),
        (FetchRequest(uri=replace(TOY, revision=None), include=LITERAL), 2, 2),
        (FetchRequest(uri=replace(TOY, location="acme/other"), include=LITERAL), 0, 0),
    ],
)
@pytest.mark.parametrize("is_whole", [True, False])
def test_only_what_is_surely_all_of_it(
    tmp_path: Path, request_: FetchRequest, of_whole: int, of_part: int, is_whole: bool
) -> None:
    layout = fill(tmp_path, is_whole=is_whole)
    derived = derive_entry(layout, request_)
    count = len(derived.entry.files) if derived else 0
    assert count == (of_whole if is_whole else of_part)
    if derived:
        assert derived.entry.path == layout.snapshot(TOY, COMMIT, request_.selection)
        assert derived.donor is not None


def test_such_an_entry_is_found_and_declared_without_a_source(tmp_path: Path) -> None:
    layout = fill(tmp_path, is_whole=True)
    cache, request = Cache(layout.root), FetchRequest(uri=TOY, include=("*.safetensors",))
    found = cache.find(request)
    assert found is not None and all((found.path / file.path).exists() for file in found.files)
    entry = cache.fetch(request, NowhereSource(), offline=True)
    assert sorted(p.name for p in entry.path.iterdir()) == ["b.safetensors", "model[1].safetensors"]
    assert cache.fetch(request, NowhereSource()) == entry


class NowhereSource:
    """A source that fails the test when it is asked anything."""

    connections = 1
    listing_note = None

    def list_files(self, uri: SourceUri) -> Listing:
        raise AssertionError(uri)

    def open(
        self, listing: Listing, file: RemoteFile, start_bytes: int, end_bytes: int | None = None
    ) -> AbstractContextManager[ByteStream]:
        raise AssertionError(file)

    def close(self) -> None:
        pass
