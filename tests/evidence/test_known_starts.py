"""What failed starts taught: kept in the file of the evidence, and for whom it counts."""

import sqlite3
from dataclasses import replace

import pytest
from bench_cases import CPU, judge, make_bench

from nimctl.core.healing import Concession
from nimctl.evidence.measured import EvidenceStore, recall_concessions, record_concession
from nimctl.evidence.measured.store import SCHEMA_VERSION

SUBJECT = make_bench().subject
VERSIONS = {SUBJECT.engine: SUBJECT.engine_version}
(PLAN,) = (one.plan for one in judge().verdicts if one.profile.id == SUBJECT.profile_id)
SMALLER = Concession(most_context=4096, symptom="out-of-memory-kv", cause="the cache did not fit")
ELSEWHERE = Concession(passed_over=True, eager=True, symptom="glibc-too-old", cause="it is old")


@pytest.fixture
def store(tmp_path):
    return EvidenceStore(tmp_path / "evidence.db", on_note=pytest.fail)


def start(concession=SMALLER, *, free_bytes=PLAN.free_bytes, **changes):
    return record_concession(replace(SUBJECT, **changes), concession, free_bytes=free_bytes)


def recall(*starts, plan=PLAN, hardware=CPU, versions=VERSIONS):
    found = recall_concessions(starts, (plan,), hardware, versions)
    return found[plan.profile.id].concession if found else None


def test_what_was_given_up_comes_back_as_it_was(store):
    for one in (start(), start(ELSEWHERE)):
        store.record_concession(one)
    assert [one.concession for one in store.read_concessions()] == [ELSEWHERE, SMALLER]
    assert recall(*store.read_concessions()) == ELSEWHERE


def test_starts_of_one_model_are_forgotten(store):
    store.record_concession(start())
    store.record_concession(start(model="acme/other"))
    assert store.forget_concessions(SUBJECT.model) == 1
    assert [one.subject.model for one in store.read_concessions()] == ["acme/other"]


def test_nothing_is_forgotten_where_there_is_no_file(store):
    assert store.forget_concessions(SUBJECT.model) == 0
    assert not store.path.exists()


def test_a_file_of_the_schema_before_is_taken_over(store):
    number = store.record_bench(make_bench())
    database = sqlite3.connect(store.path)
    with database:
        database.execute("DROP TABLE concession")
        database.execute("PRAGMA user_version = 2")
    database.close()
    assert store.read_concessions() == ()
    store.record_concession(start())
    assert [bench.id for bench in store.read_benches()] == [number]
    assert SCHEMA_VERSION >= 3


@pytest.mark.parametrize(
    "changes",
    [
        {"fingerprint": "another machine"},
        {"engine_version": "2.0"},
        {"engine": "tensorrt_llm"},
        {"profile_id": "another"},
    ],
)
def test_it_counts_on_such_a_machine_with_that_engine_only(changes):
    assert recall(start()) == SMALLER
    assert recall(start(**changes)) is None


@pytest.mark.parametrize(("times", "counts"), [(1.0, True), (1.05, True), (2.0, False)])
def test_with_more_memory_free_a_lack_of_it_says_nothing(times, counts):
    plan = replace(PLAN, free_bytes=int(PLAN.free_bytes * times))
    assert recall(start(), plan=plan) == (SMALLER if counts else None)
    assert recall(start(ELSEWHERE), plan=plan) == ELSEWHERE
