"""What a plan gives up after a failure: never what was asked for, and not without end."""

from dataclasses import replace

import pytest
from core_cases import ALL_ENGINES, PROFILES, make_gpu, make_hardware, make_manifest
from hypothesis import given
from hypothesis import strategies as st

from nimctl.core.healing import (
    MOST_NEW_PLANS,
    OF_MEMORY,
    REMEDIES,
    Concession,
    Failure,
    compare_plans,
    hold_back,
    limit_wish,
    list_concessions,
    pass_over,
)
from nimctl.core.placement import LEAST_CONTEXT
from nimctl.core.selection import require_choice, select
from nimctl.core.units import GIB
from nimctl.core.verdict import Fit
from nimctl.core.wish import Wish
from nimctl.engines import TRAITS, symptoms

MANIFEST = make_manifest(PROFILES)
H100 = make_hardware(make_gpu())
TABLES = (symptoms.VLLM, symptoms.TENSORRT_LLM, symptoms.LLAMA_CPP, (symptoms.FELL_TO_CPU,))
KNOWN = {one.code for table in TABLES for one in table}


def choose(wish, hardware=H100):
    return select(MANIFEST, hardware, wish, engines=TRAITS, installed=ALL_ENGINES)


def fail(symptom, *, detail=None, given_up=None, plan=None, **wish):
    asked = Wish(engine="vllm", **wish)
    plan = plan or require_choice(choose(asked)).plan
    failure = Failure(
        wish=asked,
        plan=plan,
        given_up=given_up or Concession(),
        symptom=symptom,
        cause="it failed",
        detail=detail,
        may_run_eagerly=TRAITS[plan.profile.engine].runs_eagerly,
    )
    return plan, list_concessions(failure)


def test_every_remedy_is_for_a_failure_that_is_known():
    assert KNOWN.issuperset(REMEDIES)
    assert OF_MEMORY.issubset(REMEDIES)


@pytest.mark.parametrize("symptom", sorted(REMEDIES))
def test_what_is_given_up_says_why(symptom):
    _, given_up = fail(symptom)
    assert given_up
    assert all((one.symptom, one.cause) == (symptom, "it failed") for one in given_up)


@pytest.mark.parametrize("symptom", ["unknown-argument", "weights-missing", "disk-full", ""])
def test_nothing_is_given_up_for_what_the_user_must_mend(symptom):
    assert fail(symptom)[1] == ()


def test_the_context_is_what_the_engine_says_fits_in_steps():
    _, (first, *_) = fail("kv-cache-too-small", detail="maximum model length is 34736")
    assert first.most_context == 34_560


def test_a_context_that_is_too_short_is_not_tried():
    _, given_up = fail("kv-cache-too-small", detail="maximum model length is 1000")
    assert [one.passed_over for one in given_up] == [True]


@pytest.mark.parametrize(
    ("wish", "on_cpu"),
    [({"allow_cpu": True}, True), ({}, False), ({"allow_cpu": True, "gpus": (0,)}, False)],
)
def test_the_cpu_computes_where_that_is_allowed_and_no_gpu_was_named(wish, on_cpu):
    asked = Wish(engine="llama.cpp", **wish)
    plan = require_choice(choose(asked)).plan
    assert plan.device == "gpu"
    first = fail("fell-to-cpu", plan=plan, **wish)[1][0]
    assert (first.on_cpu, first.passed_over) == (on_cpu, not on_cpu)
    after = require_choice(choose(limit_wish(asked, plan, first))).plan
    assert after.device == ("cpu" if on_cpu else "gpu")
    if on_cpu:
        assert "on GPU 0 -> CPU" in map(str, compare_plans(plan, after))


