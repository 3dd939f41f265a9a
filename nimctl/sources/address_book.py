"""Remembers where files really lie, so that many ranges of one file cost one question."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock

MOST_ADDRESSES = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where to ask for a file.

    Attributes:
        address: The web address, a signed one perhaps: it is as good as a password.
        is_trusted: Whether it belongs to the origin that may see the user's secrets.
    """

    address: str
    is_trusted: bool


class AddressBook:
    """The place of each file that was found last; threads may share it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._places: dict[str, Place] = {}
        self._turns: dict[str, Lock] = {}

    def find(self, key: str) -> Place | None:
        """The place, if it is known."""
        with self._lock:
            return self._places.get(key)

    @contextmanager
    def turn(self, key: str) -> Iterator[None]:
        """Held by the one thread that asks for the place of `key`; others wait for its answer."""
        with self._lock:
            turn = self._turns.setdefault(key, Lock())
        with turn:
            yield

    def note(self, key: str, place: Place) -> None:
        """Remember the place; the oldest of very many is forgotten."""
        with self._lock:
            self._places[key] = place
            while len(self._places) > MOST_ADDRESSES:
                oldest = next(iter(self._places))
                del self._places[oldest]
                self._turns.pop(oldest, None)

    def forget(self, key: str, place: Place) -> None:
        """It is no good any more; a newer place for the same key stays."""
        with self._lock:
            if self._places.get(key) == place:
                del self._places[key]
