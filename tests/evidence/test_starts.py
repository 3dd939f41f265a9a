"""What earlier starts tell of the next one: its phases, and the memory it will hold."""

from dataclasses import replace

import pytest
from bench_cases import CPU, LLAMA_CPP, judge, make_bench, make_start

from nimctl.core.verdict import Fit
from nimctl.evidence.measured import expect_phases, use_memory

VERSIONS = {"llama.cpp": "1.0", "vllm": "1.0"}
SUBJECT = make_bench().subject
PLAN = next(v.plan for v in judge().verdicts if v.profile.id == LLAMA_CPP.id)


def make_starts(*loading_s, **changes):
    """Starts that took so long to load, the newest first."""
    return [make_start(phases_s={"loading": one}, **changes)[0] for one in loading_s]


def test_the_lower_median_of_the_newest_three_is_expected():
    assert expect_phases(make_starts(4.0, 3.0, 9.0, 60.0), SUBJECT) == {"loading": 4.0}


def test_the_second_start_is_not_expected_to_compile_as_long_as_the_first():
    cold, _ = make_start(phases_s={"compiling": 300.0})
    warm, _ = make_start(phases_s={"compiling": 20.0})
    assert expect_phases([warm, cold], SUBJECT) == {"compiling": 20.0}


def test_another_version_counts_only_while_there_is_none_of_this():
    other = make_starts(60.0, engine_version="0.9")
    assert expect_phases(other, SUBJECT) == {"loading": 60.0}
    assert expect_phases([*other, *make_starts(5.0)], SUBJECT) == {"loading": 5.0}


@pytest.mark.parametrize(
    "changes", [{"fingerprint": "elsewhere"}, {"profile_id": "other"}, {"threads": 64}]
)
def test_other_machines_and_profiles_tell_nothing(changes):
    assert expect_phases(make_starts(60.0, **changes), SUBJECT) == {}


def use(*records, plan_ok=True, selection=None):
    return use_memory(
        selection or judge(), CPU, VERSIONS, records, takes_as_planned=lambda plan: plan_ok
    )


def hold(held_bytes, **changes):
    _, memory = make_start()
    return replace(
        memory,
        subject=replace(memory.subject, **changes),
        predicted_bytes=PLAN.budget.needed,
        actual_bytes=held_bytes,
    )


def find(selection):
    return next(v for v in selection.verdicts if v.profile.id == LLAMA_CPP.id)


def test_what_it_held_here_is_named_beside_the_prediction():
    budget = find(use(hold(900), hold(800))).plan.budget
    assert budget.measured == 900
    assert (budget.low, budget.high) == (PLAN.budget.low, PLAN.budget.high)


def test_with_another_context_the_band_follows_by_how_much_it_was_off():
    off = 20 * 2**20
    held = hold(PLAN.budget.needed + off, context_length=PLAN.context_length // 2)
    budget = find(use(held)).plan.budget
    before = PLAN.budget
    assert budget.measured is None and budget.calibrated_by == 1
    assert budget.low < before.needed + off < budget.high
    assert budget.high - budget.low < before.high - before.low


def test_what_held_more_than_is_free_is_no_choice():
    selection = use(hold(PLAN.free_bytes + 1))
    verdict = find(selection)
    assert (verdict.fit, verdict.plan) == (Fit.LOW_MEMORY, None)
    assert verdict.findings[-1].check == "memory-measured"
    assert selection.chosen.profile.id != LLAMA_CPP.id
    assert [v.rank for v in selection.verdicts] == sorted(v.rank for v in selection.verdicts)


@pytest.mark.parametrize(
    "changes",
    [{"fingerprint": "elsewhere"}, {"engine_version": "0.9"}, {"kv_precision": "q8_0"}],
)
def test_other_machines_versions_and_precisions_tell_nothing(changes):
    assert find(use(hold(900, **changes))).plan == PLAN


def test_an_engine_that_takes_a_share_tells_nothing():
    assert find(use(hold(PLAN.free_bytes + 1), plan_ok=False)).plan == PLAN
