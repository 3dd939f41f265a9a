"""The `hf://` source: what a Hugging Face hub, or a server that speaks like one, holds.

Its listing is read by our own transfer, not by huggingface_hub: that one reads page after page as
long as the hub promises another, waits for a silent hub for ever and for a busy one as long as that
asks, and follows redirects and pages to wherever they lead.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import partial
from threading import Lock
from urllib.parse import quote, urlsplit

from nimctl.core.source import (
    ByteStream,
    Listing,
    RemoteFile,
    SourceChangedError,
    SourceUri,
    limit_listing,
)
from nimctl.errors import AccessDeniedError, FetchError, NotFoundError, UnreachableError
from nimctl.sources.access import SourceAccess
from nimctl.sources.http_transfer import HttpTransfer
from nimctl.sources.hub_answers import check_name, describe_file, find_xet_hash
from nimctl.sources.plain_question import ask_plainly
from nimctl.sources.xet import XetStorage


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
        """The files at the commit that the revision names now: two requests to the hub, and one
        more for every thousand files.
        """
        check_name(uri)
        _check_online()
        commit = self._read_commit(uri, self._commit_address(uri))
        if commit is None:
            raise FetchError(f"{self._host} names no commit for {uri}")
        return Listing(uri=uri, revision=commit, files=self._list_tree(uri, commit))

    def _list_tree(self, uri: SourceUri, commit: str) -> tuple[RemoteFile, ...]:
        """The files of a commit; what its storage calls them is kept."""
        pages = self._transfer.read_pages(
            f"{self.endpoint}/api/models/{quote(uri.location)}/tree/{quote(commit, safe='')}"
            "?recursive=true&expand=false",
            secrets=self._secrets,
            explain=partial(self._explain, uri),
        )
        entries = limit_listing(uri, (entry for page in pages for entry in page))
        files: list[RemoteFile] = []
        hashes: dict[str, str] = {}
        try:
            for entry in entries:
                if entry["type"] == "file":
                    files.append(describe_file(entry))
                    xet_hash = find_xet_hash(entry)
                    if xet_hash is not None:
                        hashes[files[-1].path] = xet_hash
        except (KeyError, TypeError, ValueError) as error:
            raise FetchError(f"{self._host} does not answer like a Hugging Face hub") from error
        self._xet_hashes[f"{uri.location}/xet-read-token/{commit}"] = hashes
        return tuple(files)

    def find_commit(self, uri: SourceUri) -> str | None:
        """The commit that the revision names now, by one small request; None if it is not said.

        Raises:
            FetchError: refused; TemporaryFetchError where a later try may help.
        """
        address = f"{self._commit_address(uri)}?expand=sha"
        answer = ask_plainly(address, secrets=self._secrets, ca_file=self._ca_file)
        return self._read_commit(uri, address) if answer is None else _commit_of(answer)

    def _commit_address(self, uri: SourceUri) -> str:
        revision = f"/revision/{quote(uri.revision, safe='')}" if uri.revision else ""
        return f"{self.endpoint}/api/models/{quote(uri.location)}{revision}"

    def _read_commit(self, uri: SourceUri, address: str) -> str | None:
        return _commit_of(
            self._transfer.read_object(
                address, secrets=self._secrets, explain=partial(self._explain, uri)
            )
        )

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
            explain=partial(self._explain_listed, listing),
        )

    def close(self) -> None:
        """Close every connection."""
        self._transfer.close()

    def _find_xet_hash(self, listing: Listing, file: RemoteFile) -> tuple[str, str | None]:
        """Where a commit's tokens are, and what the storage calls a file, if it holds it."""
        repository = f"{listing.uri.location}/xet-read-token/{listing.revision}"
        with self._xet_lock:
            if repository not in self._xet_hashes:
                self._list_tree(listing.uri, listing.revision)
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

    def _explain_listed(
        self, listing: Listing, status: int, headers: Mapping[str, str]
    ) -> FetchError | None:
        """The same for a file of a commit that was listed just now."""
        is_gone = headers.get("X-Error-Code") == "RevisionNotFound"
        if is_gone and listing.revision != listing.uri.revision:
            return SourceChangedError(
                f"commit {listing.revision} of {listing.uri} is no longer on {self._host}"
            )
        return self._explain(listing.uri, status, headers)

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


def _check_online() -> None:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise UnreachableError(
            "HF_HUB_OFFLINE is set, so the hub is not asked",
            hint="unset HF_HUB_OFFLINE to download",
        )


def _commit_of(answer: Mapping[str, object]) -> str | None:
    commit = answer.get("sha")
    return commit if isinstance(commit, str) else None
