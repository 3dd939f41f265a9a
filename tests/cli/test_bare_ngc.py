"""A model of NGC by its address: looked into through the real source, at a server on loopback."""

import base64
import hashlib
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from bare_weights import SMALL, gguf_file, llama_tensors, safetensors_file

from nimctl.catalog.bare import BareModel
from nimctl.cli.bare_model import look_into, parse_address
from nimctl.core.source import parse_source_uri
from nimctl.errors import FetchError, InputError
from nimctl.sources import SourceAccess, open_source

MODEL = "/v2/org/nim/team/acme/models/toy-1_5b"
VERSIONS = {
    "hf": {
        "config.json": json.dumps(SMALL).encode(),
        "model.safetensors": safetensors_file(llama_tensors(SMALL)),
        "tokenizer.json": b"{}",
        "checksums.blake3": b"",
    },
    "gguf": {"toy-Q8_0.gguf": gguf_file(), "toy-Q4_0.gguf": gguf_file(file_type=2, tensor_type=2)},
    "h100x1": {"rank0.engine": b"engine", "config.json": b"{}"},
}


class Handler(BaseHTTPRequestHandler):
    """The API and, below `/signed`, the storage."""

    def log_message(self, format: str, *args: object) -> None:
        del format, args

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        if address.path.startswith("/signed/"):
            _, _, version, name = address.path.split("/")
            self.send(VERSIONS[version][name])
            return
        document = self.answer(address.path, parse_qs(address.query))
        self.send(json.dumps(document).encode(), 404 if document is None else 200)

    def answer(self, path: str, query: dict[str, list[str]]) -> object:
        if path == MODEL:
            return {"model": {"latestVersionIdStr": "hf"}}
        for version, files in VERSIONS.items():
            if path == f"{MODEL}/versions/{version}":
                return {"modelVersion": {"status": "UPLOAD_COMPLETE"}}
            if path == f"{MODEL}/versions/{version}/files":
                entries = [describe(name, content) for name, content in files.items()]
                return {"modelFiles": entries, "paginationInfo": {"totalPages": 1}}
            if path == f"{MODEL}/{version}/files":
                names = query.get("path", list(files))
                host = self.headers["Host"]
                urls = [f"http://{host}/signed/{version}/{quote(name)}" for name in names]
                return {"filepath": names, "urls": urls}
        return None

    def send(self, body: bytes, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            self.wfile.write(body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True


def describe(name: str, content: bytes) -> dict[str, object]:
    digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
    return {"path": name, "sizeInBytes": len(content), "sha256_base64": digest}


@pytest.fixture
def ngc() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def look(ngc: str, address: str) -> BareModel:
    access = SourceAccess(
        scratch_folder=Path("unused"), python=Path(sys.executable), ngc_endpoint=ngc,
        ngc_key="nvapi-key",
    )  # fmt: skip
    uri = parse_address(address)
    with closing(open_source(uri, access)) as source:
        return look_into(source, uri)


@pytest.mark.parametrize("version", ["", ":hf"])
def test_a_checkpoint_is_judged_by_its_config_and_headers(ngc, version):
    manifest = look(ngc, f"ngc://nim/acme/toy-1_5b{version}").manifest
    assert manifest.model == "acme/toy-1.5b"
    assert {profile.engine for profile in manifest.profiles} == {"vllm", "tensorrt_llm"}
    (artifact,) = {profile.artifact for profile in manifest.profiles}
    assert artifact.source == parse_source_uri("ngc://nim/acme/toy-1_5b:hf")
    assert set(artifact.include) == {"config.json", "model.safetensors", "tokenizer.json"}
    assert [pin.path for pin in artifact.files] == ["model.safetensors"]
    assert 0 < artifact.weight_bytes < len(VERSIONS["hf"]["model.safetensors"])


def test_each_gguf_of_a_version_is_a_profile(ngc):
    manifest = look(ngc, "ngc://nim/acme/toy-1_5b:gguf").manifest
    assert {(profile.precision, profile.artifact.single_file) for profile in manifest.profiles} == {
        ("q8_0", "toy-Q8_0.gguf"),
        ("q4_0", "toy-Q4_0.gguf"),
    }


def test_an_engine_built_before_is_named_as_such(ngc):
    with pytest.raises(InputError, match=r"TensorRT-LLM built before \(rank0\.engine\)"):
        look(ngc, "ngc://nim/acme/toy-1_5b:h100x1")


def test_a_version_that_is_not_there(ngc):
    with pytest.raises(FetchError, match="NGC has no ngc://nim/acme/toy-1_5b:hg"):
        look(ngc, "ngc://nim/acme/toy-1_5b:hg")
