"""NVIDIA's catalogue on loopback, as NVIDIA's own client asks it: API, token service, storage."""

import base64
import hashlib
import json
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

from faulty_server import FaultyServers, FileHandler

ORG, TEAM, NAME, VERSION = "nim", "meta", "llama3-8b-instruct", "hf"
KEPT = f"org/{ORG}/team/{TEAM}/models/{NAME}"


class FakeNgc(FaultyServers):
    """One version of one model, with `files`.

    Attributes:
        page_size: Files on each page of a listing, and of presigned addresses.
        unhashed: Paths that the listing gives no sha256 for.
        status: State of the version.
        refuse: Status of every answer of the API, to tell refusals apart.
        is_public: Whether a guest may see the model.
        model_signature: What the version is signed with; None where it is not.
        token: What the token service gives out next, and all that the API accepts for old keys.
        token_life_s: How long it says that it lives.
        signature: What addresses are signed with; older ones are refused.
    """

    def __init__(self, files: dict[str, bytes], *, certificate: Path | None = None) -> None:
        super().__init__()
        self.files = files
        self.page_size = 100
        self.unhashed: set[str] = set()
        self.status = "UPLOAD_COMPLETE"
        self.refuse: int | None = None
        self.model_signature: bytes | None = None
        self.is_public = False
        self.token = "short-lived"
        self.token_life_s = 900
        self.signature = 1
        self.api_url = self.listen(_Api, certificate=certificate)
        self.auth_url = self.listen(_Auth, certificate=certificate)
        self.storage_url = self.listen(_Storage)

    def page(self, number: int) -> tuple[list[str], dict[str, object]]:
        """Paths on that page, and what NGC says about paging."""
        paths = list(self.files)[number * self.page_size :][: self.page_size]
        pages = -(-len(self.files) // self.page_size)
        sizes = {"size": self.page_size, "totalResults": len(self.files)}
        return paths, {"index": number, "totalPages": pages, **sizes}

    def describe(self, path: str) -> dict[str, object]:
        """An entry of the listing."""
        entry: dict[str, object] = {"path": path, "sizeInBytes": len(self.files[path])}
        if path not in self.unhashed:
            digest = hashlib.sha256(self.files[path]).digest()
            entry["sha256_base64"] = base64.b64encode(digest).decode()
        return entry


class _NgcHandler(FileHandler):
    @property
    def ngc(self) -> FakeNgc:
        assert isinstance(self.place, FakeNgc)
        return self.place


class _Auth(_NgcHandler):
    origin = "auth"

    def answer(self) -> None:
        self.send_json({"token": self.ngc.token, "expires_in": self.ngc.token_life_s})


class _Api(_NgcHandler):
    origin = "api"

    def do_POST(self) -> None:  # noqa: N802 # the name that http.server calls
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.do_GET()

    def answer(self) -> None:
        ngc, address = self.ngc, urlsplit(self.path)
        path = address.path.removeprefix("/v2/")
        query = {name: values[0] for name, values in parse_qs(address.query).items()}
        bearer = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if ngc.refuse is not None:
            self.refuse_as_ngc(ngc.refuse)
        elif address.path == "/v3/keys/get-caller-info":
            self.send_json({"id": "1", "name": "caller", "orgName": ORG, "type": "SERVICE_KEY"})
        elif path.startswith("models/"):
            place = path.removeprefix("models/")
            place = place.replace(f"org/{ORG}/team/{TEAM}/", f"{ORG}/{TEAM}/")
            known = place.replace(f"{ORG}/{TEAM}/{NAME}", KEPT, 1)
            self.answer_model(known if ngc.is_public else "", query)
        elif bearer != ngc.token and not bearer.startswith("nvapi-"):
            self.refuse_as_ngc(401)
        else:
            self.answer_model(path, query)

    def answer_model(self, path: str, query: dict[str, str]) -> None:
        ngc = self.ngc
        names, paging = ngc.page(int(query.get("page-number", "0")))
        if path == KEPT:
            model = {"name": NAME, "orgName": ORG, "teamName": TEAM, "latestVersionIdStr": VERSION}
            self.send_json({"model": model, "requestStatus": {"statusCode": "SUCCESS"}})
        elif path == f"{KEPT}/versions/{VERSION}":
            version = {
                "versionId": VERSION,
                "status": ngc.status,
                "isSigned": bool(ngc.model_signature),
            }
            self.send_json({"modelVersion": version, "model": {"name": NAME}})
        elif path == f"{KEPT}/versions/{VERSION}/signature" and ngc.model_signature is not None:
            self.send_json({"url": f"{ngc.storage_url}/result.sigstore?signed={ngc.signature}"})
        elif path == f"{KEPT}/versions/{VERSION}/files":
            files = [ngc.describe(name) for name in names]
            self.send_json({"modelFiles": files, "paginationInfo": paging})
        elif path == f"{KEPT}/{VERSION}/files":
            asked = [query["path"]] if "path" in query else names
            urls = [f"{ngc.storage_url}/{quote(name)}?signed={ngc.signature}" for name in asked]
            document = {"filepath": asked, "urls": urls}
            del paging["totalPages"]
            self.send_json(document if "path" in query else document | {"paginationInfo": paging})
        else:
            self.refuse_as_ngc(404)

    def refuse_as_ngc(self, status: int) -> None:
        """A refusal in NGC's form."""
        words = {"statusCode": "ERROR", "statusDescription": f"status {status}"}
        self.send(status, json.dumps({"requestStatus": words}).encode())


class _Storage(_NgcHandler):
    origin = "storage"

    def answer(self) -> None:
        address = urlsplit(self.path)
        path = unquote(address.path).strip("/")
        if parse_qs(address.query).get("signed") != [str(self.ngc.signature)]:
            self.send(403)
        elif path == "result.sigstore" and self.ngc.model_signature is not None:
            self.send(200, self.ngc.model_signature)
        elif path not in self.ngc.files:
            self.send(404)
        else:
            content = self.ngc.files[path]
            self.send_file(path, path, content, hashlib.md5(content).hexdigest())  # noqa: S324
