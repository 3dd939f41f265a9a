"""Asks for a stretch of a file over HTTP, and checks that the answer is that stretch."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from nimctl.core.source import RemoteFile, SourceChangedError, TemporaryFetchError
from nimctl.errors import FetchError

_NUMBER = "[0-9]{1,18}"
"""A number of bytes; Python refuses to read one of thousands of digits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stretch:
    """Bytes of a file.

    Attributes:
        end_bytes: Not part of it; None is unknown, or the end of the file.
        size_bytes: Size of the whole file; None is unknown.
        is_whole: Whether it is the whole file, whatever its size.
    """

    start_bytes: int
    end_bytes: int | None
    size_bytes: int | None = None
    is_whole: bool = False


def range_headers(asked: Stretch, version: str | None) -> dict[str, str]:
    """What to send so that only these bytes come, and only while the version is the same."""
    if asked.start_bytes == 0 and asked.end_bytes is None:
        return {}
    last = "" if asked.end_bytes is None else asked.end_bytes - 1
    headers = {"Range": f"bytes={asked.start_bytes}-{last}"}
    if version is not None:
        headers["If-Range"] = version
    return headers


def announced(host: str, status: int, headers: Mapping[str, str]) -> Stretch:
    """What an answer with status 200 or 206 says that it brings.

    Raises:
        FetchError: it does not say.
    """
    length = headers.get("Content-Length", "")
    length_bytes = int(length) if re.fullmatch(_NUMBER, length) else None
    if status == 200:
        return Stretch(
            start_bytes=0, end_bytes=length_bytes, size_bytes=length_bytes, is_whole=True
        )
    if headers.get("Content-Type", "").startswith("multipart/"):
        raise FetchError(f"{host} sends several stretches at once although one was asked")
    told = re.fullmatch(
        rf"bytes ({_NUMBER})-({_NUMBER})/({_NUMBER}|\*)", headers.get("Content-Range", "").strip()
    )
    if told is None:
        raise FetchError(f"{host} does not say which bytes it sends")
    stretch = Stretch(
        start_bytes=int(told[1]),
        end_bytes=int(told[2]) + 1,
        size_bytes=None if told[3] == "*" else int(told[3]),
    )
    if length_bytes not in (None, int(told[2]) + 1 - int(told[1])):
        raise TemporaryFetchError(f"{host} sends {length_bytes} bytes and calls them {told[0]}")
    return stretch


def check_version(host: str, file: RemoteFile, listed: str | None, now: str | None) -> None:
    """See that the server still has the version that was listed, where both are known.

    Raises:
        SourceChangedError: it has not.
    """
    if None not in (listed, now) and listed != now:
        raise SourceChangedError(f"{file.path} changed on {host}: was {listed}, is {now}")


def check_stretch(host: str, file: RemoteFile, asked: Stretch, sent: Stretch) -> None:
    """See that the answer can be the bytes that were asked, of the file that was listed.

    Raises:
        TemporaryFetchError: the file has another size than was listed.
        FetchError: these are other bytes than were asked.
    """
    if sent.size_bytes is not None and file.size_bytes not in (None, sent.size_bytes):
        raise TemporaryFetchError(
            f"{host} announces {sent.size_bytes} bytes for {file.path}, "
            f"but {file.size_bytes} were published"
        )
    if sent.is_whole:
        return
    asked_end, sent_end = asked.end_bytes, sent.end_bytes
    is_beyond = asked_end is not None and sent_end is not None and sent_end > asked_end
    if sent.start_bytes != asked.start_bytes or is_beyond:
        raise FetchError(f"{host} answers with other bytes than were asked")


def version_of(headers: Mapping[str, str]) -> str | None:
    """What identifies these bytes on this server: a strong `ETag`, else `Last-Modified`."""
    etag = headers.get("ETag", "")
    return etag if etag.startswith('"') else headers.get("Last-Modified")
