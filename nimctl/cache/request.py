"""Which files of a source are wanted, and whether what the source lists can be trusted that far."""

import difflib
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from nimctl.cache.published_names import check_names
from nimctl.cache.safety import SafetyPolicy, Sorted, check_worth_bringing, sort_out
from nimctl.core.source import (
    MAX_FILES,
    Listing,
    PinnedFile,
    RemoteFile,
    SourceSyntaxError,
    SourceUri,
    check_relative_path,
)
from nimctl.errors import DigestMismatchError, FetchError, NotFoundError

ONLY_DATA = SafetyPolicy()


@dataclass(frozen=True, kw_only=True, slots=True)
class FetchRequest:
    """What to bring: the one file that `uri` names, else what `include` matches, else what is
    pinned, else everything; of that, what the policy lets in.

    Attributes:
        include: Shell patterns of paths, e.g. `*.safetensors`; `*` also matches `/`.
        exclude: Patterns of what is not brought, whatever includes it.
        pinned: Sizes and digests the files must have, whatever the source says.
        policy: Whether more than data may come.
    """

    uri: SourceUri
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    pinned: tuple[PinnedFile, ...] = ()
    policy: SafetyPolicy = ONLY_DATA

    @property
    def pinned_only(self) -> tuple[RemoteFile, ...] | None:
        """The files, where the pins alone tell which they are; None where a listing is needed."""
        pinned = tuple(_as_remote(file) for file in self.pinned)
        if self.uri.file is not None:
            pinned = tuple(file for file in pinned if file.path == self.uri.file)
        elif self.include or self.exclude:
            return None
        let_in = frozenset(sort_out((file.path for file in pinned), self.policy).kept)
        return tuple(file for file in pinned if file.path in let_in) or None

    @property
    def selection(self) -> str:
        """Identifies the choice of files, 16 hex digits; empty where it is all of them."""
        choice: list[object] = [
            self.uri.file,
            sorted(self.include),
            sorted((file.path, str(file.digest)) for file in self.pinned),
        ]
        if self.exclude or self.policy != ONLY_DATA:
            choice += [sorted(self.exclude), self.policy.allow_pickle, self.policy.allow_code]
        if choice == [None, [], []]:
            return ""
        return hashlib.sha256(json.dumps(choice).encode()).hexdigest()[:16]


def choose_files(request: FetchRequest, listing: Listing) -> tuple[RemoteFile, ...]:
    """The wanted files of `listing`, with pinned digests in the place of listed ones.

    Raises:
        FetchError: a wanted file is not there, or the listing holds names that could leave their
            folder, hide one another, or are none on some disks.
        UnsafeFilesError: there are only pickles, or only code, and they may not come.
        DigestMismatchError: the source publishes another file than the pinned one.
    """
    found = sort_files(request, listing)
    check_worth_bringing(str(request.uri), found)
    listed = {file.path: file for file in listing.files}
    pins = {file.path: file for file in request.pinned}
    return tuple(_with_pin(listed[path], pins.get(path)) for path in found.kept)


def sort_files(request: FetchRequest, listing: Listing) -> Sorted:
    """What the request asks of a listing, and what of that the policy leaves out.

    Raises:
        FetchError: a wanted file is not there, the listing holds names that could leave their
            folder, or wanted ones that hide one another or are none on some disks.
    """
    if len(listing.files) > MAX_FILES:
        raise FetchError(
            f"{request.uri} lists {len(listing.files)} files; over {MAX_FILES} are refused"
        )
    for file in listing.files:
        _check_listed(file)
    listed = dict.fromkeys(file.path for file in listing.files)
    wanted = tuple(_wanted_paths(request, listed))
    for path in wanted:
        if path not in listed:
            raise _not_there(request.uri, path, listed)
    if not wanted:
        raise FetchError(f"{request.uri} holds no files")
    found = sort_out(wanted, request.policy)
    # What lies on a disk of this machine already has a name that this machine can hold.
    if request.uri.scheme != "file":
        check_names(request.uri, found.kept)
    return found


def _wanted_paths(request: FetchRequest, listed: Iterable[str]) -> Iterable[str]:
    if request.uri.file is not None:
        return [request.uri.file]
    if request.include:
        chosen = [p for p in listed if _matches(p, request.include)]
        if not chosen:
            raise _no_match(request, listed)
    elif request.pinned:
        chosen = [file.path for file in request.pinned]
    else:
        chosen = list(listed)
    left = [p for p in chosen if not _matches(p, request.exclude)]
    if chosen and not left:
        raise FetchError(f"{', '.join(request.exclude)} excludes every file of {request.uri}")
    return left


def _matches(path: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in patterns)


def _check_listed(file: RemoteFile) -> None:
    try:
        check_relative_path(file.path)
    except SourceSyntaxError as error:
        raise FetchError(f"the listing cannot be trusted: {error}") from error
    if file.size_bytes is not None and file.size_bytes < 0:
        raise FetchError(f"the listing cannot be trusted: {file.path} has a negative size")


def _with_pin(file: RemoteFile, pin: PinnedFile | None) -> RemoteFile:
    if pin is None:
        return file
    if file.size_bytes not in (None, pin.size_bytes):
        raise DigestMismatchError(
            f"{file.path} has {file.size_bytes} bytes at its source, "
            f"but {pin.size_bytes} are expected"
        )
    listed = file.digest
    if listed and listed.algorithm == pin.digest.algorithm and listed != pin.digest:
        raise DigestMismatchError(
            f"{file.path} is {listed} at its source, but {pin.digest} is expected"
        )
    return replace(file, size_bytes=pin.size_bytes, digest=pin.digest)


def _as_remote(pin: PinnedFile) -> RemoteFile:
    return RemoteFile(path=pin.path, size_bytes=pin.size_bytes, digest=pin.digest)


def _no_match(request: FetchRequest, listed: Iterable[str]) -> NotFoundError:
    words = ", ".join(request.include)
    alike = {
        path
        for pattern in request.include
        for path in difflib.get_close_matches(pattern, list(listed), n=3)
    }
    return NotFoundError(
        f"no file of {request.uri} matches {words}",
        hint=f"it has {', '.join(sorted(alike))}" if alike else None,
    )


def _not_there(uri: SourceUri, path: str, listed: Iterable[str]) -> NotFoundError:
    near = difflib.get_close_matches(path, list(listed), n=3)
    return NotFoundError(
        f"{uri} holds no file {path!r}", hint=f"it has {', '.join(near)}" if near else None
    )
