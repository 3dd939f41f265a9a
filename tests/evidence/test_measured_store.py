"""The file that keeps evidence: what comes back, who may read it, and what damage does to it."""

import os
import sqlite3
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from bench_cases import VLLM, make_bench, make_start

from nimctl.errors import InputError
from nimctl.evidence.measured import EvidenceStore
from nimctl.evidence.measured.store import SCHEMA_VERSION


@pytest.fixture
def notes():
    return []


@pytest.fixture
def store(tmp_path, notes):
    return EvidenceStore(tmp_path / "data" / "evidence.db", on_note=notes.append)


def without_id(record):
    return replace(record, id=0)


def test_what_is_kept_comes_back_the_newest_first(store):
    first, second = make_bench(), make_bench(VLLM, concurrency=8)
    bare = replace(first, inter_token_latency=None, user_tokens_per_second=None)
    numbers = [store.record_bench(record) for record in (first, second, bare)]
    found = store.read_benches()
    assert [bench.id for bench in found] == numbers[::-1]
    assert list(map(without_id, found)) == [bare, second, first]


def test_a_start_is_kept_with_its_memory(store):
    start, memory = make_start()
    number = store.record_start(start, (memory,))
    (found,) = store.read_starts()
    assert (found.id, without_id(found)) == (number, start)
    assert list(map(without_id, store.read_memory())) == [memory]
    assert store.read_benches() == ()


def test_of_many_starts_the_newest_stay_with_their_memory(store):
    for second in range(15):
        start, memory = make_start(at_unix_s=float(second))
        store.record_start(start, (memory, replace(memory, part="weights")))
    other, memory = make_start(at_unix_s=0.0, engine_version="0.9")
    store.record_start(other, (memory,))
    times = [start.subject.at_unix_s for start in store.read_starts()]
    assert times == [0.0, *map(float, range(14, 4, -1))]
    assert {record.subject.at_unix_s for record in store.read_memory()} == set(times)


def test_a_file_of_before_starts_were_kept_is_brought_up(store):
    store.record_bench(make_bench())
    for table in list_tables(store.path) - {"bench", "memory"}:
        execute(store.path, f"DROP TABLE {table}")
    execute(store.path, "PRAGMA user_version = 1")
    start, memory = make_start()
    store.record_start(start, (memory,))
    assert len(store.read_starts()) == len(store.read_benches()) == 1


def test_reading_makes_no_file(store):
    assert store.read_benches() == store.read_memory() == store.read_starts() == ()
    assert not store.path.parent.exists()


def test_only_this_user_can_read_it(store):
    old = os.umask(0)
    try:
        store.record_bench(make_bench())
    finally:
        os.umask(old)
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (store.path, store.path.parent)]
    assert modes == [0o600, 0o700]
    assert [path.name for path in store.path.parent.iterdir()] == ["evidence.db"]


def test_benches_are_forgotten_together_or_not_at_all(store):
    numbers = [store.record_bench(make_bench()) for _ in range(3)]
    with pytest.raises(InputError, match="there is no bench 99"):
        store.remove_benches((numbers[0], 99))
    assert len(store.read_benches()) == 3
    store.remove_benches((numbers[0], numbers[2]))
    assert [bench.id for bench in store.read_benches()] == [numbers[1]]
    # a number is never given twice, so that a note about a bench stays true
    assert store.record_bench(make_bench()) == 4


def test_nothing_can_be_forgotten_where_nothing_is(store):
    with pytest.raises(InputError, match="there is no bench 1"):
        store.remove_benches((1,))


DAMAGE = {
    "no database": lambda path: path.write_text("not a database, but long enough to be one" * 99),
    "a hole": lambda path: path.write_bytes(
        (kept := path.read_bytes())[:4096] + b"\xff" * (len(kept) - 4096)
    ),
    "no tables": lambda path: execute(path, "DROP TABLE bench"),
    "another program": lambda path: execute(path, "PRAGMA application_id = 7"),
    "a row": lambda path: execute(path, "UPDATE bench SET time_to_first_token = 'soon'"),
}


def list_tables(path):
    database = sqlite3.connect(path)
    rows = database.execute("SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'")
    names = {name for (name,) in rows}
    database.close()
    return names


def execute(path, statement):
    database = sqlite3.connect(path)
    with database:
        database.execute(statement)
    database.close()


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_is_set_aside_with_a_note_and_evidence_starts_again(store, notes, damage):
    store.record_bench(make_bench())
    damage(store.path)
    assert store.read_benches() == ()
    (note,) = notes
    (aside,) = (p for p in store.path.parent.iterdir() if ".damaged-" in p.name)
    assert str(store.path) in note and aside.name in note
    assert store.record_bench(make_bench(VLLM)) == 1
    assert len(store.read_benches()) == 1


def test_a_damaged_file_stops_no_recording(store, notes):
    store.record_bench(make_bench())
    for _ in range(2):
        DAMAGE["no database"](store.path)
        assert store.record_bench(make_bench()) == 1
    assert len(notes) == 2
    assert len(store.read_benches()) == 1


def test_an_empty_file_is_an_empty_store(store, notes):
    store.path.parent.mkdir()
    store.path.touch()
    assert store.read_benches() == ()
    assert not notes


def test_a_newer_schema_is_refused_and_left_alone(store, notes):
    store.record_bench(make_bench())
    execute(store.path, f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    before = store.path.read_bytes()
    for use in (store.read_benches, lambda: store.record_bench(make_bench())):
        with pytest.raises(InputError, match=f"newer nimctl \\(schema {SCHEMA_VERSION + 1}"):
            use()
    assert store.path.read_bytes() == before
    assert not notes


def test_a_file_in_use_is_said_and_not_taken_for_damaged(store, notes):
    store.record_bench(make_bench())
    other = sqlite3.connect(store.path)
    try:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(InputError, match="locked"):
            store.read_benches()
    finally:
        other.close()
    assert len(store.read_benches()) == 1
    assert not notes


def test_a_place_that_cannot_be_written_is_said(tmp_path, notes):
    (tmp_path / "file").touch()
    store = EvidenceStore(tmp_path / "file" / "evidence.db", on_note=notes.append)
    with pytest.raises(InputError, match="cannot be written"):
        store.record_bench(make_bench())


WRITER = """
import sys
from pathlib import Path
from bench_cases import make_bench
from nimctl.evidence.measured import EvidenceStore

store = EvidenceStore(Path(sys.argv[1]), on_note=print)
for _ in range(20):
    store.record_bench(make_bench())
    store.read_benches()
"""


def test_several_processes_lose_nothing(store, notes):
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", WRITER, str(store.path)]
    writers = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for writer in writers:
        out, _ = writer.communicate(timeout=60)
        assert (writer.returncode, out) == (0, "")
    assert sorted(bench.id for bench in store.read_benches()) == list(range(1, 61))
    assert not notes
