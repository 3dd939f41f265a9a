"""How a figure is distributed: its percentiles."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Percentiles:
    """How a figure is distributed over requests (or over gaps).

    A percentile interpolates linearly between the two nearest ranks, rank = p/100 * (count - 1):
    Hyndman and Fan (1996) type 7, the default of numpy and so of AIPerf.
    """

    unit: str
    count: int
    avg: float
    min: float
    max: float
    p50: float
    p90: float
    p95: float
    p99: float


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The `percent`-th percentile of ascending, non-empty data, as `Percentiles` defines it."""
    rank = percent / 100 * (len(ordered) - 1)
    below = math.floor(rank)
    low, high = ordered[below], ordered[math.ceil(rank)]
    return min(low + (high - low) * (rank - below), high)


def summarize_values(values: Iterable[float | None], unit: str) -> Percentiles | None:
    """The distribution of what is known in `values`; None if nothing is."""
    ordered = sorted(value for value in values if value is not None)
    if not ordered:
        return None
    average = math.fsum(ordered) / len(ordered)
    return Percentiles(
        unit=unit,
        count=len(ordered),
        avg=min(max(average, ordered[0]), ordered[-1]),
        min=ordered[0],
        max=ordered[-1],
        **{f"p{percent}": percentile(ordered, percent) for percent in (50, 90, 95, 99)},
    )
