"""What a fetch tells while it works: frozen events, always given to the thread that asked.

Named tuples, not dataclasses: every command that knows the cache imports all ten, and Python makes
a named tuple in a sixth of the time. They are made by keyword and told apart by their type.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias


class ListingStarted(NamedTuple):
    """The source is being asked what it holds; `note` says why that may take long."""

    uri: str
    note: str | None


class FetchStarted(NamedTuple):
    """What is to be done is known.

    It is told again where the source changed meanwhile: all is counted anew from there.

    Attributes:
        files: Number of files of the model.
        total_bytes: Their size, as far as it is known.
        done_bytes: What is on this disk already.
    """

    files: int
    total_bytes: int
    done_bytes: int


class FetchAdvanced(NamedTuple):
    """All files together; `done_bytes` never goes back."""

    done_bytes: int
    total_bytes: int


class FileStarted(NamedTuple):
    """A transfer begins; `done_bytes` of the file were kept from an earlier one.

    It is told once in a fetch, also where the bytes arrive damaged and are brought once more.
    """

    path: str
    size_bytes: int | None
    done_bytes: int


class FileAdvanced(NamedTuple):
    """Bytes of one file arrived; `done_bytes` never goes back, even where a transfer restarts."""

    path: str
    done_bytes: int


class FileVerified(NamedTuple):
    """The bytes are the published ones; `digest` is what they were compared with, if anything."""

    path: str
    digest: str | None


class FileDone(NamedTuple):
    """The file is in the cache; `was_cached` says that it did not have to be brought."""

    path: str
    size_bytes: int
    was_cached: bool


class Waiting(NamedTuple):
    """Another process is bringing `what`; this one waits for it."""

    what: str


class Retrying(NamedTuple):
    """Something failed that may work in `wait_s` seconds."""

    what: str
    reason: str
    wait_s: float


class Note(NamedTuple):
    """One sentence the user should see."""

    text: str


Progress: TypeAlias = (
    ListingStarted
    | FetchStarted
    | FetchAdvanced
    | FileStarted
    | FileAdvanced
    | FileVerified
    | FileDone
    | Waiting
    | Retrying
    | Note
)
OnProgress: TypeAlias = Callable[[Progress], None]


def ignore_progress(event: Progress) -> None:
    """Tell nobody."""
