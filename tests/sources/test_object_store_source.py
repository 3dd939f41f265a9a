"""Objects of a store, through the real obstore where it is installed."""

import sys
from pathlib import Path

import pytest

from nimctl.core.source import SourceChangedError, parse_source_uri
from nimctl.errors import FetchError, InputError
from nimctl.sources import SourceAccess
from nimctl.sources.object_store import READ_BYTES, ObjectStoreSource

CONTENT = bytes(range(256)) * (READ_BYTES // 128)
MODEL = parse_source_uri("s3://bucket/models/toy")


@pytest.fixture
def access(tmp_path):
    return SourceAccess(scratch_folder=tmp_path / "scratch", python=Path(sys.executable))


@pytest.fixture(params=["MemoryStore", "LocalStore"])
def store(request, tmp_path):
    obstore = pytest.importorskip("obstore")
    stores = pytest.importorskip("obstore.store")
    made = stores.MemoryStore() if request.param == "MemoryStore" else stores.LocalStore(tmp_path)
    obstore.put(made, "models/toy/model.safetensors", CONTENT)
    obstore.put(made, "models/toy/sub/config.json", b"{}")
    obstore.put(made, "models/toyota", b"another")
    return made


@pytest.fixture
def source(store, access):
    return ObjectStoreSource(access, open_bucket=lambda address: store)


def test_objects_below_the_prefix_are_listed_with_sizes_and_versions(source):
    listing = source.list_files(MODEL)
    assert {file.path: file.size_bytes for file in listing.files} == {
        "model.safetensors": len(CONTENT),
        "sub/config.json": 2,
    }
    assert all(file.version for file in listing.files)
    assert listing.revision == source.list_files(MODEL).revision


def find(listing, path):
    return next(file for file in listing.files if file.path == path)


@pytest.mark.parametrize(
    ("start", "end"), [(0, None), (0, 5), (READ_BYTES - 3, READ_BYTES + 3), (7, 7), (9, None)]
)
def test_any_stretch_is_read(source, start, end):
    listing = source.list_files(MODEL)
    with source.open(listing, find(listing, "model.safetensors"), start, end) as stream:
        pieces = list(stream.chunks)
    assert b"".join(pieces) == CONTENT[start:end]
    assert all(len(piece) <= READ_BYTES for piece in pieces)


@pytest.mark.parametrize("address", ["s3://bucket/models/toyota", "s3://bucket/models/toyota/"])
def test_one_object_is_a_listing_of_one(source, address):
    listing = source.list_files(parse_source_uri(address))
    (file,) = listing.files
    assert file.path == "toyota"
    with source.open(listing, file, 0) as stream:
        assert b"".join(stream.chunks) == b"another"


def test_an_object_named_like_its_folder_is_found_in_it(source, store):
    import obstore

    obstore.put(store, "twice/twice", b"inner")
    listing = source.list_files(parse_source_uri("s3://bucket/twice"))
    with source.open(listing, listing.files[0], 0) as stream:
        assert b"".join(stream.chunks) == b"inner"


def test_another_object_under_the_same_name_is_not_read(source, store):
    import obstore

    listing = source.list_files(MODEL)
    obstore.put(store, "models/toy/model.safetensors", CONTENT[::-1])
    with (
        pytest.raises(SourceChangedError, match="changed since it was listed"),
        source.open(listing, find(listing, "model.safetensors"), 0) as stream,
    ):
        list(stream.chunks)


def test_what_is_not_there_is_said(source):
    with pytest.raises(FetchError, match="s3://bucket/nothing holds no such object"):
        source.list_files(parse_source_uri("s3://bucket/nothing"))


def test_keys_in_an_address_are_refused_and_not_repeated(source):
    with pytest.raises(InputError, match=r"takes no keys; set AWS_\*") as caught:
        source.list_files(parse_source_uri("s3://sesame@bucket/x"))
    assert "sesame" not in str(caught.value)


def test_a_revision_is_refused(source):
    with pytest.raises(InputError, match="names a revision"):
        source.list_files(parse_source_uri("s3://bucket/x:main"))
