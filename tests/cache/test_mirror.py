"""The mirror speaks like a hub: the official client and nimctl both get everything from it."""

import hashlib
import http.client
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import pytest
from fake_hub import FakeHub, git_sha1

from nimctl.cache import Cache, CacheEntry, FetchRequest
from nimctl.cache.mirror import MirrorServer, parse_range
from nimctl.core.source import parse_source_uri
from nimctl.errors import FetchError
from nimctl.sources import SourceAccess, open_source

FILES = {
    "config.json": b'{"model_type": "toy"}',
    "model.safetensors": random.Random(5).randbytes(3_000_000),
    "sub/empty.txt": b"",
}
TOY = parse_source_uri("hf://acme/toy")
CLIENT = """
import sys
from huggingface_hub import snapshot_download
print(snapshot_download("acme/toy", cache_dir=sys.argv[1]))
"""


def fetch(endpoint: str, cache: Cache, address: str = "hf://acme/toy") -> CacheEntry:
    uri = parse_source_uri(address)
    access = SourceAccess(
        scratch_folder=cache.scratch_folder, python=Path(sys.executable), hf_endpoint=endpoint
    )
    with closing(open_source(uri, access)) as source:
        return cache.fetch(FetchRequest(uri=uri), source)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Cache, CacheEntry]:
    """A cache that was filled from a hub, as caches are."""
    cache = Cache(tmp_path_factory.mktemp("filled") / "cache")
    with FakeHub() as hub:
        hub.add_model("acme/toy", FILES)
        return cache, fetch(hub.url, cache)


@pytest.fixture(scope="module")
def mirror(filled: tuple[Cache, CacheEntry]) -> Iterator[MirrorServer]:
    with MirrorServer(filled[0], "127.0.0.1", 0) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(
    mirror: MirrorServer, path: str, method: str = "GET", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(urlsplit(mirror.url).netloc, timeout=10)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, headers=named)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, {k.lower(): v for k, v in answer.getheaders()}, body


def test_the_official_client_gets_everything(mirror: MirrorServer, tmp_path: Path) -> None:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    done = subprocess.run(
        [sys.executable, "-c", CLIENT, str(tmp_path / "hub")],
        env=kept | {"HF_ENDPOINT": mirror.url, "HF_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.strip())
    assert {p: (folder / p).read_bytes() for p in FILES} == FILES
    blob = (folder / "model.safetensors").resolve()
    assert blob.name == hashlib.sha256(FILES["model.safetensors"]).hexdigest()
    assert (folder / "config.json").resolve().name == git_sha1(FILES["config.json"])


def test_nimctl_gets_the_same_commit_by_ranges(
    mirror: MirrorServer, filled: tuple[Cache, CacheEntry], tmp_path: Path
) -> None:
    other = Cache(tmp_path / "cache")
    entry = fetch(mirror.url, other)
    assert entry.revision == filled[1].revision
    assert {f.path: (entry.path / f.path).read_bytes() for f in entry.files} == FILES
    again = fetch(mirror.url, other, f"hf://acme/toy:{entry.revision}")
    assert again.path == entry.path


def test_what_is_not_there_is_told_as_a_hub_tells_it(mirror: MirrorServer, tmp_path: Path) -> None:
    cases = {
        "/api/models/acme/other": "RepoNotFound",
        "/api/models/acme/toy/revision/v9": "RevisionNotFound",
        "/acme/toy/resolve/main/other.bin": "EntryNotFound",
        "/acme/toy/resolve/v9/config.json": "RevisionNotFound",
        "/acme/other/resolve/main/config.json": "RepoNotFound",
        f"/blobs/sha256/{'0' * 64}": "EntryNotFound",
        "/api/models": "EntryNotFound",
        "/acme/toy/resolve": "EntryNotFound",
    }
    for path, code in cases.items():
        for method in ("GET", "HEAD"):
            status, headers, _ = ask(mirror, path, method)
            assert (status, headers["x-error-code"]) == (404, code), path
    with pytest.raises(FetchError, match="has no revision"):
        fetch(mirror.url, Cache(tmp_path / "cache"), "hf://acme/toy:v9")


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd",
        "/acme/toy/resolve/main/../../../../VERSION",
        "/acme/toy/resolve/main/%2e%2e/%2e%2e/VERSION",
        "/acme/toy/resolve/main//etc/passwd",
        "/acme/toy/resolve/..%2f..%2f/VERSION",
        "/blobs/sha256/..%2f..%2f..%2fVERSION",
        "/blobs/sha256/../../VERSION",
        "/acme/toy/resolve/main/x%0d%0aSet-Cookie:a=b",
        "/api/models/x%0d%0aSet-Cookie:a=b",
    ],
)
def test_nothing_outside_of_entries_is_served(mirror: MirrorServer, path: str) -> None:
    status, headers, body = ask(mirror, path)
    assert status == 404 and "set-cookie" not in headers
    assert b"root:" not in body


