"""Our need of memory against every requirement that NIM 2.0.12 printed for Llama 3.1 8B.

NIM prints `>=N GB/gpu`, which is its estimate in GiB rounded up, so a figure says no more than that
the need lies in (N - 1, N]; ours must lie there too. It counts the weights, the keys and values of
one sequence in 16 bits whatever the checkpoint declares, and between 1.67 and 1.95 GiB besides
(2.54 to 2.92 GiB with LoRA), as the printed figures allow.
"""

import pytest

from nimctl.catalog import load_catalog
from nimctl.core.memory import Load, Split, make_budget
from nimctl.core.units import GIB
from nimctl.engines import TRAITS

MODEL = "meta/llama-3.1-8b-instruct"
LONGEST = 131_072

PRINTED = [
    ("fp8", False, LONGEST, 27),
    ("fp8", True, LONGEST, 28),
    ("fp8", True, 128_000, 27),
    ("bf16", False, LONGEST, 33),
    ("bf16", False, 81_152, 27),
    ("nvfp4", False, LONGEST, 24),
]
"""Precision, whether with LoRA, `--max-model-len`, and the GB/gpu printed for it."""


def budget_for(precision, lora, context, *, kv_element_bytes=2):
    manifest = load_catalog().find(MODEL)
    artifact = next(p.artifact for p in manifest.profiles if p.artifact.name == precision)
    return make_budget(
        manifest.shape,
        TRAITS["vllm"].memory,
        weight_bytes=artifact.weight_bytes,
        load=Load(context_length=context, sequences=1, kv_element_bytes=kv_element_bytes),
        split=Split(tensor_parallel=1, pipeline_parallel=1, lora=lora),
        free_bytes=32 * GIB,
        total_bytes=32 * GIB,
    )


@pytest.mark.parametrize(("precision", "lora", "context", "printed"), PRINTED)
def test_our_need_rounds_up_to_what_nim_prints(precision, lora, context, printed):
    budget = budget_for(precision, lora, context)
    assert printed - 1 < budget.needed / GIB <= printed
    assert budget.low / GIB <= printed


@pytest.mark.parametrize(("lora", "least", "most"), [(False, 1.667, 1.949), (True, 2.542, 2.917)])
def test_what_we_add_to_weights_and_cache_lies_where_the_printed_figures_allow(lora, least, most):
    budget = budget_for("fp8", lora, LONGEST)
    assert least < (budget.needed - budget.weights - budget.kv_cache) / GIB <= most


def test_where_a_checkpoint_declares_fp8_keys_and_values_we_need_less_than_nim_prints():
    # NIM's 27 GB hold 16 GiB of keys and values; vLLM keeps 8 GiB of them since 0.16
    budget = budget_for("fp8", False, LONGEST, kv_element_bytes=1)
    assert 27 - 8 - 1 < budget.needed / GIB <= 27 - 8
