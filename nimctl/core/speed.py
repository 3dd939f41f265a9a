"""How fast a profile answers: figures that say where they come from, compared by goal."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import log
from typing import Literal

from nimctl.core.names import Goal
from nimctl.core.units import format_duration

Origin = Literal["measured here", "measured elsewhere", "predicted", "roofline", "unknown"]

_ORIGINS: tuple[Origin, ...] = (
    "measured here", "measured elsewhere", "predicted", "roofline", "unknown",
)  # fmt: skip
"""The most trusted first."""

TOLERANCE = 0.1
"""Figures closer than this share of each other rank alike: no prediction is more exact."""

UNKNOWN_RANK = 10**6


@dataclass(frozen=True, kw_only=True, slots=True)
class Traffic:
    """What a speed is told for: requests alike, `concurrency` of them at all times."""

    prompt_tokens: int
    output_tokens: int
    concurrency: int


ONE_AT_A_TIME = Traffic(prompt_tokens=1000, output_tokens=200, concurrency=1)
MANY_AT_ONCE = Traffic(prompt_tokens=1000, output_tokens=200, concurrency=64)


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasuringTerms:
    """The traffic that a measurement must have been made under to speak for a goal.

    Attributes:
        least_concurrency: Fewest requests at a time.
        most_concurrency: Most requests at a time; None has no such limit.
        lengths_within: Prompts and answers are at most so many times longer or shorter than those
            of the traffic that the goal is judged by.
    """

    least_concurrency: int
    most_concurrency: int | None
    lengths_within: float


MEASURING_TERMS: dict[tuple[Literal["gpu", "cpu"], Goal], MeasuringTerms] = {
    ("cpu", "latency"): MeasuringTerms(least_concurrency=1, most_concurrency=1, lengths_within=10),
    ("gpu", "latency"): MeasuringTerms(least_concurrency=1, most_concurrency=1, lengths_within=10),
    # Eight requests keep every core of a CPU multiplying; a GPU waits for its memory until dozens.
    ("cpu", "throughput"): MeasuringTerms(
        least_concurrency=8, most_concurrency=None, lengths_within=10
    ),
    # Compared with predictions for long prompts, which short ones would flatter too much.
    ("gpu", "throughput"): MeasuringTerms(
        least_concurrency=32, most_concurrency=None, lengths_within=4
    ),
}
"""By device and goal. `nimctl bench` unasked, with 128 tokens in and out, speaks for latency."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SpeedFigure:
    """How fast one profile answers under one traffic; what is not known is None.

    Attributes:
        tokens_per_second: Output tokens of all requests together.
        source: Who measured or predicted it, with versions, or the formula's own words.
        caveat: What to know beside the origin, e.g. that the engine was another version.
    """

    traffic: Traffic
    time_to_first_token_s: float | None
    inter_token_latency_s: float | None
    tokens_per_second: float | None
    origin: Origin
    source: str
    caveat: str | None = None

    @property
    def answer_s(self) -> float | None:
        """Seconds of one answer; without the wait for its first token where that is unknown."""
        if self.inter_token_latency_s is None:
            return None
        following = max(self.traffic.output_tokens - 1, 1) * self.inter_token_latency_s
        return (self.time_to_first_token_s or 0.0) + following


def unknown_speed(traffic: Traffic, reason: str) -> SpeedFigure:
    """A figure that says why there is none."""
    return SpeedFigure(
        traffic=traffic,
        time_to_first_token_s=None,
        inter_token_latency_s=None,
        tokens_per_second=None,
        origin="unknown",
        source=reason,
    )


def traffic_for(goal: Goal | None) -> Traffic:
    """The traffic a goal is judged by; without a goal, one request at a time."""
    return MANY_AT_ONCE if goal == "throughput" else ONE_AT_A_TIME


def speaks_for(measured: Traffic, device: Literal["gpu", "cpu"], goal: Goal) -> bool:
    """Whether what was measured under one traffic tells about a goal on such a device."""
    terms, asked = MEASURING_TERMS[device, goal], traffic_for(goal)
    most = terms.most_concurrency or measured.concurrency
    return terms.least_concurrency <= measured.concurrency <= most and all(
        1 / terms.lengths_within <= mine / wanted <= terms.lengths_within
        for mine, wanted in (
            (measured.prompt_tokens, asked.prompt_tokens),
            (measured.output_tokens, asked.output_tokens),
        )
    )


def fit_lengths(figure: SpeedFigure, traffic: Traffic) -> SpeedFigure:
    """The figure as it would be for requests as long as those of `traffic`, to compare it.

    The wait for the first token grows with the prompt; the time between tokens and the tokens of
    all requests a second are taken to stay as they are.
    """
    first_s = figure.time_to_first_token_s
    longer = traffic.prompt_tokens / figure.traffic.prompt_tokens
    return replace(
        figure,
        traffic=replace(traffic, concurrency=figure.traffic.concurrency),
        time_to_first_token_s=None if first_s is None else first_s * longer,
    )


def prefer_figure(figures: Iterable[SpeedFigure | None], traffic: Traffic) -> SpeedFigure:
    """The figure of the most trusted origin; of equals the first."""
    found = [figure for figure in figures if figure is not None]
    return min(
        found,
        key=lambda figure: _ORIGINS.index(figure.origin),
        default=unknown_speed(traffic, "nothing was measured or predicted"),
    )


def rank_speed(figure: SpeedFigure, goal: Goal | None, *, tolerance: float = TOLERANCE) -> int:
    """A whole number that is less for the faster of two figures of one traffic.

    For throughput it compares tokens per second, else the time of one answer. Steps are
    logarithmic, `tolerance` wide, so that the order of three figures never contradicts itself.
    """
    if goal == "throughput":
        value = None if not figure.tokens_per_second else 1 / figure.tokens_per_second
    else:
        value = figure.answer_s
    if not value:
        return UNKNOWN_RANK
    return round(log(value) / log(1 + tolerance))


def format_speed(figure: SpeedFigure) -> str:
    """A short phrase with the origin, e.g. `152 tokens/s, first after 44 ms (predicted)`.

    Of an unknown speed the reason is told.
    """
    parts = []
    if figure.traffic.concurrency > 1 and figure.tokens_per_second is not None:
        parts.append(f"{figure.tokens_per_second:,.0f} tokens/s for {figure.traffic.concurrency}")
    elif figure.inter_token_latency_s:
        parts.append(f"{1 / figure.inter_token_latency_s:,.0f} tokens/s")
    if figure.time_to_first_token_s is not None:
        parts.append(f"first after {format_duration(figure.time_to_first_token_s)}")
    origin = f"{figure.origin}, {figure.caveat}" if figure.caveat else figure.origin
    if parts:
        return f"{', '.join(parts)} ({origin})"
    return f"unknown ({figure.source})" if figure.origin == "unknown" else "unknown"
