"""Real starts: their phases, their memory beside the prediction, and what the next start knows."""

import json

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PHASES = ["starting", "loading", "allocating", "warming", "ready"]


def read_start(server):
    """The events of a start, without those of its progress."""
    events = []
    for line in server.process.stdout:
        event = json.loads(line)
        if event["event"] != "progress":
            events.append(event)
        if event["event"] == "ready":
            return events
    raise AssertionError(server.process.stderr.read())


@pytest.fixture
def no_evidence(tmp_path):
    return {"XDG_DATA_HOME": str(tmp_path / "data")}


def test_the_second_start_knows_how_long_the_first_took(start_server, nimctl, no_evidence):
    first = read_start(start_server(**no_evidence))
    phases = [event for event in first if event["event"] == "phase"]
    assert [event["phase"] for event in phases if event["phase"] != "resolving"] == PHASES
    assert not any("expected_s" in event for event in phases)
    took_s = first[-1]["phases_s"]
    assert list(took_s) == PHASES[:-1]

    second = read_start(start_server(**no_evidence))
    expected_s = {e["phase"]: e.get("expected_s") for e in second if e["event"] == "phase"}
    assert {phase: expected_s[phase] for phase in took_s} == took_s

    kept = json.loads(nimctl("evidence", "ls", "--json", **no_evidence).stdout)
    assert [start["phases_s"] for start in kept["starts"]][-1] == took_s


def test_its_memory_is_as_predicted_and_is_named_from_then_on(start_server, nimctl, no_evidence):
    memory = read_start(start_server(**no_evidence))[-1]["memory"]
    for part in ("weights", "kv_cache", "activations"):
        told = memory[part]
        assert told["actual_bytes"] == pytest.approx(told["predicted_bytes"], rel=0.005)
    select = ("select", "huggingfacetb/smollm2-135m-instruct", "--json")
    plan = json.loads(nimctl(*select, **no_evidence).stdout)["profiles"][0]["plan"]
    sizes = plan["memory_per_device"]
    held_bytes = memory["needed"]["actual_bytes"]
    assert sizes["measured_bytes"] == held_bytes
    assert sizes["needed_low_bytes"] < held_bytes < sizes["needed_high_bytes"]
    assert memory["peak"]["actual_bytes"] >= held_bytes