@given(
    symptom=st.sampled_from(sorted(REMEDIES)),
    context=st.none() | st.integers(4096, 65_536),  # four of those fit
    concurrency=st.none() | st.integers(1, 4),
    profile=st.none() | st.just("vllm-fp8-tp1-pp1"),
)
def test_what_was_asked_for_is_never_given_up(symptom, context, concurrency, profile):
    wish = {"context_length": context, "concurrency": concurrency, "profile": profile}
    plan, given_up = fail(symptom, **wish)
    for one in given_up:
        limited = limit_wish(Wish(engine="vllm", **wish), plan, one)
        assert context in (None, limited.context_length)
        assert concurrency in (None, limited.concurrency)
        assert not (profile and one.passed_over)


@pytest.mark.parametrize("symptom", sorted(OF_MEMORY))
def test_a_share_of_memory_that_was_asked_for_is_not_lowered(symptom):
    assert all(one.spare_bytes == 0 for one in fail(symptom, memory_share=0.5)[1])


@given(symptom=st.sampled_from(sorted(OF_MEMORY)), sequences=st.integers(1, 64))
def test_each_new_plan_is_smaller_and_there_is_a_last_one(symptom, sequences):
    plan, _ = fail(symptom)
    plan, known = replace(plan, sequences=sequences), Concession()
    for _ in range(20):
        _, given_up = fail(symptom, plan=plan, given_up=known)
        known, smaller = next(
            ((one, after) for one in given_up if compare_plans(plan, after := shrink(plan, one))),
            (None, None),
        )
        if known is None:
            return
        assert smaller.context_length >= LEAST_CONTEXT and smaller.sequences >= 1
        plan = smaller
    raise AssertionError("it never ends")


def shrink(plan, concession):
    """The plan with the size that is left."""
    return replace(
        plan,
        context_length=min(concession.most_context or plan.context_length, plan.context_length),
        sequences=min(concession.most_sequences or plan.sequences, plan.sequences),
    )


def test_memory_is_left_free_on_every_gpu_and_more_each_time():
    plan, (first, *_) = fail("out-of-memory-graphs")
    assert first.spare_bytes == plan.total_bytes // 20
    _, (second, *_) = fail("out-of-memory-graphs", given_up=first)
    assert second.spare_bytes == 2 * first.spare_bytes
    held = hold_back(H100, first.spare_bytes)
    assert held.gpus[0].memory_free_bytes == H100.gpus[0].memory_free_bytes - first.spare_bytes
    assert hold_back(H100, 0) is H100
    smaller = require_choice(choose(Wish(engine="vllm"), held)).plan
    (difference,) = (one for one in compare_plans(plan, smaller) if one.what == "memory to use")
    assert str(difference) == "memory to use 79.0 GiB -> 75.0 GiB"


def test_graphs_are_given_up_once_and_only_where_an_engine_can():
    plan, given_up = fail("graph-capture-failed")
    assert [one.eager for one in given_up] == [True, False]
    eager = replace(plan, eager=True)
    assert [str(one) for one in compare_plans(plan, eager)] == ["graphs and compilation on -> off"]
    assert [one.passed_over for one in fail("graph-capture-failed", plan=eager)[1]] == [True]


def test_a_profile_that_did_not_start_stands_behind_with_the_reason():
    before = choose(Wish())
    first = require_choice(before)
    past = {first.profile.id: Concession(passed_over=True, cause="it has no kernels")}
    after = pass_over(before, past)
    assert require_choice(after).profile == before.runner_up.profile
    (verdict,) = (one for one in after.verdicts if one.profile == first.profile)
    assert verdict.fit is Fit.INCOMPATIBLE
    assert verdict.findings[-1].message == "it did not start here: it has no kernels"
    asked = choose(Wish(profile=first.profile.id))
    assert require_choice(pass_over(asked, past)).profile == first.profile


def test_a_machine_that_differs_by_a_little_memory_makes_no_new_plan():
    plan, _ = fail("memory-not-free")
    assert compare_plans(plan, replace(plan, free_bytes=plan.free_bytes - GIB)) == ()
    assert MOST_NEW_PLANS == 4
