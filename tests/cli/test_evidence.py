"""`nimctl evidence`, and what was measured in the choices of the other commands."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from bench_cases import make_bench, make_start

from nimctl.core.hardware import hardware_from_json
from nimctl.evidence.measured import EvidenceStore, fingerprint_machine

SMOLLM2 = "huggingfacetb/smollm2-135m-instruct"


@pytest.fixture
def store(tmp_path):
    """Where the program under test keeps its evidence."""
    path = tmp_path / "home" / ".local" / "share" / "nimctl" / "evidence.db"
    return EvidenceStore(path, on_note=pytest.fail)


@pytest.fixture
def this_cpu(run):
    """What a bench of SmolLM2 on this machine is about."""
    document = json.loads(run("select", SMOLLM2, "--json").stdout)
    profile = document["profiles"][0]
    host = document_host(run)
    subject = replace(
        make_bench().subject,
        model=SMOLLM2,
        profile_id=profile["profile_id"],
        profile=profile["description"],
        engine_version=document["engine"]["version"],
        device_name=host["cpu_name"] or host["architecture"],
        threads=min(n for n in (host["physical_cores"], host["usable_cpus"]) if n),
    )
    return replace(make_bench(), subject=subject)


def document_host(run):
    return json.loads(run("list-profiles", SMOLLM2, "--json").stdout)["hardware"]["host"]


def test_with_nothing_kept_it_says_how_to_begin(run):
    result = run("evidence", "ls")
    assert result.returncode == 0
    assert "nimctl bench MODEL" in result.stdout
    assert json.loads(run("evidence", "ls", "--json").stdout)["benches"] == []
    exported = run("evidence", "export")
    assert exported.stdout == ""
    assert "no bench is kept; --json prints starts" in exported.stderr


def test_benches_are_listed_shown_exported_and_forgotten(run, store):
    store.record_bench(make_bench())
    store.record_bench(make_bench(concurrency=8, rate=156.0))
    start, memory = make_start()
    store.record_start(start, (memory,))

    lines = run("evidence", "ls").stdout.splitlines()
    assert lines[1].split()[0] == "2" and "8 x 100+100" in lines[1]
    for part in ("s1 ", "10.0 s", "180.0 MiB", "181.0 MiB"):
        assert part in lines[-1]

    shown = run("evidence", "show", "2").stdout
    for part in ("BENCH 2", "acme/llama-8b", "156.0", "throughput", "inter-token latency"):
        assert part in shown
    document = json.loads(run("evidence", "show", "2", "--json").stdout)
    assert document["counts_for"] == ["throughput"]
    assert document["time_to_first_token"]["p50"] == 400.0

    rows = list(csv.DictReader(io.StringIO(run("evidence", "export").stdout)))
    assert [row["tokens_per_second"] for row in rows] == ["156.0", "62.5"]
    exported = json.loads(run("evidence", "export", "--json").stdout)
    assert [bench["id"] for bench in exported["benches"]] == [2, 1]
    assert exported["memory"][0]["part"] == "needed"
    assert exported["starts"][0]["phases_s"]["loading"] == 8.0

    assert run("evidence", "rm", "2").returncode == 0
    assert [bench.id for bench in store.read_benches()] == [1]


def test_a_start_is_shown_by_phase_and_part(run, store):
    start, memory = make_start()
    store.record_start(start, (memory,))
    shown = run("evidence", "show", "s1").stdout
    for part in ("START s1", "acme/llama-8b", "loading", "8.0 s", "180.0 MiB", "181.0 MiB"):
        assert part in shown
    document = json.loads(run("evidence", "show", "s1", "--json").stdout)
    assert document["memory"]["needed"]["actual_bytes"] == 181 * 2**20
    missing = run("evidence", "show", "s2")
    assert missing.returncode == 2
    assert "there is no start s2" in missing.stderr


def test_what_was_held_here_is_in_the_choice(run, store, this_cpu):
    document = json.loads(run("select", SMOLLM2, "--json").stdout)
    plan = document["profiles"][0]["plan"]
    start, memory = make_start(
        **{name: getattr(this_cpu.subject, name) for name in ("model", "profile_id", "profile")},
        engine_version=this_cpu.subject.engine_version,
        device_name=this_cpu.subject.device_name,
        fingerprint=read_fingerprint(run),
        context_length=plan["context_length"],
        sequences=plan["concurrency"],
    )
    store.record_start(start, (memory,))
    assert "measured here: 181.0 MiB, predicted" in run("select", SMOLLM2).stdout
    again = json.loads(run("select", SMOLLM2, "--json").stdout)["profiles"][0]["plan"]
    assert again["memory_per_device"]["measured_bytes"] == 181 * 2**20
    other = run("select", SMOLLM2, "--context-length", "1024").stdout
    assert "by what it held here with another context" in other


def read_fingerprint(run):
    """Of this machine, as the program sees it."""
    document = json.loads(run("list-profiles", SMOLLM2, "--json").stdout)["hardware"]
    return fingerprint_machine(hardware_from_json(document))


def test_doctor_counts_what_is_kept_and_says_where(run, store):
    store.record_bench(make_bench())
    out = run("doctor").stdout
    assert str(store.path) in out
    assert "benches kept: 1" in out
    document = json.loads(run("doctor", "--json").stdout)
    assert document["evidence"] == {"path": str(store.path), "benches": 1}


@pytest.mark.parametrize("command", [("show", "7"), ("rm", "7")])
def test_a_number_that_is_not_there_is_said(run, store, command):
    store.record_bench(make_bench())
    result = run("evidence", *command)
    assert result.returncode == 2
    assert "there is no bench 7" in result.stderr
    assert "nimctl evidence ls" in result.stderr


def test_a_choice_shows_what_was_measured_elsewhere(run, store, this_cpu):
    store.record_bench(this_cpu)
    assert "62 tokens/s, first after 50 ms (measured elsewhere)" in run("select", SMOLLM2).stdout
    explained = run("select", SMOLLM2, "--explain").stdout
    assert "(measured elsewhere)" in explained
    listed = json.loads(run("list-profiles", SMOLLM2, "--json").stdout)
    origins = {p["description"]: p["speed"]["origin"] for p in listed["profiles"]}
    assert origins[this_cpu.subject.profile] == "measured elsewhere"
    assert set(origins.values()) <= {"measured elsewhere", "unknown"}


@pytest.mark.parametrize("command", [("list-profiles",), ("select", SMOLLM2)])
def test_a_damaged_file_stops_no_command(run, store, command):
    store.record_bench(make_bench())
    store.path.write_text("nothing of a database " * 99)
    result = run(*command)
    assert result.returncode == 0
    assert "is now evidence.db.damaged-" in result.stderr
    again = run(*command)
    assert again.returncode == 0
    assert "damaged" not in again.stderr


def test_without_a_home_folder_every_command_still_runs(run):
    result = run("list-profiles", SMOLLM2, HOME="", XDG_DATA_HOME="relative")
    assert result.returncode == 0
    assert not list(Path().glob("relative"))
