"""What the published packages of an engine run on: GPU generations, hosts and drivers."""

from dataclasses import replace
from itertools import pairwise

import pytest
from core_cases import BF16, make_gpu, make_hardware, make_manifest, make_profile

from nimctl.core.engine import InstalledEngine, find_driver_major
from nimctl.core.selection import select
from nimctl.core.wish import Wish
from nimctl.engines import TRAITS

PROFILES = {
    name: make_profile(engine=name, precision="fp16", artifact=BF16)
    for name in ("vllm", "tensorrt_llm")
}


def object_to(engine, version, capability, *, architecture="x86_64", driver="580.65.06", cuda=None):
    """The objections to an installed engine's build, as (check, need, have, hint)."""
    gpu = replace(make_gpu(), compute_capability=capability)
    hardware = make_hardware(gpu, driver=driver)
    host = replace(hardware.host, architecture=architecture)
    hardware = replace(hardware, host=host, cuda_version=cuda)
    installed = InstalledEngine(
        name=engine, version=version, origin="test", program=(), devices=("gpu",)
    )
    selection = select(
        make_manifest([PROFILES[engine]]), hardware, Wish(), engines=TRAITS, installed=[installed]
    )
    return {
        finding.check: (finding.need, finding.have, finding.hint)
        for verdict in selection.verdicts
        for finding in verdict.findings
        if finding.check in ("driver", "engine-build")
    }


@pytest.mark.parametrize("traits", TRAITS.values(), ids=lambda one: one.name)
def test_the_table_is_in_order_and_agrees_with_the_oldest_driver(traits):
    assert all(older.since < newer.since for older, newer in pairwise(traits.builds))
    assert all(older.cuda <= newer.cuda for older, newer in pairwise(traits.builds))
    if traits.builds:
        assert traits.driver_major == min(build.driver_major for build in traits.builds)


@pytest.mark.parametrize(
    ("engine", "version", "capability", "architecture"),
    [
        ("vllm", "0.33.0", (7, 5), "x86_64"),  # T4
        ("vllm", "0.19.1", (7, 0), "x86_64"),  # V100
        ("vllm", "0.19.1", (8, 6), "x86_64"),  # through the code for 8.0
        ("vllm", "0.33.0", (12, 1), "aarch64"),  # GB10, through the code for 12.0
        ("vllm", "0.20.0", (11, 0), "aarch64"),  # Jetson Thor
        ("vllm", "0.33.0", (10, 3), "aarch64"),  # GB300
        ("tensorrt_llm", "1.2.1", (12, 1), "aarch64"),
        ("tensorrt_llm", "1.0.0", (8, 9), "x86_64"),
    ],
)
def test_a_generation_a_package_has_code_for_is_no_objection(
    engine, version, capability, architecture
):
    assert not object_to(engine, version, capability, architecture=architecture)


@pytest.mark.parametrize(
    ("engine", "version", "capability", "architecture", "hint"),
    [
        ("vllm", "0.33.0", (7, 0), "x86_64", "install vLLM before 0.20"),
        ("vllm", "0.9.1", (12, 0), "x86_64", "install vLLM 0.20 or newer"),
        ("vllm", "0.8.5", (10, 0), "x86_64", "install vLLM 0.20 or newer"),
        ("vllm", "0.19.1", (11, 0), "aarch64", "install vLLM 0.20 or newer"),
        ("vllm", "0.33.0", (8, 7), "aarch64", "install vLLM before 0.20"),
        ("vllm", "0.10.1", (9, 0), "aarch64", "install vLLM 0.20 or newer"),
        ("tensorrt_llm", "1.2.1", (7, 5), "x86_64", None),
        ("tensorrt_llm", "1.2.1", (11, 0), "aarch64", None),
        ("tensorrt_llm", "1.2.1", (8, 0), "aarch64", None),
        ("tensorrt_llm", None, (8, 7), "aarch64", None),
    ],
)
def test_a_generation_without_code_is_named_with_the_build_that_has_it(
    engine, version, capability, architecture, hint
):
    found = object_to(engine, version, capability, architecture=architecture)
    need, _, found_hint = found["engine-build"]
    assert need == "sm_{}{}".format(*capability)
    assert found_hint == hint


def test_what_somebody_built_on_their_own_is_not_judged_by_the_packages():
    for version in ("0.20.1.dev3+gabc1234", "0.33.0+jetson", "unknown"):
        assert not object_to("vllm", version, (8, 7), architecture="aarch64")
        assert "driver" in object_to("vllm", version, (8, 0), driver="515.48.07")


def test_a_release_candidate_is_judged_as_its_release():
    assert "engine-build" in object_to("tensorrt_llm", "1.2.0rc4", (7, 5))
    assert "engine-build" in object_to("vllm", "0.8.5.post1", (12, 0))


def test_a_hint_of_another_build_holds_when_followed():
    *_, hint = object_to("vllm", "0.33.0", (7, 0))["engine-build"]
    assert hint == "install vLLM before 0.20"
    assert not object_to("vllm", "0.19.1", (7, 0))


def test_the_driver_an_engine_needs_follows_from_its_version():
    need, have, hint = object_to("vllm", "0.33.0", (8, 9), driver="550.90.07")["driver"]
    assert (need, have) == ("580", "550.90.07")
    assert hint == "install NVIDIA driver 580 or newer, or vLLM before 0.20"
    assert not object_to("vllm", "0.19.1", (8, 9), driver="550.90.07")
    assert not object_to("vllm", "0.33.0+cu129", (8, 9), driver="550.90.07")
    assert not object_to("vllm", None, (8, 9), driver="550.90.07")
    assert "driver" in object_to("tensorrt_llm", "1.2.1", (8, 9), driver="570.86.15")
    assert not object_to("tensorrt_llm", "1.1.0", (8, 9), driver="570.86.15")
    assert "driver" in object_to("vllm", None, (11, 0), architecture="aarch64", driver="540.4.0")


def test_a_compatibility_package_stands_in_for_a_newer_driver():
    assert find_driver_major("535.54.03", (12, 2)) == 535
    assert find_driver_major("535.54.03", (13, 0)) == 580
    assert find_driver_major(None, (13, 0)) is None
    assert not object_to("vllm", "0.33.0", (9, 0), driver="535.54.03", cuda=(13, 0))
