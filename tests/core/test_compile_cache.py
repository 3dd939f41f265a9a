"""Where an engine keeps what it compiles: named by what the code is good for."""

from dataclasses import replace
from pathlib import PurePosixPath

import pytest
from bench_cases import CPU, ENGINES, judge
from core_cases import ALL_ENGINES, PROFILES, make_gpu, make_hardware, make_manifest

from nimctl.core.compile_cache import list_cache_variables, name_compile_cache
from nimctl.core.selection import require_choice, select
from nimctl.core.wish import Wish
from nimctl.engines import TRAITS

FOLDER = PurePosixPath("/cache/compiled")
HOST = CPU.host


def plan_on_gpu(engine):
    like_vllm = next(one for one in PROFILES if one.engine == "vllm")
    sglang = replace(like_vllm, id="5" * 64, engine="sglang")
    hardware, manifest = make_hardware(make_gpu()), make_manifest((*PROFILES, sglang))
    wish = Wish(engine=engine)
    selection = select(manifest, hardware, wish, engines=TRAITS, installed=ALL_ENGINES)
    return require_choice(selection).plan


def plan_on_cpu(engine):
    return next(v.plan for v in judge().verdicts if v.profile.engine == engine)


def name(engine, version, plan, host=HOST):
    installed = replace(ENGINES[0], name=engine, version=version)
    return name_compile_cache(TRAITS[engine], installed, plan, host)


def list_on_gpu(engine, environment=None, **changes):
    plan = replace(plan_on_gpu(engine), **changes)
    return list_cache_variables(TRAITS[engine], plan, FOLDER, environment or {})


def test_another_version_and_another_generation_have_a_folder_of_their_own():
    hopper = plan_on_gpu("vllm")
    ada = replace(hopper, gpus=(replace(hopper.gpus[0], compute_capability=(8, 9)),))
    assert name("vllm", "0.20.0", hopper) == "vllm-0.20.0-sm90"
    assert name("vllm", "0.20.1", hopper) == "vllm-0.20.1-sm90"
    assert name("vllm", "0.20.0", ada) == "vllm-0.20.0-sm89"


def test_on_a_cpu_its_instructions_count():
    plan = plan_on_cpu("vllm")
    first = name("vllm", "0.32.0+cpu", plan)
    assert first.startswith("vllm-0.32.0+cpu-cpu-")
    assert name("vllm", "0.32.0+cpu", plan) == first
    other = replace(HOST, cpu_features=(*HOST.cpu_features, "amx_tile"))
    assert name("vllm", "0.32.0+cpu", plan, other) != first


def test_nothing_is_kept_of_an_unknown_version_or_where_nothing_is_compiled():
    assert name("vllm", None, plan_on_gpu("vllm")) is None
    assert name("llama.cpp", "1.0", plan_on_cpu("llama.cpp")) is None


@pytest.mark.parametrize("engine", sorted(TRAITS))
def test_every_variable_leads_below_the_folder(engine):
    variables = list_on_gpu(engine)
    assert variables
    assert all(PurePosixPath(path).is_relative_to(FOLDER) for path in variables.values())
    assert len(set(variables.values())) == len(variables)


def test_what_the_user_has_set_stays():
    assert "VLLM_CACHE_ROOT" in list_on_gpu("vllm")
    assert "VLLM_CACHE_ROOT" not in list_on_gpu("vllm", {"VLLM_CACHE_ROOT": "/mine"})


def test_tensorrt_llm_tunes_anew_for_another_plan():
    """It takes any file that is there for its own."""
    changes = ({}, {"context_length": 1024}, {"sequences": 2}, {"kv_precision": "fp8"})
    paths = {list_on_gpu("tensorrt_llm", **one)["TLLM_AUTOTUNER_CACHE_PATH"] for one in changes}
    assert len(paths) == 4
