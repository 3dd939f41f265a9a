"""A Hugging Face hub on loopback that the official client accepts, with a storage origin of its
own behind redirects, and faults to order."""

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

from faulty_server import Fault, FaultyServers, FileHandler, Seen, take

__all__ = ["FakeHub", "Fault", "Model", "Seen", "git_sha1"]

SMALL_BYTES = 1000


@dataclass(kw_only=True)
class Model:
    """A repository with one commit."""

    files: dict[str, bytes]
    commit: str
    gated: bool = False

    def is_lfs(self, path: str) -> bool:
        return len(self.files[path]) >= SMALL_BYTES


class FakeHub(FaultyServers):
    """The hub (`url`) and its storage (`storage_url`), on free ports of loopback.

    Faults of a path strike where its bytes come from: at the storage for large files.

    Attributes:
        api_faults: Faults of the kinds `status` and `silent` that the hub's next answers are.
        kept: Commits that a name no longer leads to, and that still have their files.
        tree: What the hub lists in place of the truth.
        page_size: Entries on each page of a tree; None is all of them on one.
        endless_tree: What the hub lists on the page of a number, and always promises one more.
        moved: The origins that paths have moved to (status 307), by a word in the path.
        next_page: Where the hub says that the page of a cursor is; None is on itself.
        xet_url: Where the hub says its Xet storage is; None is a hub without one.
        xet_hashes: What that storage calls files, by their paths.
        xet_until_s: Until when its tokens are good, in seconds since 1970.
    """

    def __init__(self, *, token: str | None = None, certificate: Path | None = None) -> None:
        """Where there is a `certificate` the storage speaks TLS, as the real one does."""
        super().__init__()
        self.token = token
        self.models: dict[str, Model] = {}
        self.kept: dict[str, Model] = {}
        self.api_faults: list[Fault] = []
        self.tree: list[dict[str, object]] | None = None
        self.page_size: int | None = None
        self.endless_tree: Callable[[int], list[dict[str, object]]] | None = None
        self.moved: dict[str, str] = {}
        self.next_page: str | None = None
        self.xet_url: str | None = None
        self.xet_hashes: dict[str, str] = {}
        self.xet_until_s = int(time.time()) + 3600
        self.signature = 1
        self._digests: dict[int, tuple[bytes, str]] = {}
        self.url = self.listen(HubHandler)
        self.storage_url = self.listen(StorageHandler, certificate=certificate)

    def add_model(self, name: str, files: dict[str, bytes], *, gated: bool = False) -> Model:
        facts = b"".join(hashlib.sha256(files[path]).digest() for path in sorted(files))
        commit = hashlib.sha256(name.encode() + facts).hexdigest()[:40]
        self.models[name] = Model(files=dict(files), commit=commit, gated=gated)
        return self.models[name]

    def expire_addresses(self) -> None:
        """Let the storage refuse, with status 403, every address signed so far."""
        self.signature += 1

    def served(self, name: str, path: str) -> int:
        """Bytes of the file that left so far, whatever became of them."""
        return self.sent_bytes.get(f"{name}/{path}", 0)

    def take_api_fault(self) -> Fault | None:
        with self._lock:
            return take(self.api_faults)

    def sha256(self, content: bytes) -> str:
        """The digest; each content is hashed once."""
        known = self._digests.get(id(content))
        if known is None or known[0] is not content:
            known = content, hashlib.sha256(content).hexdigest()
            self._digests[id(content)] = known
        return known[1]


class _HubFiles(FileHandler):
    @property
    def hub(self) -> FakeHub:
        assert isinstance(self.place, FakeHub)
        return self.place