def test_a_partial_transfer_is_not_served(
    mirror: MirrorServer, filled: tuple[Cache, CacheEntry]
) -> None:
    content = b"no entry holds this"
    name = hashlib.sha256(content).hexdigest()
    blob = filled[0].root / "blobs" / "sha256" / name[:2] / name
    blob.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(content)
    assert ask(mirror, f"/blobs/sha256/{name}")[0] == 404


def test_bytes_come_whole_by_range_and_by_content(
    mirror: MirrorServer, filled: tuple[Cache, CacheEntry]
) -> None:
    weights = FILES["model.safetensors"]
    sha256 = hashlib.sha256(weights).hexdigest()
    path = "/acme/toy/resolve/main/model.safetensors"
    status, headers, body = ask(mirror, path)
    assert (status, body) == (200, weights)
    assert headers["etag"] == headers["x-linked-etag"] == f'"{sha256}"'
    assert headers["x-linked-size"] == str(len(weights))
    assert headers["x-repo-commit"] == filled[1].revision
    assert ask(mirror, path, "HEAD")[1]["content-length"] == str(len(weights))
    assert ask(mirror, path, "HEAD")[2] == b""
    assert ask(mirror, f"/blobs/sha256/{sha256}")[2] == weights
    status, headers, body = ask(mirror, path, Range="bytes=5-9")
    assert (status, body) == (206, weights[5:10])
    assert headers["content-range"] == f"bytes 5-9/{len(weights)}"
    assert ask(mirror, path, Range="bytes=-7")[2] == weights[-7:]
    assert ask(mirror, path, Range=f"bytes={len(weights)}-")[0] == 416
    assert ask(mirror, path, Range="bytes=5-9", If_Range='"other"')[2] == weights
    assert ask(mirror, path, Range="bytes=5-9", If_Range=f'"{sha256}"')[2] == weights[5:10]
    assert ask(mirror, "/acme/toy/resolve/main/sub/empty.txt")[::2] == (200, b"")
    assert ask(mirror, path, "POST")[0] == 501


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("bytes=0-0", (0, 1)),
        ("bytes=3-", (3, 10)),
        ("bytes=3-99", (3, 10)),
        ("bytes=-4", (6, 10)),
        ("bytes=-99", (0, 10)),
        ("bytes=-", None),
        ("bytes=1-2,4-5", None),
        ("items=1-2", None),
    ],
)
def test_ranges(header: str | None, expected: tuple[int, int] | None) -> None:
    assert parse_range(header, 10) == expected


def test_listings_are_true(mirror: MirrorServer, filled: tuple[Cache, CacheEntry]) -> None:
    commit = filled[1].revision
    tree = json.loads(ask(mirror, f"/api/models/acme/toy/tree/{commit}?recursive=true")[2])
    by_path = {entry["path"]: entry for entry in tree}
    assert set(by_path) == set(FILES)
    assert by_path["config.json"]["oid"] == git_sha1(FILES["config.json"])
    sha256 = hashlib.sha256(FILES["model.safetensors"]).hexdigest()
    assert by_path["model.safetensors"]["lfs"]["oid"] == sha256
    assert json.loads(ask(mirror, "/")[2]) == {"models": ["acme/toy"]}


def test_what_is_removed_is_no_longer_served(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    with FakeHub() as hub:
        hub.add_model("acme/toy", FILES)
        entry = fetch(hub.url, cache)
    with MirrorServer(cache, "127.0.0.1", 0) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        path = "/acme/toy/resolve/main/config.json"
        assert ask(server, path)[0] == 200
        file = replace(entry.files[0])
        (cache.root / "blobs" / "sha256" / file.sha256[:2] / file.sha256).unlink()
        assert ask(server, path)[0] == 404
        server.shutdown()
        thread.join()
