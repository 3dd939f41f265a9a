"""What a start leaves: memory beside the prediction, and evidence only of what was planned."""

import pytest
from core_cases import ALL_ENGINES, PROFILES, make_hardware, make_manifest

from nimctl.cli.choosing import Choice, launch_of
from nimctl.cli.known_speeds import read_memory, read_starts
from nimctl.cli.started import StartEvidence
from nimctl.core.selection import require_choice, select
from nimctl.core.startup import Phase
from nimctl.core.wish import Wish
from nimctl.engines import TRAITS
from nimctl.server import EngineMemory, HeldMemory, Ready, StartTimes
from nimctl.settings import read_settings

GIB = 2**30
LINE = "load_tensors:   CPU_Mapped model buffer size =  1024.00 MiB"


@pytest.fixture
def start(tmp_path, monkeypatch):
    """What is known of a start with some settings and arguments."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    hardware = make_hardware()

    def start(*engine_args, **variables):
        selection = select(
            make_manifest(PROFILES),
            hardware,
            Wish(engine="llama.cpp"),
            engines=TRAITS,
            installed=ALL_ENGINES,
        )
        verdict = require_choice(selection)
        choice = Choice(
            manifest=make_manifest(PROFILES),
            selection=selection,
            verdict=verdict,
            plan=verdict.plan,
            installed=next(one for one in ALL_ENGINES if one.name == "llama.cpp"),
            settings=read_settings({}, variables, tmp_path),
            hardware=hardware,
        )
        launch = launch_of(choice, tmp_path, tmp_path, engine_args)
        return StartEvidence(choice, launch, engine_args)

    return start


def make_ready(held_bytes):
    times = StartTimes(load_s=8.0, first_token_s=1.0, phases_s={Phase.LOADING: 8.0})
    memory = EngineMemory(lines=(LINE,), host=HeldMemory(now=held_bytes, peak=held_bytes))
    return Ready(url="http://u", times=times, names=("toy",), memory=memory)


def test_a_start_is_kept_and_tells_the_next_one(start):
    first = start()
    assert first.expected_s == {}
    started = first.take(make_ready(GIB))
    assert {check.part: check.actual for check in started.checks} == {
        "weights": GIB,
        "needed": GIB,
        "peak": GIB,
    }
    assert start().expected_s == {Phase.LOADING: 8.0}
    assert {record.part for record in read_memory()} == {"weights", "needed", "peak"}


def test_what_is_outside_of_the_band_is_told(start):
    told = start().take(make_ready(GIB)).surprise
    assert told.startswith("it holds 1.0 GiB, predicted were ")


@pytest.mark.parametrize(
    ("engine_args", "variables"),
    [
        (("--ubatch-size", "64"), {}),
        ((), {"NIMCTL_ENGINE_ARGS": "--ubatch-size 64"}),
    ],
)
def test_own_arguments_are_no_evidence_of_the_plan(start, engine_args, variables):
    start().take(make_ready(GIB))
    own = start(*engine_args, **variables)
    assert own.expected_s == {}
    assert own.take(make_ready(GIB)).checks
    assert len(read_starts()) == 1
