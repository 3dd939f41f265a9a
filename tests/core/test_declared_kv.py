"""Keys and values are judged in the precision that the checkpoint declares for them."""

from dataclasses import replace

import pytest
from core_cases import FP8, make_gpu, make_hardware, make_manifest, make_profile

from nimctl.catalog import load_catalog
from nimctl.core.engine import InstalledEngine
from nimctl.core.selection import select
from nimctl.core.verdict import Fit
from nimctl.core.wish import Wish
from nimctl.engines import TRAITS

CONTEXT = 65_536
PER_TOKEN = 131_072  # 32 layers x 2 x 8 heads x 128 x 2 bytes
MACHINE = make_hardware(make_gpu())


def choose(profile, machine, *, context, kv_precision=None):
    installed = InstalledEngine(
        name=profile.engine, version="1", origin="test", program=("engine",), devices=("gpu",)
    )
    wish = Wish(context_length=context, concurrency=1, kv_precision=kv_precision)
    return select(make_manifest([profile]), machine, wish, engines=TRAITS, installed=(installed,))


DECLARED = replace(FP8, kv_precision="fp8")


@pytest.mark.parametrize("engine", ["vllm", "tensorrt_llm"])
@pytest.mark.parametrize(
    ("artifact", "asked", "told", "per_token"),
    [
        (FP8, None, None, PER_TOKEN),
        (DECLARED, None, "fp8", PER_TOKEN // 2),
        (DECLARED, "auto", "fp8", PER_TOKEN // 2),
        (FP8, "fp8", "fp8", PER_TOKEN // 2),
        (replace(FP8, kv_precision="fp3"), None, None, PER_TOKEN),
    ],
)
def test_what_is_declared_holds_unless_something_else_is_asked(
    engine, artifact, asked, told, per_token
):
    profile = make_profile(engine=engine, precision="fp8", artifact=artifact)
    plan = choose(profile, MACHINE, context=CONTEXT, kv_precision=asked).chosen.plan
    assert plan.budget.kv_cache == per_token * CONTEXT
    assert plan.kv_precision == told


def test_checkpoints_of_the_catalogue_declare_what_their_publishers_ship():
    artifacts = {
        (model, profile.artifact.name): profile.artifact.kv_precision
        for model in ("nvidia/nemotron-3-super-120b-a12b", "google/gemma-4-31b-it")
        for profile in load_catalog().find(model).profiles
    }
    assert artifacts == {
        ("nvidia/nemotron-3-super-120b-a12b", "bf16"): None,
        ("nvidia/nemotron-3-super-120b-a12b", "fp8"): "fp8",
        ("nvidia/nemotron-3-super-120b-a12b", "nvfp4"): "fp8",
        ("google/gemma-4-31b-it", "bf16"): None,
        ("google/gemma-4-31b-it", "nvfp4"): "fp8",
    }


def test_a_profile_that_fits_only_with_the_declared_precision_is_runnable():
    small = make_hardware(make_gpu(total_gib=24, cc=(8, 9)))
    fits = {}
    for artifact in (DECLARED, FP8):
        profile = make_profile(engine="vllm", precision="fp8", artifact=artifact)
        fits[artifact] = choose(profile, small, context=110_000).verdicts[0].rank.fit
    assert fits == {DECLARED: Fit.RUNNABLE, FP8: Fit.LOW_MEMORY}
