"""Watches an engine start: which phase it is in, how far that is, and whether anything moves."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from nimctl.core.startup import (
    FallToHost,
    LogSigns,
    Phase,
    PhaseSeen,
    find_fall,
    is_device_line,
    is_memory_line,
    read_phase,
)
from nimctl.server.log_follower import LogFollower
from nimctl.server.movement import Movement
from nimctl.server.session import Session

_LOOK_EVERY_S = 1.0
_LOOK_SHARE = 0.05
"""Looking at the pages of a large model takes long: at most so much of the time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PhaseReached:
    """The engine's start has come to `phase`."""

    phase: Phase


@dataclass(frozen=True, kw_only=True, slots=True)
class PhaseAdvanced:
    """How far the phase has come, as far as anybody tells.

    Attributes:
        done_bytes: Of the weights, read or mapped in.
        total_bytes: Of all weights.
        done: Pieces, e.g. files or graphs.
        total: Of how many.
    """

    phase: Phase
    done_bytes: int | None = None
    total_bytes: int | None = None
    done: int | None = None
    total: int | None = None


StartEvent = PhaseReached | PhaseAdvanced


class StartWatch:
    """Follows one start of an engine.

    Args:
        signs: What its log tells.
        log: Follows its log from before the start.
        session: Its processes; None where they are not ours to look at.
        weights: Sizes of the files it reads, by path, links resolved.
        on_event: Told of phases and how far they are.
    """

    def __init__(
        self,
        *,
        signs: LogSigns,
        log: LogFollower,
        session: Session | None,
        weights: Mapping[str, int],
        on_event: Callable[[StartEvent], None],
    ) -> None:
        self._signs = signs
        self._log = log
        self._session = session
        self._weights = weights
        self._on_event = on_event
        now_s = time.monotonic()
        self._movement = Movement(now_s)
        self._entered_s: dict[Phase, float] = {}
        self._left_s: dict[Phase, float] = {}
        self._phase = Phase.STARTING
        self._advanced = PhaseAdvanced(phase=Phase.STARTING)
        self._taken = dict.fromkeys(weights, 0)
        self._look_again_s = now_s
        self.memory_lines: list[str] = []
        self._device_lines: list[str] = []
        self.enter(Phase.STARTING)

    def enter(self, phase: Phase) -> None:
        """Begin a phase, unless it was there before: none comes twice."""
        now_s = time.monotonic()
        if phase in self._entered_s:
            return
        if self._entered_s:
            self._left_s[self._phase] = now_s
        self._entered_s[phase] = now_s
        self._phase = phase
        self._advanced = PhaseAdvanced(phase=phase)
        self._on_event(PhaseReached(phase=phase))

    @property
    def durations_s(self) -> dict[Phase, float]:
        """How long each phase that is over took, in seconds."""
        return {
            phase: self._left_s[phase] - entered_s
            for phase, entered_s in self._entered_s.items()
            if phase in self._left_s
        }

    async def look(self) -> None:
        """Take what has happened since the last look."""
        self._read_log()
        if self._session is not None and time.monotonic() >= self._look_again_s:
            await self._look_at_processes(self._session)

    def find_stall(self, limit_s: float) -> str | None:
        """Why the start is to be given up, as a clause about the engine; None while it moves."""
        return self._movement.find_stall(limit_s, time.monotonic())

    def find_fall(self) -> FallToHost | None:
        """Whether the engine uses no GPU, as far as it has told by now."""
        is_ready = Phase.READY in self._entered_s
        return find_fall(self._signs, self._device_lines, is_ready=is_ready)

    def _read_log(self) -> None:
        lines = self._log.read_lines()
        self._movement.see_lines(lines, time.monotonic())
        for line in lines:
            if is_memory_line(self._signs, line):
                self.memory_lines.append(line)
            if is_device_line(self._signs, line):
                self._device_lines.append(line)
            seen = read_phase(self._signs, line)
            if seen is not None:
                self._take_phase(seen)

    def _take_phase(self, seen: PhaseSeen) -> None:
        if Phase.READY not in self._entered_s and self._phase is not Phase.WARMING:
            self.enter(seen.phase)
        if seen.phase is self._phase and seen.total:
            self._advance(done=seen.done, total=seen.total)

    async def _look_at_processes(self, session: Session) -> None:
        began_s = time.monotonic()
        cpu_s = await asyncio.to_thread(session.read_cpu_s)
        if cpu_s is not None:
            self._movement.see_cpu(cpu_s, began_s)
            if self._phase in (Phase.STARTING, Phase.LOADING):
                await self._look_at_weights(session)
        took_s = time.monotonic() - began_s
        self._look_again_s = began_s + max(_LOOK_EVERY_S, took_s / _LOOK_SHARE)

    async def _look_at_weights(self, session: Session) -> None:
        taken = await asyncio.to_thread(session.count_taken_in, self._weights)
        self._taken = {path: max(count, taken[path]) for path, count in self._taken.items()}
        done_bytes = sum(self._taken.values())
        self._movement.see_bytes(done_bytes, time.monotonic())
        if self._phase is Phase.LOADING and done_bytes:
            self._advance(done_bytes=done_bytes, total_bytes=sum(self._weights.values()))

    def _advance(self, **told: int | None) -> None:
        known = self._advanced
        fields = ("done_bytes", "total_bytes", "done", "total")
        advanced = PhaseAdvanced(
            phase=self._phase, **{name: told.get(name, getattr(known, name)) for name in fields}
        )
        if advanced != known:
            self._advanced = advanced
            self._on_event(advanced)
