"""How a fetch shows its progress: bars on a terminal, lines in a log, JSON for programs."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from nimctl.cache import (
    FetchAdvanced,
    FetchRequest,
    FetchStarted,
    FileDone,
    ListingStarted,
    Note,
    OnProgress,
    Progress,
    Retrying,
    Waiting,
    ignore_progress,
)
from nimctl.cache.layout import Layout
from nimctl.cache.others import OtherFetch
from nimctl.cli.terminal import is_terminal, print_note
from nimctl.cli.waiting import watch_other
from nimctl.core.units import format_duration, format_file_bytes
from nimctl.settings.record import ProgressForm

PLAIN_INTERVAL_S = 5.0


@contextmanager
def show_progress(
    form: ProgressForm, request: FetchRequest, cache_root: Path
) -> Iterator[OnProgress]:
    """Show the events of one fetch; `auto` is bars where a person watches, else plain lines."""
    if form == "auto":
        form = "bars" if is_terminal() else "plain"
    layout = Layout(root=cache_root)
    if form == "none":
        yield ignore_progress
    elif form == "json":
        from nimctl.cli.progress_json import JsonLines

        lines = JsonLines(str(request.uri))
        with watch_other(layout, request, lines.tell, lines.tell_other) as on_progress:
            yield on_progress
    elif form == "plain":
        plain = PlainLines(print_note)
        with watch_other(layout, request, plain.tell, plain.tell_other) as on_progress:
            yield on_progress
    else:
        from nimctl.cli.progress_bars import open_bars

        with (
            open_bars() as bars,
            watch_other(layout, request, bars.tell, bars.tell_other) as on_progress,
        ):
            yield on_progress


def describe_event(event: Progress) -> str | None:
    """The sentence a person should see for an event, or None where a bar or rate tells enough."""
    match event:
        case ListingStarted(uri=uri, note=note):
            return f"looking up {uri}" + (f"\n{note}" if note else "")
        case FetchStarted(files=files, total_bytes=total_bytes, done_bytes=done_bytes):
            kept = f", {format_file_bytes(done_bytes)} already here" if done_bytes else ""
            noun = "file" if files == 1 else "files"
            return f"fetching {files} {noun}, {format_file_bytes(total_bytes)}{kept}"
        case Waiting(what=what):
            return f"another process is fetching {what}; waiting for it"
        case Retrying(what=what, reason=reason, wait_s=wait_s):
            return f"{what}: {reason}; trying again in {format_duration(wait_s)}"
        case Note(text=text):
            return text
        case _:
            return None


def describe_other(other: OtherFetch) -> str:
    """The sentence about a process that is waited for."""
    who = "another nimctl" if other.pid is None else f"another nimctl (pid {other.pid})"
    if not other.total_bytes:
        return f"{who} is bringing it"
    return (
        f"{who} is bringing it: {100 * other.done_bytes // other.total_bytes} % of "
        f"{format_file_bytes(other.total_bytes)}"
    )


class Outcome:
    """Counts the files that were brought, for one sentence at the end."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()
        self._files = self._bytes = 0
        self._left = 0

    def describe(self, event: Progress) -> str | None:
        """What was brought, once the last file is there; None before, and where nothing was."""
        if isinstance(event, FetchStarted):
            self._left, self._files, self._bytes = event.files, 0, 0
            self._began_s = time.monotonic()
        if not isinstance(event, FileDone):
            return None
        self._left -= 1
        if not event.was_cached:
            self._files += 1
            self._bytes += event.size_bytes
        if self._left or not self._files:
            return None
        if self._files == 1:
            return f"verified {event.path} ({format_file_bytes(self._bytes)})"
        took = format_duration(time.monotonic() - self._began_s)
        return f"verified {self._files} files, {format_file_bytes(self._bytes)} in {took}"


class PlainLines:
    """Lines for a log: every sentence, and the state of the whole every few seconds."""

    def __init__(self, print_text: Callable[[str], None]) -> None:
        self._print = print_text
        self._began_s = self._last_s = time.monotonic()
        self._first_bytes: int | None = None
        self._outcome = Outcome()

    def tell(self, event: Progress) -> None:
        """Take an event."""
        for sentence in (describe_event(event), self._outcome.describe(event)):
            if sentence is not None:
                self._print(sentence)
        if isinstance(event, FetchAdvanced):
            self._tell_rate(event)

    def tell_other(self, other: OtherFetch) -> None:
        """Take how far the process is that is waited for, every second."""
        now_s = time.monotonic()
        if now_s - self._last_s >= PLAIN_INTERVAL_S:
            self._last_s = now_s
            self._print(describe_other(other))

    def _tell_rate(self, event: FetchAdvanced) -> None:
        now_s = time.monotonic()
        if self._first_bytes is None:
            self._first_bytes, self._began_s = event.done_bytes, now_s
        if now_s - self._last_s < PLAIN_INTERVAL_S or event.done_bytes >= event.total_bytes:
            return
        self._last_s = now_s
        rate = (event.done_bytes - self._first_bytes) / max(now_s - self._began_s, 1e-3)
        line = f"{format_file_bytes(event.done_bytes)} of {format_file_bytes(event.total_bytes)}"
        if rate > 0:
            left_s = (event.total_bytes - event.done_bytes) / rate
            line += f", {format_file_bytes(int(rate))}/s, {format_duration(left_s)} left"
        self._print(line)
