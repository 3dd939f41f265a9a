"""The memory's bandwidth: measured for real, kept once per machine, and never a reason to fail."""

import json
import threading
from dataclasses import replace

import pytest

from nimctl.core.hardware import Host
from nimctl.core.units import GIB, MIB
from nimctl.probe import BandwidthRecord, parse_machine, read_machine
from nimctl.probe.bandwidth import can_measure, count_read_bytes, measure_bandwidth

HOST = Host(
    system="Linux",
    architecture="x86_64",
    cpu_name="Test CPU",
    physical_cores=2,
    usable_cpus=1,
    memory_available_bytes=8 * GIB,
)
TOO_SMALL = replace(HOST, memory_available_bytes=256 * MIB)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "memory-bandwidth.json"


def keep(path, bytes_s, host=HOST):
    """A figure on record, as a measurement before would have left it."""
    facts = ("cpu_name", "architecture", "physical_cores", "usable_cpus", "cpu_quota")
    machine = {name: getattr(host, name) for name in facts}
    line = {"machine": machine, "bytes_s": bytes_s, "threads": 1}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"schema": "nimctl-memory-bandwidth/1", "machines": [line]}))


def test_memory_is_read_for_real():
    # From the slowest single board to the widest server.
    assert 0.2e9 < measure_bandwidth(2) < 2e12


def test_a_machine_is_measured_once(path):
    first = BandwidthRecord(path=path).find(HOST)
    assert first["bytes_s"] > 0.2e9 and first["threads"] == 1
    assert BandwidthRecord(path=path).find(HOST) == first
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_another_machine_of_the_same_home_has_a_figure_of_its_own(path):
    keep(path, 5e9)
    other = replace(HOST, cpu_quota=1.5)
    assert BandwidthRecord(path=path).find(other)["bytes_s"] != 5e9
    assert BandwidthRecord(path=path).find(HOST) == {"bytes_s": 5e9, "threads": 1}


@pytest.mark.parametrize(("before", "stays"), [(1.0, False), (1e15, True)])
def test_measuring_again_keeps_the_higher_figure(path, before, stays):
    keep(path, before)
    assert (BandwidthRecord(path=path, again=True).find(HOST)["bytes_s"] == before) == stays
    assert (BandwidthRecord(path=path).find(HOST)["bytes_s"] == before) == stays


def test_a_record_that_can_neither_be_read_nor_written_stops_nothing(tmp_path):
    (tmp_path / "state").write_text("a file where the folder should be")
    record = BandwidthRecord(path=tmp_path / "state" / "memory-bandwidth.json")
    assert record.find(HOST)["bytes_s"] > 0
    assert BandwidthRecord(path=None).find(TOO_SMALL) is None


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"schema": "nimctl-memory-bandwidth/1", "machines": [{"bytes_s": 1}, 7]}'],
)
def test_a_damaged_record_is_no_record(path, text):
    path.parent.mkdir()
    path.write_text(text)
    assert BandwidthRecord(path=path).find(TOO_SMALL) is None


def test_several_writers_leave_a_whole_file(path):
    keep(path, 5e9)
    records = [BandwidthRecord(path=path, again=True) for _ in range(3)]
    writers = [threading.Thread(target=record.find, args=(HOST,)) for record in records]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(json.loads(path.read_text())["machines"]) == 1
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_little_memory_is_left_alone():
    assert can_measure("Linux", 2, GIB) and not can_measure("Linux", 2, 511 * MIB)
    assert not can_measure("Linux", 2, None) and not can_measure("Windows", 2, 64 * GIB)
    assert count_read_bytes(1) == count_read_bytes(2) == 64 * MIB
    assert count_read_bytes(64) == 512 * MIB


def test_it_is_a_fact_of_the_machine_with_its_origin(path):
    plain = read_machine()
    assert parse_machine(plain, {}).host.memory_bandwidth_bytes_s is None
    host = parse_machine(plain, {}).host
    keep(path, 12.5e9, host)
    hardware = parse_machine(read_machine(BandwidthRecord(path=path)), {})
    assert hardware.host.memory_bandwidth_bytes_s == 12.5e9
    (origin,) = (o for o in hardware.origins if o.fact == "host.memory_bandwidth_bytes_s")
    assert origin.source == "measured here, threads: 1"
