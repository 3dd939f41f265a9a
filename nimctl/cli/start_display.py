"""Shows a person how an engine start goes: one living line on a terminal, plain lines in a log."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from nimctl.cli.terminal import is_terminal, print_note
from nimctl.core.startup import Phase
from nimctl.core.units import format_duration, format_file_bytes
from nimctl.server import PhaseAdvanced

if TYPE_CHECKING:
    from rich.live import Live

PLAIN_INTERVAL_S = 10.0
_REFRESH_PER_S = 4.0

TITLES = {
    Phase.STARTING: "starting the engine",
    Phase.LOADING: "loading",
    Phase.COMPILING: "compiling",
    Phase.ALLOCATING: "making room for keys and values",
    Phase.CAPTURING: "capturing graphs",
    Phase.WARMING: "generating the first token",
}
"""Phases as a person reads them; the one without is the end."""


class StartDisplay(Protocol):
    """Takes what happens in a start."""

    def enter(self, phase: Phase) -> None:
        """A phase begins."""

    def advance(self, advanced: PhaseAdvanced) -> None:
        """It has come further."""

    def close(self) -> None:
        """Leave nothing on the screen."""


def open_display(expected_s: Mapping[Phase, float]) -> StartDisplay:
    """A living line where a person watches, else plain lines.

    Args:
        expected_s: How long each phase took before, where that is known.
    """
    return LiveLine(expected_s) if is_terminal() else PlainLines(expected_s)


def describe_phase(
    advanced: PhaseAdvanced, *, passed_s: float | None = None, expected_s: float | None = None
) -> str:
    """A phase in words, e.g. `loading, 12 s of about 40 s, 3.2 GB of 14.9 GB`."""
    parts = [TITLES[advanced.phase]]
    about = None if expected_s is None else f"about {_round(expected_s)}"
    if passed_s is not None:
        parts.append(_round(passed_s) + (f" of {about}" if about else ""))
    elif about:
        parts.append(about)
    if advanced.done_bytes is not None and advanced.total_bytes:
        sizes = map(format_file_bytes, (advanced.done_bytes, advanced.total_bytes))
        parts.append(" of ".join(sizes))
    elif advanced.total:
        parts.append(f"{advanced.done} of {advanced.total}")
    return ", ".join(parts)


def _round(seconds: float) -> str:
    """Whole seconds, as a start is nothing to be timed by the eye."""
    whole = max(round(seconds), 1)
    return f"{whole} s" if whole < 60 else format_duration(whole)


class PlainLines:
    """A line for each phase, and one now and then for how far it is."""

    def __init__(self, expected_s: Mapping[Phase, float]) -> None:
        self._expected_s = expected_s
        self._entered_s = self._told_s = time.monotonic()

    def enter(self, phase: Phase) -> None:
        """A phase begins."""
        self._entered_s = self._told_s = time.monotonic()
        if phase in TITLES:
            advanced = PhaseAdvanced(phase=phase)
            print_note(describe_phase(advanced, expected_s=self._expected_s.get(phase)))

    def advance(self, advanced: PhaseAdvanced) -> None:
        """It has come further."""
        now_s = time.monotonic()
        if now_s - self._told_s >= PLAIN_INTERVAL_S:
            self._told_s = now_s
            passed_s, expected_s = now_s - self._entered_s, self._expected_s.get(advanced.phase)
            print_note(describe_phase(advanced, passed_s=passed_s, expected_s=expected_s))

    def close(self) -> None:
        """Nothing to do: lines stay."""


class LiveLine:
    """One line that is written over, gone at the end; what others print stays above it."""

    def __init__(self, expected_s: Mapping[Phase, float]) -> None:
        self._expected_s = expected_s
        self._entered_s = time.monotonic()
        self._advanced = PhaseAdvanced(phase=Phase.STARTING)
        self._live: Live | None = None

    def enter(self, phase: Phase) -> None:
        """A phase begins."""
        if phase not in TITLES:
            self.close()
            return
        self._entered_s = time.monotonic()
        self._advanced = PhaseAdvanced(phase=phase)
        if self._live is None:
            self._live = self._open()

    def advance(self, advanced: PhaseAdvanced) -> None:
        """It has come further."""
        self._advanced = advanced

    def close(self) -> None:
        """Take the line away."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _open(self) -> "Live":
        from rich.console import Console
        from rich.live import Live

        live = Live(
            get_renderable=self._render,
            console=Console(stderr=True, highlight=False, markup=False),
            transient=True,
            refresh_per_second=_REFRESH_PER_S,
        )
        live.start()
        return live

    def _render(self) -> str:
        advanced = self._advanced
        return describe_phase(
            advanced,
            passed_s=time.monotonic() - self._entered_s,
            expected_s=self._expected_s.get(advanced.phase),
        )
