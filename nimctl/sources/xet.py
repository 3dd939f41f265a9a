"""Bytes of a hub's large files out of its Xet storage, through the package hf_xet.

hf_xet puts a file together from chunks and checks only their lengths: what comes is hashed as the
bytes of every other source are. It is shown the short-lived token of that storage, never the
user's own, and sends no telemetry.
"""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

from nimctl.core.source import ByteStream, TemporaryFetchError
from nimctl.errors import DigestMismatchError, FetchError, InputError
from nimctl.sources.pieces import PIECE_BYTES
from nimctl.sources.reach import is_inside, is_of_one_wire, is_this_machine

_HASH = re.compile(r"[0-9a-f]{64}")
_RENEWED_BEFORE_S = 60.0
_BUFFER_BYTES = 64 * 1024**2


@dataclass(frozen=True, kw_only=True, slots=True)
class _Login:
    address: str
    token: str
    expires_s: int


class XetStorage:
    """The Xet storage behind one hub; threads may share it."""

    def __init__(
        self,
        hub: str,
        *,
        stall_timeout_s: float,
        read_token: Callable[[str], Mapping[str, Any]],
    ) -> None:
        """Nothing is contacted yet.

        Args:
            hub: The hub's address.
            read_token: Asks the hub for the token of a repository's commit, named by its path on
                the hub: `casUrl`, `accessToken` and `exp`, in seconds since 1970.

        Raises:
            InputError: hf_xet is not installed.
        """
        self._hub = hub
        self._read_token = read_token
        self._xet = _import_xet()
        self._session = self._xet.XetSession(_configure(self._xet, stall_timeout_s))
        self._logins: dict[str, _Login] = {}
        self._lock = Lock()

    @contextmanager
    def stream(
        self, repository: str, xet_hash: str, size_bytes: int, start_bytes: int, end_bytes: int
    ) -> Iterator[ByteStream]:
        """Stream a file of a commit from `start_bytes` up to `end_bytes`.

        Args:
            repository: The path of its commit's tokens on the hub.
            xet_hash: What its storage calls it.

        Raises:
            DigestMismatchError: the storage holds damaged chunks.
            TemporaryFetchError: lost, silent, or fewer bytes than wanted.
            FetchError: the hub leads to an address that is refused.
        """
        if end_bytes <= start_bytes:
            yield ByteStream(start_bytes=start_bytes, chunks=iter(()))
            return
        with self._losses_in_words(repository):
            file = self._xet.XetFileInfo(xet_hash, size_bytes)
            group = self._open_group(repository)
            pieces = group.download_stream(file, start=start_bytes, end=end_bytes)
        try:
            yield ByteStream(
                start_bytes=start_bytes,
                chunks=self._read(repository, pieces, end_bytes - start_bytes),
                cancel=group.abort,
            )
        finally:
            group.abort()

    def _open_group(self, repository: str) -> Any:
        """A group of one stream: another thread may end a group while its stream is read, while
        a stream that is read refuses to be ended ("Already borrowed").
        """
        with self._lock:
            login = self._logins.get(repository)
            if login is None or login.expires_s - _RENEWED_BEFORE_S < time.time():
                login = self._logins[repository] = self._log_in(repository)
        return self._session.new_download_stream_group(
            endpoint=login.address,
            token=login.token,
            token_expiry_unix_secs=login.expires_s,
        )

    def _log_in(self, repository: str) -> _Login:
        answer = self._read_token(repository)
        address, token, expires_s = (answer.get(name) for name in ("casUrl", "accessToken", "exp"))
        if (
            not isinstance(address, str)
            or not isinstance(token, str)
            or not isinstance(expires_s, int)
        ):
            raise FetchError(f"{self._hub} does not tell where its Xet storage is")
        check_storage_address(self._hub, address)
        return _Login(address=address, token=token, expires_s=expires_s)

    def _read(self, repository: str, pieces: Iterator[bytes], length_bytes: int) -> Iterator[bytes]:
        left = length_bytes
        with self._losses_in_words(repository):
            for piece in pieces:
                left -= len(piece)
                for start in range(0, len(piece), PIECE_BYTES):
                    yield piece[start : start + PIECE_BYTES]
        if left > 0:
            raise TemporaryFetchError(f"the Xet storage ended a stream {left} bytes too early")

    @contextmanager
    def _losses_in_words(self, repository: str) -> Iterator[None]:
        """Turn hf_xet's errors into ours; the next stream of the commit begins with a new token."""
        try:
            yield
        except (OSError, RuntimeError) as error:
            with self._lock:
                self._logins.pop(repository, None)
            if "Data integrity error" in str(error):
                raise DigestMismatchError(
                    f"the Xet storage holds damaged bytes ({error})",
                    hint="leave out --xet to take the file over plain HTTP",
                ) from error
            raise TemporaryFetchError(f"the Xet storage cannot be read: {error}") from error


def is_xet_hash(text: object) -> bool:
    """Whether this is the name of a file in a Xet storage."""
    return isinstance(text, str) and _HASH.fullmatch(text) is not None


def check_storage_address(hub: str, address: str) -> None:
    """Make sure that a hub leads to a storage of the internet, over https.

    A hub of this machine may lead to one of this machine, a folder (`local://`) among them.

    Raises:
        FetchError: it leads elsewhere.
    """
    here, there = urlsplit(hub), urlsplit(address)
    host = there.hostname or ""
    is_own_hub = is_this_machine(here.hostname or "")
    if is_own_hub and (there.scheme == "local" or is_this_machine(host)):
        return
    if there.scheme != "https" or not host:
        raise FetchError(
            f"{here.netloc} names {there.scheme}://{host} as its Xet storage, "
            "which is no https address; refused"
        )
    if is_of_one_wire(host) or (
        is_inside(host, look_up=True) and not is_inside(here.hostname or "", look_up=True)
    ):
        raise FetchError(
            f"{here.netloc} names {host} as its Xet storage, which is not in the internet; refused"
        )


def _configure(xet: Any, stall_timeout_s: float) -> Any:
    """Little memory, no telemetry, and no patience of its own: a fetch has that already."""
    return xet.XetConfig().with_config(
        {
            "telemetry.enabled": False,
            "client.retry_max_attempts": 1,
            "client.retry_base_delay": timedelta(milliseconds=100),
            "client.connect_timeout": timedelta(seconds=stall_timeout_s),
            "client.read_timeout": timedelta(seconds=stall_timeout_s),
            "reconstruction.min_reconstruction_fetch_size": _BUFFER_BYTES,
            "reconstruction.min_prefetch_buffer": _BUFFER_BYTES,
            "reconstruction.download_buffer_size": _BUFFER_BYTES,
            "reconstruction.download_buffer_perfile_size": _BUFFER_BYTES // 4,
            "reconstruction.download_buffer_limit": 2 * _BUFFER_BYTES,
        }
    )


def _import_xet() -> Any:
    try:
        xet: Any = import_module("hf_xet")
    except ImportError:
        xet = None
    if not hasattr(xet, "XetDownloadStreamGroup"):  # older ones lack it
        raise InputError(
            "--xet needs the package hf_xet in version 1.8 or later, which is not installed",
            hint="pip install 'hf-xet>=1.8,<2'",
        )
    return xet
