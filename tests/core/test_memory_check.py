"""What a started engine holds, beside what its plan predicted."""

from dataclasses import replace

import pytest
from bench_cases import judge

from nimctl.core.hardware import Gpu, GpuProcess
from nimctl.core.memory import BudgetRule
from nimctl.core.memory_check import (
    PEAK,
    WHOLE,
    check_memory,
    count_gpu_memory,
    describe_surprise,
)

PLAN = judge().chosen.plan
BUDGET = PLAN.budget
FIXED = BudgetRule.FIXED_MARGIN


def test_each_part_that_is_told_stands_beside_its_prediction():
    checks = check_memory(PLAN, FIXED, {"weights": 5, WHOLE: 7, PEAK: 8, "colour": 9})
    assert [(check.part, check.predicted, check.actual) for check in checks] == [
        ("weights", BUDGET.weights, 5),
        (WHOLE, BUDGET.needed, 7),
        (PEAK, BUDGET.needed, 8),
    ]


def test_a_share_is_filled_with_cache():
    plan = replace(PLAN, free_bytes=10 * BUDGET.needed)
    cache, whole = check_memory(plan, BudgetRule.SHARE_OF_TOTAL, {"kv_cache": 1, WHOLE: 2})
    assert whole.predicted == plan.free_bytes - BUDGET.margin
    assert whole.predicted - cache.predicted == BUDGET.needed - BUDGET.kv_cache


@pytest.mark.parametrize("held", [BUDGET.low, BUDGET.needed, BUDGET.high])
def test_inside_the_band_is_no_surprise(held):
    assert describe_surprise(PLAN, FIXED, check_memory(PLAN, FIXED, {WHOLE: held})) is None


@pytest.mark.parametrize("held", [BUDGET.low - 1, BUDGET.high + 1])
def test_outside_of_it_is_one(held):
    told = describe_surprise(PLAN, FIXED, check_memory(PLAN, FIXED, {WHOLE: held}))
    assert told is not None and told.startswith("it holds ") and "predicted were" in told


def test_what_nobody_tells_is_no_surprise():
    assert describe_surprise(PLAN, FIXED, check_memory(PLAN, FIXED, {"weights": 1})) is None


def make_gpus(*free_bytes, holders=()):
    return [
        Gpu(
            index=index,
            memory_free_bytes=free,
            processes=tuple(
                GpuProcess(pid=pid, name=None, memory_bytes=held)
                for place, pid, held in holders
                if place == index
            ),
        )
        for index, free in enumerate(free_bytes)
    ]


def test_the_fullest_gpu_counts_by_the_engines_processes():
    before = make_gpus(100, 100)
    now = make_gpus(20, 40, holders=[(0, 7, 30), (0, 8, 10), (0, 99, 40), (1, 7, 50)])
    assert count_gpu_memory(before, now, (7, 8)) == 50


def test_where_the_driver_knows_no_process_of_ours_what_is_less_free_counts():
    before = make_gpus(100, 100)
    assert count_gpu_memory(before, make_gpus(20, 40, holders=[(0, 99, 80)]), (7,)) == 80
    assert count_gpu_memory(before, make_gpus(110, 100), (7,)) == 0


def test_nobody_tells_of_a_gpu_that_is_gone():
    assert count_gpu_memory(make_gpus(100), [], (7,)) is None
