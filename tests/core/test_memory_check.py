"""What a started engine holds, beside what its plan predicted."""

from dataclasses import replace

import pytest
from bench_cases import judge

from nimctl.core.memory import BudgetRule
from nimctl.core.memory_check import PEAK, WHOLE, check_memory, describe_surprise

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
