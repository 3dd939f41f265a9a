"""What stands between a profile and its files: disk, licence, network; and what is chosen then."""

from dataclasses import replace

import pytest
from core_cases import ALL_ENGINES, BF16, Q4, make_gpu, make_hardware, make_manifest, make_profile
from hypothesis import given
from hypothesis import strategies as st

from nimctl.core.selection import require_choice, select
from nimctl.core.source import parse_source_uri
from nimctl.core.supply import Supply
from nimctl.core.verdict import Fit
from nimctl.core.wish import Wish
from nimctl.engines import TRAITS
from nimctl.errors import NothingFitsError

GATED = replace(BF16, gated=True)
MANIFEST = make_manifest(
    (
        make_profile(engine="vllm", precision="bf16", artifact=GATED),
        make_profile(engine="llama.cpp", precision="q4_k_m", artifact=Q4),
    )
)
H100 = make_hardware(make_gpu())
HERE = Supply(
    folder="/cache",
    room_bytes=10**12,
    complete=frozenset(),
    logins=frozenset({"hf"}),
    offline=False,
)


def judge(supply, manifest=MANIFEST, wish=None):
    return select(
        manifest, H100, wish or Wish(), engines=TRAITS, installed=ALL_ENGINES, supply=supply
    )


def find(selection, engine):
    return next(v for v in selection.verdicts if v.profile.engine == engine)


def test_with_room_a_login_and_a_network_nothing_is_said():
    selection = judge(HERE)
    assert {verdict.fit for verdict in selection.verdicts} == {Fit.RUNNABLE}
    assert selection.passed_over is None


def test_a_gate_without_a_login_moves_the_choice_and_says_what_would_be_better():
    selection = judge(replace(HERE, logins=frozenset()))
    assert selection.chosen is find(selection, "llama.cpp")
    assert selection.passed_over is find(selection, "vllm")
    (finding,) = selection.passed_over.findings
    assert (finding.check, finding.fit) == ("licence", Fit.OUT_OF_REACH)
    assert "acme/llama-8b" in finding.message
    assert "HF_TOKEN" in finding.hint
    assert selection.passed_over.plan is not None


def test_a_gate_of_ngc_wants_a_key_of_ngc():
    there = replace(GATED, source=parse_source_uri("ngc://acme/llama-8b:1"))
    manifest = make_manifest([make_profile(engine="vllm", precision="bf16", artifact=there)])
    (verdict,) = judge(HERE, manifest).verdicts
    assert "NGC_API_KEY" in (verdict.findings[0].hint or "")
    assert judge(replace(HERE, logins=frozenset({"ngc"})), manifest).chosen


def test_files_that_are_here_need_no_login_no_room_and_no_network():
    poor = replace(
        HERE, room_bytes=0, logins=frozenset(), offline=True, complete=frozenset({"bf16"})
    )
    selection = judge(poor)
    assert selection.chosen is find(selection, "vllm")
    assert [f.check for f in find(selection, "llama.cpp").findings] == ["offline"]


def test_a_folder_of_this_machine_is_never_out_of_reach():
    local = replace(GATED, source=parse_source_uri("/models/llama-8b"))
    manifest = make_manifest([make_profile(engine="vllm", precision="bf16", artifact=local)])
    poor = replace(HERE, room_bytes=0, logins=frozenset(), offline=True)
    assert judge(poor, manifest).chosen is not None


def test_nothing_in_reach_ends_with_the_reason_and_the_next_step():
    manifest = make_manifest([make_profile(engine="vllm", precision="bf16", artifact=GATED)])
    with pytest.raises(NothingFitsError, match="is gated") as caught:
        require_choice(judge(replace(HERE, logins=frozenset()), manifest))
    assert "HF_TOKEN" in (caught.value.hint or "")


@given(
    room=st.integers(0, 20 * 10**9) | st.none(),
    complete=st.sets(st.sampled_from(["bf16", "q4_k_m"])),
    logins=st.frozensets(st.sampled_from(["hf", "ngc"])),
    offline=st.booleans(),
)
def test_the_disk_objects_exactly_where_what_must_come_is_larger_than_the_room(
    room, complete, logins, offline
):
    supply = Supply(
        folder="/cache",
        room_bytes=room,
        complete=frozenset(complete),
        logins=logins,
        offline=offline,
    )
    for verdict in judge(supply).verdicts:
        artifact = verdict.profile.artifact
        must_come = artifact.name not in complete and not offline
        short = must_come and room is not None and artifact.download_bytes > room
        assert ("disk" in {f.check for f in verdict.findings}) is short
        assert verdict.plan is not None


@given(room=st.integers(0, 20 * 10**9), more=st.integers(0, 20 * 10**9))
def test_more_room_never_hurts(room, more):
    less = {v.profile.id: v.fit for v in judge(replace(HERE, room_bytes=room)).verdicts}
    for verdict in judge(replace(HERE, room_bytes=room + more)).verdicts:
        assert verdict.fit <= less[verdict.profile.id]
