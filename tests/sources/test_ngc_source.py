"""The NGC source against a local server that NVIDIA's own client accepts too."""

import base64
import hashlib
import random
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from blake3 import blake3
from fake_ngc import FakeNgc

from nimctl.core.source import Source, SourceUri, TemporaryFetchError, parse_source_uri
from nimctl.errors import AccessDeniedError, FetchError, InputError, NimctlError
from nimctl.sources import SourceAccess, open_source

URI = parse_source_uri("ngc://nim/meta/llama3-8b-instruct:hf")
WEIGHTS = "model-00001.safetensors"
UNHASHED = "tokenizer.json"
FILES = {"config.json": b"{}", UNHASHED: b"[]", WEIGHTS: random.Random(6).randbytes(40_000)}
FILES["checksums.blake3"] = (
    f"{blake3(b'{}').hexdigest()}  ./config.json\n{blake3(b'[]').hexdigest()}  {UNHASHED}\n"
    f"{blake3(b'no').hexdigest()[:9]}  {WEIGHTS}\n"
).encode()


@pytest.fixture
def ngc() -> Iterator[FakeNgc]:
    with FakeNgc(dict(FILES)) as ngc:
        yield ngc


def make_source(ngc: FakeNgc, key: str | None) -> Source:
    access = SourceAccess(
        scratch_folder=Path("unused"),
        python=Path(sys.executable),
        ngc_endpoint=ngc.api_url,
        ngc_auth_endpoint=ngc.auth_url,
        ngc_key=key,
    )
    return open_source(URI, access)


def read_all(source: Source, uri: SourceUri = URI) -> dict[str, bytes]:
    listing = source.list_files(uri)
    assert listing.revision == "hf"
    came = {}
    for file in listing.files:
        with source.open(listing, file, 0, file.size_bytes) as stream:
            came[file.path] = b"".join(stream.chunks)
    return came


def addresses_asked(ngc: FakeNgc) -> list[str]:
    return [
        seen.path for seen in ngc.requests("api") if "/llama3-8b-instruct/hf/files" in seen.path
    ]


@pytest.mark.parametrize(
    ("key", "bearer"), [("nvapi-new", "nvapi-new"), ("older-kind", "short-lived")]
)
@pytest.mark.parametrize("version", ["hf", None])
def test_a_model_is_brought_and_no_key_leaves_ngc(
    ngc: FakeNgc, key: str, bearer: str, version: str | None
) -> None:
    uri = parse_source_uri("ngc://nim/meta/llama3-8b-instruct" + (f":{version}" if version else ""))
    with closing(make_source(ngc, key)) as source:
        assert read_all(source, uri) == FILES
    assert {seen.headers["authorization"] for seen in ngc.requests("api")} == {f"Bearer {bearer}"}
    assert all("authorization" not in seen.headers for seen in ngc.requests("storage"))
    assert len(ngc.requests("auth")) == (1 if key == "older-kind" else 0)


def test_a_public_model_needs_no_key(ngc: FakeNgc) -> None:
    ngc.is_public = True
    with closing(make_source(ngc, None)) as source:
        assert read_all(source, parse_source_uri("ngc://nim/meta/llama3-8b-instruct")) == FILES
    assert all("authorization" not in seen.headers for seen in ngc.seen)


def test_pages_of_files_and_of_addresses_are_all_read(ngc: FakeNgc) -> None:
    ngc.page_size = 3
    with closing(make_source(ngc, "nvapi-new")) as source:
        assert read_all(source) == FILES
    assert len(addresses_asked(ngc)) == 2


