"""How often and how late something that failed is tried again."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event
from typing import TypeVar

from nimctl.cache.progress import ListingStarted, OnProgress, Retrying
from nimctl.cache.request import FetchRequest
from nimctl.core.source import Listing, Source, TemporaryFetchError

T = TypeVar("T")


class Stopped(Exception):  # noqa: N818 - not a failure: the fetch ended elsewhere
    """The fetch was given up by another thread; this one ends too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryPolicy:
    """Limits of patience.

    Attributes:
        attempts: Failures in a row, without a new byte in between, after which to give up.
        first_wait_s: Wait after the first failure; it doubles with each one.
        longest_wait_s: Where the doubling ends.
        longest_asked_wait_s: A server that asks for more than this is not waited for.
        trickle_s: Next to nothing arriving for so long is a failure too.
    """

    attempts: int = 6
    first_wait_s: float = 0.5
    longest_wait_s: float = 30.0
    longest_asked_wait_s: float = 300.0
    trickle_s: float = 30.0


class Patience:
    """Counts the failures of one piece of work and waits between them."""

    def __init__(
        self, policy: RetryPolicy, what: str, on_progress: OnProgress, stop: Event
    ) -> None:
        self._policy = policy
        self._what = what
        self._on_progress = on_progress
        self._stop = stop
        self._failures = 0

    def wait_after(self, error: TemporaryFetchError, *, progressed: bool) -> None:
        """Wait before the next attempt.

        Raises:
            TemporaryFetchError: `error` itself, when patience is at its end.
            Stopped: the fetch was given up meanwhile.
        """
        if self._stop.wait(self.count(error, progressed=progressed)):
            raise Stopped

    def bears(self, error: TemporaryFetchError) -> bool:
        """Whether the wait that the place asks for is not too long."""
        return (error.retry_after_s or 0.0) <= self._policy.longest_asked_wait_s

    def count(self, error: TemporaryFetchError, *, progressed: bool) -> float:
        """Count a failure and tell of it; gives the seconds to wait before the next attempt.

        Args:
            progressed: Something arrived since the failure before.

        Raises:
            TemporaryFetchError: `error` itself, when patience is at its end.
        """
        self._failures = 1 if progressed else self._failures + 1
        asked_s = error.retry_after_s or 0.0
        if self._failures >= self._policy.attempts or not self.bears(error):
            raise error
        doubled_s = self._policy.first_wait_s * 2.0 ** (self._failures - 1)
        jitter = random.SystemRandom().uniform(0.5, 1.0)
        wait_s = max(asked_s, min(doubled_s, self._policy.longest_wait_s) * jitter)
        self._on_progress(Retrying(what=self._what, reason=error.message, wait_s=wait_s))
        return wait_s


def patiently(work: Callable[[], T], patience: Patience) -> T:
    """The result of `work`, tried again as long as it fails for now only.

    Raises:
        TemporaryFetchError: patience is at its end.
    """
    while True:
        try:
            return work()
        except TemporaryFetchError as error:
            patience.wait_after(error, progressed=False)


def list_patiently(
    source: Source, request: FetchRequest, on_progress: OnProgress, policy: RetryPolicy
) -> Listing:
    """What the source holds.

    Raises:
        FetchError: as the source says; temporary failures after all attempts.
    """
    on_progress(ListingStarted(uri=str(request.uri), note=source.listing_note))
    patience = Patience(policy, str(request.uri), on_progress, Event())
    return patiently(lambda: source.list_files(request.uri), patience)
