"""Headers and small files are read; weights stay where they are, whatever a file claims."""

import json
import struct
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from bare_weights import SMALL, gguf_file, gguf_head, llama_tensors, safetensors_file
from fake_hub import FakeHub, Fault

from nimctl.core.gguf_header import GgufError, parse_gguf_header
from nimctl.core.safetensors_header import SafetensorsError, parse_safetensors_header
from nimctl.core.source import Listing, RemoteFile, Source, TemporaryFetchError, parse_source_uri
from nimctl.errors import FetchError
from nimctl.sources import SourceAccess, open_source
from nimctl.sources.peek import read_gguf_head, read_safetensors_head, read_text

TOY = parse_source_uri("hf://acme/toy")
WEIGHTS = safetensors_file(llama_tensors(SMALL))
GGUF = gguf_file(layers=40)
FILES = {"config.json": b"{}" * 200, "model.safetensors": WEIGHTS, "toy.gguf": GGUF}


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub() as hub:
        hub.add_model("acme/toy", FILES)
        yield hub


@pytest.fixture
def source(hub: FakeHub) -> Iterator[Source]:
    access = SourceAccess(
        scratch_folder=Path("unused"), python=Path(sys.executable), hf_endpoint=hub.url
    )
    with closing(open_source(TOY, access)) as source:
        yield source


def find(source: Source, path: str) -> tuple[Listing, RemoteFile]:
    listing = source.list_files(TOY)
    return listing, next(file for file in listing.files if file.path == path)


def test_a_safetensors_header_is_the_one_of_the_file(source: Source) -> None:
    head = read_safetensors_head(source, *find(source, "model.safetensors"))
    assert head == parse_safetensors_header(WEIGHTS, file_bytes=len(WEIGHTS))


def test_a_gguf_header_is_the_one_of_the_file(source: Source) -> None:
    assert read_gguf_head(source, *find(source, "toy.gguf")) == parse_gguf_header(GGUF)


def test_a_header_that_arrives_in_many_chunks(source: Source, hub: FakeHub) -> None:
    """Longer than one chunk of the server, so that it has to be tried more than once."""
    head, _ = gguf_head(layers=4000)
    hub.add_model("acme/toy", {"toy.gguf": head + bytes(50_000)})
    header = read_gguf_head(source, *find(source, "toy.gguf"))
    assert len(head) > 3 * 64 * 1024
    assert len(header.tensors) == 4000


def test_no_more_leaves_than_the_header(source: Source, hub: FakeHub) -> None:
    tensors = {
        f"layer.{number}.weight": {
            "dtype": "BF16",
            "shape": [512],
            "data_offsets": [number * 1024, number * 1024 + 1024],
        }
        for number in range(1200)
    }
    header = json.dumps(tensors).encode()
    body = struct.pack("<Q", len(header)) + header + bytes(1200 * 1024)
    hub.add_model("acme/toy", {"model.safetensors": body})
    head = read_safetensors_head(source, *find(source, "model.safetensors"))
    assert len(head.tensors) == 1200
    assert hub.served("acme/toy", "model.safetensors") == len(header) + 8 > 64 * 1024


def test_a_place_without_ranges_serves_too(source: Source, hub: FakeHub) -> None:
    hub.add_fault("toy.gguf", Fault(kind="ignore-range", times=9))
    head, _ = gguf_head(layers=4000)
    hub.add_model("acme/toy", {"toy.gguf": head + bytes(50_000)})
    assert len(read_gguf_head(source, *find(source, "toy.gguf")).tensors) == 4000


def test_a_small_file_is_read_whole_and_no_large_one(source: Source, hub: FakeHub) -> None:
    listing, file = find(source, "config.json")
    assert read_text(source, listing, file) == FILES["config.json"]
    before = hub.served("acme/toy", "config.json")
    with pytest.raises(FetchError, match="not read"):
        read_text(source, listing, file, most_bytes=100)
    assert hub.served("acme/toy", "config.json") == before


def test_a_small_file_cut_short_is_not_taken(source: Source, hub: FakeHub) -> None:
    hub.add_fault("config.json", Fault(kind="drop", at_byte=10))
    with pytest.raises(TemporaryFetchError):
        read_text(source, *find(source, "config.json"))


def test_a_header_larger_than_allowed_is_refused_at_once(source: Source, hub: FakeHub) -> None:
    hub.add_model(
        "acme/toy",
        {
            "model.safetensors": struct.pack("<Q", 90_000_000) + bytes(1000),
            "toy.gguf": gguf_head(layers=4000)[0],
        },
    )
    listing, file = find(source, "model.safetensors")
    unsized = RemoteFile(path=file.path)
    with pytest.raises(FetchError, match="is over 1000000 bytes"):
        read_safetensors_head(source, listing, unsized, most_bytes=1_000_000)
    with pytest.raises(FetchError, match="is over 100000 bytes"):
        read_gguf_head(source, *find(source, "toy.gguf"), most_bytes=100_000)


def test_a_file_that_ends_within_its_header_is_damaged(source: Source, hub: FakeHub) -> None:
    hub.add_model("acme/toy", {"model.safetensors": WEIGHTS[:3000], "toy.gguf": GGUF[:1500]})
    with pytest.raises(SafetensorsError):
        read_safetensors_head(source, *find(source, "model.safetensors"))
    with pytest.raises(GgufError):
        read_gguf_head(source, *find(source, "toy.gguf"))


def test_a_file_of_another_kind_is_damaged(source: Source, hub: FakeHub) -> None:
    hub.add_model("acme/toy", {"toy.gguf": b"<html>" * 1000})
    with pytest.raises(GgufError, match="GGUF"):
        read_gguf_head(source, *find(source, "toy.gguf"))
