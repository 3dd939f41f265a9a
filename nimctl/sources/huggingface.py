"""The `hf://` source: metadata through huggingface_hub, bytes through our own transfer."""

import ssl
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache, partial
from threading import Lock
from typing import TYPE_CHECKING, get_type_hints
from urllib.parse import quote, urlsplit
from weakref import WeakSet

from nimctl.core.source import (
    ByteStream,
    Listing,
    RemoteFile,
    SourceUri,
    parse_digest,
)
from nimctl.errors import (
    AccessDeniedError,
    FetchError,
    InputError,
    NotFoundError,
    UnreachableError,
)
from nimctl.sources.access import SourceAccess
from nimctl.sources.http_failures import httpx_failure, refusal
from nimctl.sources.http_pools import proxy_for, trusting_context
from nimctl.sources.http_transfer import HttpTransfer
from nimctl.sources.plain_question import ask_plainly
from nimctl.sources.xet import XetStorage, is_xet_hash

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile


class _HubClient:
    """huggingface_hub's one client in this process: closed by the last source that used it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._users: WeakSet[HuggingFaceSource] = WeakSet()

    def use(self, source: "HuggingFaceSource") -> None:
        with self._lock:
            self._users.add(source)

    def leave(self, source: "HuggingFaceSource") -> None:
        with self._lock:
            has_used = source in self._users
            self._users.discard(source)
            if has_used and not self._users:
                from huggingface_hub import close_session

                close_session()


_HUB_CLIENT = _HubClient()


class HuggingFaceSource:
    """A Hugging Face hub, or a server that speaks like one.

    Attributes:
        endpoint: Its address, without a slash at the end.
    """

    connections = 16
    listing_note = None

    def __init__(self, access: SourceAccess) -> None:
        self.endpoint = access.hf_endpoint.rstrip("/")
        self._token = access.hf_token
        self._stall_timeout_s = access.stall_timeout_s
        self._ca_file = access.ca_file
        self._transfer = HttpTransfer(
            stall_timeout_s=access.stall_timeout_s, ca_file=access.ca_file
        )
        self._xet = (
            XetStorage(
                self.endpoint,
                stall_timeout_s=access.stall_timeout_s,
                read_token=self._read_xet_token,
            )
            if access.hf_xet
            else None
        )
        self._xet_lock = Lock()
        self._xet_hashes: dict[str, dict[str, str]] = {}

    def list_files(self, uri: SourceUri) -> Listing:
        """The files at the commit that the revision names now: two requests to the hub."""
        api = self._open_api()
        with self._failures_in_words(uri):
            commit = api.model_info(
                uri.location, revision=uri.revision, timeout=self._stall_timeout_s
            ).sha
            if commit is None:
                raise FetchError(f"{self._host} names no commit for {uri}")
            files = tuple(_describe(entry) for entry in self._list_tree(api, uri, commit))
        return Listing(uri=uri, revision=commit, files=files)

    def _open_api(self) -> "HfApi":
        from huggingface_hub import HfApi, constants

        if constants.HF_HUB_OFFLINE:
            raise UnreachableError(
                "HF_HUB_OFFLINE is set, so huggingface_hub asks nobody",
                hint="unset HF_HUB_OFFLINE to download",
            )
        _HUB_CLIENT.use(self)
        _let_the_hub_trust(trusting_context(self._ca_file))
        # Its telemetry would ask another server than the one the user named.
        constants.HF_HUB_DISABLE_TELEMETRY = True
        return HfApi(endpoint=self.endpoint, token=self._token or False, library_name="nimctl")

    def _list_tree(self, api: "HfApi", uri: SourceUri, commit: str) -> "list[RepoFile]":
        """The files of a commit; what its storage calls them is kept."""
        from huggingface_hub.hf_api import RepoFile

        tree = api.list_repo_tree(uri.location, revision=commit, recursive=True)
        files = [entry for entry in tree if isinstance(entry, RepoFile)]
        self._xet_hashes[f"{uri.location}/xet-read-token/{commit}"] = {
            entry.path: entry.xet_hash
            for entry in files
            if entry.xet_hash is not None and is_xet_hash(entry.xet_hash)
        }
        return files

    def find_commit(self, uri: SourceUri) -> str | None:
        """The commit that the revision names now, by one small request; None if it is not said.

        Raises:
            FetchError: refused; TemporaryFetchError where a later try may help.
        """
        revision = f"/revision/{quote(uri.revision, safe='')}" if uri.revision else ""
        url = f"{self.endpoint}/api/models/{quote(uri.location)}{revision}?expand=sha"
        answer = ask_plainly(url, secrets=self._secrets, ca_file=self._ca_file)
        if answer is None:
            answer = self._transfer.read_object(
                url, secrets=self._secrets, explain=partial(self._explain, uri)
            )
        commit = answer.get("sha")
        return commit if isinstance(commit, str) else None

    def open(
        self,
        listing: Listing,
        file: RemoteFile,
        start_bytes: int,
        end_bytes: int | None = None,
    ) -> AbstractContextManager[ByteStream]:
        """Stream a file of the listed commit; its signed address is kept until it is refused."""
        if self._xet is not None and file.size_bytes is not None:
            repository, xet_hash = self._find_xet_hash(listing, file)
            if xet_hash is not None:
                end = file.size_bytes if end_bytes is None else min(end_bytes, file.size_bytes)
                return self._xet.stream(repository, xet_hash, file.size_bytes, start_bytes, end)
        return self._transfer.stream_file(
            f"{self.endpoint}/{listing.uri.location}/resolve/"
            f"{quote(listing.revision, safe='')}/{quote(file.path)}",
            file,
            start_bytes,
            end_bytes,
            secrets=self._secrets,
            explain=partial(self._explain, listing.uri),
        )

    def close(self) -> None:
        """Close our connections and those of huggingface_hub."""
        self._transfer.close()
        _HUB_CLIENT.leave(self)

    def _find_xet_hash(self, listing: Listing, file: RemoteFile) -> tuple[str, str | None]:
        """Where a commit's tokens are, and what the storage calls a file, if it holds it."""
        repository = f"{listing.uri.location}/xet-read-token/{listing.revision}"
        with self._xet_lock:
            if repository not in self._xet_hashes:
                with self._failures_in_words(listing.uri):
                    self._list_tree(self._open_api(), listing.uri, listing.revision)
            return repository, self._xet_hashes[repository].get(file.path)

    def _read_xet_token(self, repository: str) -> Mapping[str, object]:
        return self._transfer.read_object(
            f"{self.endpoint}/api/models/{quote(repository)}", secrets=self._secrets
        )

    @property
    def _secrets(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token}"} if self._token else {}

    @property
    def _host(self) -> str:
        return urlsplit(self.endpoint).netloc

    @contextmanager
    def _failures_in_words(self, uri: SourceUri) -> Iterator[None]:
        from huggingface_hub import errors as hub

        try:
            yield
        except hub.HfHubHTTPError as error:
            status, headers = error.response.status_code, error.response.headers
            raise self._explain(uri, status, headers) or refusal(
                f"{self._host}/{uri.location}", status, headers
            ) from error
        except hub.HFValidationError as error:
            raise InputError(f"{uri.location!r} is not a model of the form org/name") from error
        except hub.HTTPError as error:  # type: ignore[attr-defined] # of the httpx it was built on
            hub_address = urlsplit(self.endpoint)
            has_proxy = proxy_for(hub_address.scheme, hub_address.netloc) is not None
            raise httpx_failure(self._host, error, has_proxy=has_proxy) from error
        except ValueError as error:
            raise FetchError(f"{self._host} does not answer like a Hugging Face hub") from error

    def _explain(
        self, uri: SourceUri, status: int, headers: Mapping[str, str]
    ) -> FetchError | None:
        code = headers.get("X-Error-Code")
        if code == "RevisionNotFound":
            return NotFoundError(f"{uri.location} on {self._host} has no revision {uri.revision!r}")
        if code == "GatedRepo":
            return AccessDeniedError(
                f"{uri.location} is gated: its licence must be accepted first",
                hint=f"accept the licence at {self.endpoint}/{uri.location}, "
                "then set HF_TOKEN to a token of that account",
            )
        if code == "RepoNotFound" or status == 401:
            # To a stranger the hub answers 401 for models that do not exist, too.
            refused = NotFoundError if status == 404 else AccessDeniedError
            return refused(
                f"{self._host} shows no model {uri.location}",
                hint="check the name; the token may lack access to it"
                if self._token
                else "check the name; if the model is private, set HF_TOKEN",
            )
        return None


@lru_cache(maxsize=1)  # once, unless it changes: all who ask the hub share a client
def _let_the_hub_trust(context: ssl.SSLContext) -> None:
    """Let huggingface_hub believe whom we believe, and read no certificates of its own."""
    from huggingface_hub import get_session, set_client_factory

    # That of httpx or, in later releases, of its successor.
    client_class = get_type_hints(get_session)["return"]
    set_client_factory(lambda: client_class(follow_redirects=True, timeout=None, verify=context))


def _describe(entry: "RepoFile") -> RemoteFile:
    if entry.lfs is not None:
        digest = parse_digest(f"sha256:{entry.lfs.sha256}")
    else:
        digest = parse_digest(f"git-sha1:{entry.blob_id}")
    return RemoteFile(path=entry.path, size_bytes=entry.size, digest=digest)