def test_ranges_of_many_threads_cost_one_question(ngc: FakeNgc) -> None:
    came: dict[int, bytes] = {}
    with closing(make_source(ngc, "nvapi-new")) as source:
        listing = source.list_files(URI)
        file = next(file for file in listing.files if file.path == WEIGHTS)

        def bring(start: int) -> None:
            with source.open(listing, file, start, start + 2500) as stream:
                came[start] = b"".join(stream.chunks)

        threads = [threading.Thread(target=bring, args=[s]) for s in range(0, 40_000, 2500)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert b"".join(came[start] for start in sorted(came)) == FILES[WEIGHTS]
    assert len(addresses_asked(ngc)) == 1


def test_an_address_that_expired_is_asked_for_anew(ngc: FakeNgc) -> None:
    with closing(make_source(ngc, "nvapi-new")) as source:
        listing = source.list_files(URI)
        for file in listing.files:
            with source.open(listing, file, 0, 1) as stream:
                assert b"".join(stream.chunks) == FILES[file.path][:1]
        ngc.signature += 1
        with pytest.raises(TemporaryFetchError), source.open(listing, file, 0):
            pass
        with source.open(listing, file, 0) as stream:
            assert b"".join(stream.chunks) == FILES[file.path]
    assert addresses_asked(ngc)[1:] == [f"{addresses_asked(ngc)[0]}?path={file.path}"]


def test_a_token_that_is_refused_midway_is_renewed(ngc: FakeNgc) -> None:
    with closing(make_source(ngc, "older-kind")) as source:
        source.list_files(URI)
        ngc.token = "another"
        assert read_all(source) == FILES
    assert len(ngc.requests("auth")) == 2


def test_a_token_is_renewed_before_it_expires(ngc: FakeNgc) -> None:
    ngc.token_life_s = 0
    with closing(make_source(ngc, "older-kind")) as source:
        source.list_files(URI)
    assert len(ngc.requests("auth")) == len(ngc.requests("api"))


def test_an_older_key_is_exchanged_for_the_organisation_and_team(ngc: FakeNgc) -> None:
    with closing(make_source(ngc, "older-kind")) as source:
        source.list_files(URI)
    seen = ngc.seen[0]
    assert seen.origin == "auth"
    query = parse_qs(urlsplit(seen.path).query)
    assert query == {"service": ["ngc"], "scope": ["group/ngc:nim", "group/ngc:nim/meta"]}
    login = base64.b64decode(seen.headers["authorization"].removeprefix("Basic "))
    assert login == b"$oauthtoken:older-kind"


def test_listed_digests_are_used(ngc: FakeNgc) -> None:
    with closing(make_source(ngc, "nvapi-new")) as source:
        files = source.list_files(URI).files
    sha256 = {path: hashlib.sha256(content).hexdigest() for path, content in FILES.items()}
    assert {file.path: str(file.digest) for file in files} == {
        path: f"sha256:{digest}" for path, digest in sha256.items()
    }
    assert ngc.requests("storage") == []


def test_missing_digests_come_from_the_list_of_the_version_and_are_not_invented(
    ngc: FakeNgc,
) -> None:
    ngc.unhashed = {UNHASHED, WEIGHTS, "checksums.blake3"}
    with closing(make_source(ngc, "nvapi-new")) as source:
        digests = {file.path: file.digest for file in source.list_files(URI).files}
    assert str(digests[UNHASHED]) == f"blake3:{blake3(b'[]').hexdigest()}"
    assert str(digests["config.json"]).startswith("sha256:")
    assert digests[WEIGHTS] is None
    assert digests["checksums.blake3"] is None


@pytest.mark.parametrize(
    ("refuse", "error", "words"),
    [
        (401, AccessDeniedError, "refuses access"),
        (403, AccessDeniedError, "refuses access"),
        (404, FetchError, "NGC has no ngc://nim/meta"),
        (412, AccessDeniedError, "licence"),
    ],
)
def test_a_refusal_is_put_into_words(
    ngc: FakeNgc, refuse: int, error: type[NimctlError], words: str
) -> None:
    ngc.refuse = refuse
    with closing(make_source(ngc, "nvapi-new")) as source, pytest.raises(error, match=words) as got:
        source.list_files(URI)
    assert "nvapi-new" not in got.value.message


def test_an_unfinished_upload_is_refused(ngc: FakeNgc) -> None:
    ngc.status = "UPLOAD_PENDING"
    with (
        closing(make_source(ngc, "nvapi-new")) as source,
        pytest.raises(FetchError, match="not complete"),
    ):
        source.list_files(URI)


def test_a_key_is_asked_for(ngc: FakeNgc) -> None:
    with closing(make_source(ngc, None)) as source, pytest.raises(AccessDeniedError) as caught:
        source.list_files(URI)
    assert "NGC_API_KEY" in (caught.value.hint or "")


def test_an_address_without_an_organisation_is_refused(ngc: FakeNgc) -> None:
    uri = parse_source_uri("ngc://llama3:hf")
    with closing(make_source(ngc, "nvapi-new")) as source, pytest.raises(InputError):
        source.list_files(uri)


class _StrangeNgc(FakeNgc):
    entry: object = None

    def describe(self, path: str) -> dict[str, object]:
        return self.entry  # type: ignore[return-value]


@pytest.mark.parametrize(
    "entry",
    [
        None,
        "a",
        {"path": "a"},
        {"path": 1, "sizeInBytes": 1},
        {"path": "a", "sizeInBytes": 1, "sha256_base64": 7},
        {"path": "a", "sizeInBytes": 1, "sha256_base64": "\u00e9"},
    ],
    ids=str,
)
def test_a_listing_of_another_shape_is_an_error(entry: object) -> None:
    with _StrangeNgc({"a": b"x"}) as ngc, closing(make_source(ngc, "nvapi-new")) as source:
        ngc.entry = entry
        with pytest.raises(FetchError, match=r"not understood|not a sha256"):
            source.list_files(URI)
