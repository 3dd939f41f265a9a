"""What a plan predicts of an engine's memory, beside what a started engine holds."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from nimctl.core.hardware import Gpu
from nimctl.core.memory import BudgetRule
from nimctl.core.plan import Plan
from nimctl.core.units import format_bytes

WHOLE = "needed"
"""The part that is everything the engine takes of a device."""

PEAK = "peak"
"""The most it took at one time on the way to its first token."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryCheck:
    """One part of an engine's memory on the fullest device, in bytes."""

    part: str
    predicted: int
    actual: int


def check_memory(
    plan: Plan, rule: BudgetRule, actual: Mapping[str, int]
) -> tuple[MemoryCheck, ...]:
    """Each part that is both predicted and told.

    An engine that takes a share of the device fills it with its cache, whatever was planned to be
    in that; what it is predicted to find room for there is the share without everything else.

    Args:
        rule: How the engine decides how much it takes of the plan's device.
        actual: Bytes by part: those of `MemoryBudget`, `WHOLE` and `PEAK`.
    """
    budget = plan.budget
    whole, cache = budget.needed, budget.kv_cache
    if rule is not BudgetRule.FIXED_MARGIN:
        whole = plan.free_bytes - budget.margin
        cache = whole - (budget.needed - budget.kv_cache)
    predicted = {
        "weights": budget.weights,
        "kv_cache": cache,
        "activations": budget.activations,
        "graphs": budget.graphs,
        WHOLE: whole,
        PEAK: whole,
    }
    return tuple(
        MemoryCheck(part=part, predicted=predicted[part], actual=actual[part])
        for part in predicted
        if part in actual
    )


def count_gpu_memory(
    before: Iterable[Gpu], now: Iterable[Gpu], pids: Collection[int]
) -> int | None:
    """Bytes an engine holds of the fullest of its GPUs; None where nobody tells.

    By process, as the driver tells; in a container, where it knows no process of ours, by how much
    less is free than before the start.

    Args:
        before: Its GPUs before the start.
        now: All GPUs as they are.
        pids: Its processes.
    """
    there = {gpu.index: gpu for gpu in now}
    held = []
    for gpu in before:
        mine = there.get(gpu.index)
        if mine is None or mine.memory_free_bytes is None or gpu.memory_free_bytes is None:
            continue
        by_process = sum(one.memory_bytes or 0 for one in mine.processes if one.pid in pids)
        held.append(by_process or max(gpu.memory_free_bytes - mine.memory_free_bytes, 0))
    return max(held, default=None)


def describe_surprise(plan: Plan, rule: BudgetRule, checks: tuple[MemoryCheck, ...]) -> str | None:
    """What the engine took where that is outside of the predicted band; None where it is inside.

    Only of engines that take what was planned: of one that takes a share there is no band.
    """
    whole = next((check.actual for check in checks if check.part == WHOLE), None)
    budget = plan.budget
    if whole is None or rule is not BudgetRule.FIXED_MARGIN or budget.low <= whole <= budget.high:
        return None
    low, high = map(format_bytes, (budget.low, budget.high))
    return f"it holds {format_bytes(whole)}, predicted were {low} to {high}"
