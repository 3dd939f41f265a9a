"""What was found out about each profile: findings, verdicts, and ranks that explain themselves."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from nimctl.core.manifest import Profile
from nimctl.core.plan import Plan
from nimctl.core.speed import SpeedFigure, format_speed
from nimctl.core.wish import Wish


class Fit(IntEnum):
    """How far a profile is from running here; a higher value is farther."""

    RUNNABLE = 0
    OUT_OF_REACH = 1
    LOW_MEMORY = 2
    INCOMPATIBLE = 3
    EXCLUDED = 4

    @property
    def title(self) -> str:
        """The heading of NIM's listing for this group; NIM knows none for `OUT_OF_REACH`."""
        return _TITLES[self]


_TITLES = {
    Fit.RUNNABLE: "Compatible with system and runnable",
    Fit.OUT_OF_REACH: "Compatible with system but its files cannot be brought now",
    Fit.LOW_MEMORY: "Compatible with system but low memory",
    Fit.INCOMPATIBLE: "Incompatible with system",
    Fit.EXCLUDED: "Excluded by what was asked",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One objection to a profile.

    Attributes:
        check: Stable code of the check that objects, e.g. `memory`.
        fit: How bad it is.
        message: One sentence with the figures.
        need: What the profile needs, as a short phrase.
        have: What there is.
        hint: What to do about it.
        retry: The wish under which this finding is gone; None where no wish removes it.
        alternatives: Other wishes under which it is gone.
    """

    check: str
    fit: Fit
    message: str
    need: str | None = None
    have: str | None = None
    hint: str | None = None
    retry: Wish | None = None
    alternatives: tuple[Wish, ...] = ()


class Rank(NamedTuple):
    """The place of a profile, compared field by field; in every field less is better.

    Attributes:
        fit: Runnable before out of reach before low memory before incompatible.
        generic: 0 where it was built for exactly this GPU, else 1.
        missing_context: Tokens its context falls short of an ample one.
        device: GPU (0) before CPU (1).
        neighbours: Chosen GPUs that others use too.
        quality: Bits given up, as far as the goal minds.
        speed: Logarithmic steps of the measured or predicted time, for the goal.
        engine: Place in the engine order.
        precision: Place in the precision order.
        goal: 0 where it is tuned for the goal, 1 for any, 2 for another.
        gpus: GPUs used: more first for latency where NVLink joins them, else fewer first.
        description: The last tie-break, so that the order never depends on the file.
    """

    fit: int
    generic: int
    missing_context: int
    device: int
    neighbours: int
    quality: int
    speed: int
    engine: int
    precision: int
    goal: int
    gpus: int
    description: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """One profile judged: all objections, its place, and its plan where the machine can run it."""

    profile: Profile
    findings: tuple[Finding, ...]
    rank: Rank
    plan: Plan | None
    speed: SpeedFigure

    @property
    def fit(self) -> Fit:
        """The worst of its findings; without any it is runnable."""
        return max((finding.fit for finding in self.findings), default=Fit.RUNNABLE)

    @property
    def fit_on_machine(self) -> Fit:
        """The worst finding about the machine, whatever was asked for."""
        about_machine = (f.fit for f in self.findings if f.fit is not Fit.EXCLUDED)
        return max(about_machine, default=Fit.RUNNABLE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """Every profile of a model judged for one machine and one wish, best first."""

    model: str
    wish: Wish
    verdicts: tuple[Verdict, ...]

    @property
    def chosen(self) -> Verdict | None:
        """The profile that would run, or None."""
        first = self.verdicts[0] if self.verdicts else None
        return first if first is not None and first.fit is Fit.RUNNABLE else None

    @property
    def runner_up(self) -> Verdict | None:
        """The runnable profile that came second, or None."""
        runnable = [v for v in self.verdicts if v.fit is Fit.RUNNABLE]
        return runnable[1] if len(runnable) > 1 else None

    @property
    def passed_over(self) -> Verdict | None:
        """The profile that would be chosen if its files could be brought, or None."""
        would = (v for v in self.verdicts if v.fit is Fit.OUT_OF_REACH)
        best = min(would, key=_rank_if_here, default=None)
        if best is None or (self.chosen and self.chosen.rank < _rank_if_here(best)):
            return None
        return best

    def with_fit(self, fit: Fit) -> tuple[Verdict, ...]:
        """The verdicts of one group, best first."""
        return tuple(v for v in self.verdicts if v.fit is fit)


def _rank_if_here(verdict: Verdict) -> Rank:
    return verdict.rank._replace(fit=Fit.RUNNABLE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """What put one profile before another: the first rank field in which they differ."""

    field: str
    sentence: str


def decided_by(winner: Verdict, other: Verdict) -> Decision:
    """Why `winner` stands before `other`."""
    pairs = zip(Rank._fields, winner.rank, other.rank, strict=True)
    field = next((name for name, mine, theirs in pairs if mine != theirs), "description")
    return Decision(field=field, sentence=_SENTENCES[field](winner, other))


def explain_first(selection: Selection) -> Decision | None:
    """What put the chosen profile first; None where none is chosen."""
    chosen, second = selection.chosen, selection.runner_up
    if chosen is None:
        return None
    if second is None:
        sentence = "it is the only profile that can run here as asked"
        return Decision(field="fit", sentence=sentence)
    return decided_by(chosen, second)


def _explain_context(winner: Verdict, other: Verdict) -> str:
    def show(verdict: Verdict) -> str:
        return f"{verdict.plan.context_length:,} tokens" if verdict.plan else "no"

    return f"it fits {show(winner)} of context, the other {show(other)}"


_SENTENCES: dict[str, Callable[[Verdict, Verdict], str]] = {
    "fit": lambda w, o: f"it is {w.fit.title.lower()}, the other {o.fit.title.lower()}",
    "generic": lambda w, o: f"it was built for this GPU ({w.profile.gpu}), the other for any",
    "missing_context": _explain_context,
    "device": lambda w, o: "it runs on the GPU, the other on the CPU",
    "quality": lambda w, o: f"{w.profile.precision} gives up less than {o.profile.precision}",
    "speed": lambda w, o: (
        f"it is faster: {format_speed(w.speed)}, the other {format_speed(o.speed)}"
    ),
    "engine": lambda w, o: f"{w.profile.engine} is preferred to {o.profile.engine} here",
    "precision": lambda w, o: f"{w.profile.precision} is preferred to {o.profile.precision}",
    "goal": lambda w, o: (
        f"it is tuned for {w.profile.goal or 'any goal'}, "
        f"the other for {o.profile.goal or 'any goal'}"
    ),
    "neighbours": lambda w, o: "others use fewer of its GPUs",
    "gpus": lambda w, o: (
        f"{w.profile.gpu_count} GPU(s) serve the goal better than {o.profile.gpu_count}"
    ),
    "description": lambda w, o: "they are equal in every respect; the name decides",
}