class HubHandler(_HubFiles):
    origin = "hub"

    def answer(self) -> None:
        fault = self.hub.take_api_fault()
        if fault is not None:
            self.refuse(fault)
            return
        moved = next((there for word, there in self.hub.moved.items() if word in self.path), None)
        if moved is not None:
            self.send(307, Location=moved + self.path)
            return
        parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        name = "/".join(parts[2:4] if parts[:2] == ["api", "models"] else parts[:2])
        model = self.hub.models.get(name)
        if model is None or not self._is_allowed():
            self.send(401 if model is None else 403, X_Error_Code="RepoNotFound")
        elif parts[:2] == ["api", "models"]:
            self._answer_api(name, model, parts[4:])
        else:
            self._answer_resolve(name, model, parts[3], "/".join(parts[4:]))

    def _is_allowed(self) -> bool:
        token = self.hub.token
        return token is None or self.headers.get("Authorization") == f"Bearer {token}"

    def _answer_api(self, name: str, model: Model, rest: list[str]) -> None:
        if rest[:1] == ["tree"] and rest[1:] == [model.commit]:
            self._answer_tree(model)
        elif rest == ["xet-read-token", model.commit] and self.hub.xet_url is not None:
            self._answer_xet_token(self.hub.xet_url)
        elif not rest or rest in (["revision", "main"], ["revision", model.commit]):
            siblings = [{"rfilename": path} for path in model.files]
            self.send_json({"id": name, "sha": model.commit, "siblings": siblings})
        else:
            self.send(404, X_Error_Code="RevisionNotFound")

    def _answer_tree(self, model: Model) -> None:
        hub, address = self.hub, urlsplit(self.path)
        page = int(parse_qs(address.query).get("cursor", ["0"])[0])
        if hub.endless_tree is not None:
            entries, is_last = hub.endless_tree(page), False
        else:
            tree = hub.tree or [_tree_entry(hub, model, path) for path in model.files]
            size = hub.page_size or len(tree) or 1
            entries, is_last = tree[page * size :][:size], (page + 1) * size >= len(tree)
        there = hub.next_page or f"{hub.url}{address.path}"
        link = (
            {} if is_last else {"Link": f'<{there}?recursive=true&cursor={page + 1}>; rel="next"'}
        )
        body = json.dumps(entries).encode()
        self.send(200, body, Content_Type="application/json", **link)

    def _answer_xet_token(self, url: str) -> None:
        """As JSON for those who know it, in headers for huggingface_hub."""
        body = {"casUrl": url, "accessToken": "xet-token", "exp": self.hub.xet_until_s}
        names = ("X-Xet-Cas-Url", "X-Xet-Access-Token", "X-Xet-Token-Expiration")
        headers = dict(zip(names, map(str, body.values()), strict=True))
        self.send(200, json.dumps(body).encode(), Content_Type="application/json", **headers)

    def _answer_resolve(self, name: str, model: Model, revision: str, path: str) -> None:
        model = self.hub.kept.get(revision, model)
        if model.gated:
            self.send(403, X_Error_Code="GatedRepo")
        elif revision not in ("main", model.commit):
            self.send(404, X_Error_Code="RevisionNotFound")
        elif path not in model.files:
            self.send(404, X_Error_Code="EntryNotFound")
        elif model.is_lfs(path):
            sha256 = self.hub.sha256(model.files[path])
            address = f"{self.hub.storage_url}/{name}?path={quote(path)}&commit={model.commit}"
            refresh = f"{self.hub.url}/api/models/{name}/xet-read-token/{model.commit}"
            xet_hash = self.hub.xet_hashes.get(path)
            xet = {"X_Xet_Hash": xet_hash, "X_Xet_Refresh_Route": refresh} if xet_hash else {}
            self.send(
                302,
                Location=f"{address}&signature={self.hub.signature}",
                X_Linked_ETag=f'"{sha256}"',
                X_Linked_Size=str(len(model.files[path])),
                X_Repo_Commit=model.commit,
                **xet,
            )
        else:
            self._answer_small(name, model, path)

    def _answer_small(self, name: str, model: Model, path: str) -> None:
        if self.command == "HEAD":
            self.send_response(200)
            self.send_header("ETag", f'"{git_sha1(model.files[path])}"')
            self.send_header("X-Repo-Commit", model.commit)
            self.send_header("Content-Length", str(len(model.files[path])))
            self.end_headers()
        else:
            content = model.files[path]
            self.send_file(f"{name}/{path}", path, content, git_sha1(content))


class StorageHandler(_HubFiles):
    """Where large files come from."""

    origin = "storage"

    def answer(self) -> None:
        address = urlsplit(self.path)
        query = parse_qs(address.query)
        name, path = unquote(address.path).strip("/"), query["path"][0]
        commit, signature = query.get("commit", [""])[0], query.get("signature", [""])[0]
        model = self.hub.kept.get(commit, self.hub.models.get(name))
        is_gone = commit and model is not None and model.commit != commit
        if is_gone or signature not in ("", str(self.hub.signature)):
            self.send(403)
        elif model is None or path not in model.files:
            self.send(404)
        else:
            content = model.files[path]
            self.send_file(f"{name}/{path}", path, content, self.hub.sha256(content)[:32])


def git_sha1(content: bytes) -> str:
    header = b"blob %d\0" % len(content)
    return hashlib.sha1(header + content, usedforsecurity=False).hexdigest()


def _tree_entry(hub: FakeHub, model: Model, path: str) -> dict[str, object]:
    content = model.files[path]
    entry: dict[str, object] = {"type": "file", "path": path, "size": len(content)}
    entry["oid"] = git_sha1(content)
    if model.is_lfs(path):
        if path in hub.xet_hashes:
            entry["xetHash"] = hub.xet_hashes[path]
        entry["lfs"] = {"oid": hub.sha256(content), "size": len(content), "pointerSize": 134}
    return entry
