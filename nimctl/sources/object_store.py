"""The `s3://`, `gs://` and `az://` sources: objects below a prefix, read by ranges with obstore."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from threading import Event, Lock
from typing import Any

from nimctl.core.source import (
    ByteStream,
    Listing,
    RemoteFile,
    SourceChangedError,
    SourceUri,
    TemporaryFetchError,
    limit_listing,
)
from nimctl.errors import AccessDeniedError, FetchError, InputError, NotFoundError
from nimctl.sources.access import SourceAccess

READ_BYTES = 4 * 1024 * 1024
_READ_TIMEOUT_S = 60
_VARIABLES = {"s3": "AWS_*", "gs": "GOOGLE_*", "az": "AZURE_*"}


class ObjectStoreSource:
    """Buckets of Amazon S3, Google Cloud Storage and Azure, and of what speaks like them.

    Keys, endpoints and regions are those of the environment that obstore reads, `AWS_*` for
    example. No message repeats what a store says, for that may hold a signed address.
    """

    connections = 8
    listing_note = None

    def __init__(
        self, access: SourceAccess, open_bucket: Callable[[str], Any] | None = None
    ) -> None:
        """Nothing is contacted yet.

        Args:
            open_bucket: Makes obstore's store of an address like `s3://bucket`.
        """
        self._stall_timeout_s = access.stall_timeout_s
        self._open_bucket = open_bucket or self._open_by_address
        self._lock = Lock()
        self._buckets: dict[str, Any] = {}

    def list_files(self, uri: SourceUri) -> Listing:
        """Every object below the prefix, or the object itself."""
        if uri.revision is not None:
            raise InputError(f"{uri} names a revision, which {uri.scheme}:// does not have")
        obstore = _import_obstore()
        store, prefix = self._bucket(uri), _prefix(uri)
        with _failures_in_words(uri):
            found = list(_list_objects(obstore, store, uri))
            if not found and prefix:
                found = [obstore.head(store, prefix)]
        folder = _folder(uri, [facts["path"] for facts in found])
        files = tuple(_describe(facts, folder) for facts in found)
        told = "\n".join(f"{file.path}\0{file.size_bytes}\0{file.version}" for file in files)
        revision = hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        return Listing(uri=uri, revision=revision, files=files)

    @contextmanager
    def open(
        self,
        listing: Listing,
        file: RemoteFile,
        start_bytes: int,
        end_bytes: int | None = None,
    ) -> Iterator[ByteStream]:
        """Read a stretch of the object, as long as it is the one that was listed."""
        end = file.size_bytes if end_bytes is None else end_bytes
        if end is None:
            raise FetchError(f"{listing.uri} does not tell how large {file.path} is")
        is_over = Event()
        chunks = self._read(listing, file, range(start_bytes, end, READ_BYTES), end, is_over)
        try:
            yield ByteStream(start_bytes=start_bytes, chunks=chunks, cancel=is_over.set)
        finally:
            is_over.set()

    def close(self) -> None:
        """Forget the stores; obstore closes its connections itself."""
        with self._lock:
            self._buckets.clear()

    def _read(
        self, listing: Listing, file: RemoteFile, starts: range, end: int, is_over: Event
    ) -> Iterator[bytes]:
        obstore, store = _import_obstore(), self._bucket(listing.uri)
        with _failures_in_words(listing.uri):
            key = _find_key(obstore, store, listing.uri, file.path)
        for start in starts:
            if is_over.is_set():
                raise TemporaryFetchError(f"reading {file.path} was ended")
            stretch = (start, min(start + READ_BYTES, end))
            options = {"range": stretch} | ({"if_match": file.version} if file.version else {})
            with _failures_in_words(listing.uri):
                piece = bytes(obstore.get(store, key, options=options).bytes())
            if len(piece) != stretch[1] - stretch[0]:
                raise SourceChangedError(f"{file.path} of {listing.uri} is not as it was listed")
            yield piece

    def _bucket(self, uri: SourceUri) -> Any:
        name = uri.location.partition("/")[0]
        if "@" in name:
            raise InputError(
                f"a {uri.scheme}:// address takes no keys; set {_VARIABLES[uri.scheme]}"
            )
        address = f"{uri.scheme}://{name}"
        with self._lock:
            if address not in self._buckets:
                self._buckets[address] = self._open_bucket(address)
            return self._buckets[address]

    def _open_by_address(self, address: str) -> Any:
        obstore = _import_obstore()
        try:
            return import_module("obstore.store").from_url(
                address,
                client_options={
                    "connect_timeout": f"{self._stall_timeout_s:.0f}s",
                    "timeout": f"{_READ_TIMEOUT_S}s",
                },
                retry_config={"max_retries": 1},
            )
        except (obstore.exceptions.BaseError, ValueError) as error:
            scheme = address.partition(":")[0]
            raise InputError(
                f"{address} cannot be used as the environment describes it",
                hint=f"check the variables {_VARIABLES[scheme]}",
            ) from error


def _import_obstore() -> Any:
    try:
        return import_module("obstore")
    except ModuleNotFoundError as error:
        raise InputError(
            "s3://, gs:// and az:// need obstore, which is not installed",
            hint="pip install 'nimctl[object-stores]'",
        ) from error


def _prefix(uri: SourceUri) -> str:
    return uri.location.partition("/")[2].strip("/")


def _list_objects(obstore: Any, store: Any, uri: SourceUri) -> Iterator[Any]:
    batches = obstore.list(store, prefix=_prefix(uri))
    return limit_listing(uri, (facts for batch in batches for facts in batch))


def _find_key(obstore: Any, store: Any, uri: SourceUri, path: str) -> str:
    """The key of a file: below the prefix, or, where the address is one object's, that itself."""
    prefix = _prefix(uri)
    below = f"{prefix}/{path}" if prefix else path
    if prefix.rpartition("/")[2] != path:
        return below
    keys = (facts["path"] for facts in _list_objects(obstore, store, uri))
    return below if below in keys else prefix


def _folder(uri: SourceUri, paths: list[str]) -> str:
    """What the published names leave out of the keys: all before the last `/` of one object."""
    prefix = _prefix(uri)
    if paths == [prefix]:
        prefix = prefix.rpartition("/")[0]
    return f"{prefix}/" if prefix else ""


def _describe(facts: Any, folder: str) -> RemoteFile:
    return RemoteFile(
        path=facts["path"].removeprefix(folder),
        size_bytes=facts["size"],
        version=facts["e_tag"],
    )


@contextmanager
def _failures_in_words(uri: SourceUri) -> Iterator[None]:
    failures = import_module("obstore.exceptions")
    try:
        yield
    except (failures.PermissionDeniedError, failures.UnauthenticatedError) as error:
        raise AccessDeniedError(
            f"{uri} may not be read with the keys of the environment",
            hint=f"check the variables {_VARIABLES[uri.scheme]}",
        ) from error
    except (failures.NotFoundError, FileNotFoundError) as error:
        raise NotFoundError(f"{uri} holds no such object") from error
    except failures.PreconditionError as error:
        raise SourceChangedError(f"an object of {uri} was changed since it was listed") from error
    except failures.BaseError as error:
        raise TemporaryFetchError(
            f"the store of {uri} cannot be reached, or refuses to answer"
        ) from error
