"""The ModelScope source against a local server with the answers its own client expects."""

import hashlib
import random
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from faulty_server import FaultyServers, FileHandler

from nimctl.core.source import Source, parse_source_uri
from nimctl.errors import FetchError, InputError
from nimctl.sources import SourceAccess, open_source

URI = parse_source_uri("modelscope://Qwen/Toy")
FILES = {"config.json": b"{}", "sub/a b.safetensors": random.Random(9).randbytes(100_000)}
SHA256 = {path: hashlib.sha256(content).hexdigest() for path, content in FILES.items()}


class _Place(FaultyServers):
    """What it says of its files; None is the truth."""

    data: object = None


class _Api(FileHandler):
    origin = "api"
    place: _Place

    def answer(self) -> None:
        address = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(address.query).items()}
        if query["Revision"] != "master":
            self.send(404)
        elif address.path == "/api/v1/models/Qwen/Toy/repo/files":
            files: list[dict[str, object]] = [
                {"Path": path, "Size": len(FILES[path]), "Sha256": SHA256[path], "Type": "blob"}
                for path in FILES
            ]
            files.append({"Path": "sub", "Size": 0, "Type": "tree"})
            data = self.place.data or {"Files": files}
            self.send_json({"Code": 200, "Data": data, "Success": True})
        else:
            path = query["FilePath"]
            self.send_file(path, path, FILES[path], SHA256[path])


@pytest.fixture
def server() -> Iterator[_Place]:
    with _Place() as server:
        yield server


@pytest.fixture
def source(server: _Place) -> Iterator[Source]:
    access = SourceAccess(
        scratch_folder=Path("unused"),
        python=Path(sys.executable),
        modelscope_endpoint=server.listen(_Api),
    )
    with closing(open_source(URI, access)) as source:
        yield source


def test_files_are_listed_and_come_by_range(source: Source) -> None:
    listing = source.list_files(URI)
    assert {file.path: str(file.digest) for file in listing.files} == {
        path: f"sha256:{digest}" for path, digest in SHA256.items()
    }
    for file in listing.files:
        with source.open(listing, file, 1, file.size_bytes) as stream:
            assert b"".join(stream.chunks) == FILES[file.path][1:]
    assert listing == source.list_files(URI)


def test_what_is_not_there_is_named(source: Source) -> None:
    with pytest.raises(FetchError, match="has no modelscope://Qwen/Toy:v9"):
        source.list_files(parse_source_uri("modelscope://Qwen/Toy:v9"))
    with pytest.raises(InputError):
        source.list_files(parse_source_uri("modelscope://Toy"))


@pytest.mark.parametrize("data", ["a", ["a"], {"Files": "a"}, {"Files": ["a"]}, {"Files": [{}]}])
def test_a_listing_of_another_shape_is_an_error(
    server: _Place, source: Source, data: object
) -> None:
    server.data = data
    with pytest.raises(FetchError, match="not understood"):
        source.list_files(URI)


def test_a_listing_that_may_have_been_cut_off_is_refused(server: _Place, source: Source) -> None:
    entry = {"Path": "a", "Size": 1, "Type": "blob"}
    server.data = {"Files": [entry | {"Path": f"{number}"} for number in range(3000)]}
    with pytest.raises(FetchError, match="more files than ModelScope lists at once"):
        source.list_files(URI)
