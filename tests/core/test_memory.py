"""The memory formulas against figures that others published or printed."""

from dataclasses import replace

import pytest
from core_cases import SHAPE
from hypothesis import given
from hypothesis import strategies as st

from nimctl.core.manifest import KvLayers, LatentLayers, StateLayers
from nimctl.core.memory import (
    GraphActivations,
    Load,
    Split,
    count_kv_bytes,
    count_kv_bytes_per_token,
    count_memory_share,
    make_budget,
)
from nimctl.core.units import GIB, MIB
from nimctl.engines import TRAITS

SMOLLM2 = replace(
    SHAPE,
    hidden_size=576,
    feed_forward_size=1536,
    attention_heads=9,
    vocab_size=49_152,
    kv=(KvLayers(layers=30, kv_heads=3, head_dim=64),),
)
ALONE = Split(tensor_parallel=1, pipeline_parallel=1, lora=False)


def count(shape, context_length, sequences=1, element_bytes=2, tensor_parallel=1, window_spare=0):
    load = Load(context_length=context_length, sequences=sequences, kv_element_bytes=element_bytes)
    split = replace(ALONE, tensor_parallel=tensor_parallel)
    return count_kv_bytes(shape, load, split, window_spare=window_spare)


def test_llama_8b_keeps_128_kib_a_token():
    assert count_kv_bytes_per_token(SHAPE) == 131_072


def test_llama_8b_keeps_4_gib_for_32768_tokens():
    assert count(SHAPE, 32_768) == 4 * GIB


def test_smollm2_matches_what_llama_cpp_prints():
    # `llama_kv_cache: size = 180.00 MiB (2048 cells, 30 layers, 4/4 seqs)`, 95.62 MiB in q8_0
    assert count(SMOLLM2, 2048, sequences=4) == 180 * MIB
    assert count(SMOLLM2, 8192, element_bytes=34 / 32) == pytest.approx(95.62 * MIB, rel=1e-3)


def test_smollm2_matches_what_vllm_prints():
    # 2 GiB of cache on vLLM's CPU build: `93,184 tokens`, rounded down to blocks of 128
    assert 2 * GIB // count_kv_bytes_per_token(SMOLLM2) // 128 * 128 == 93_184


@pytest.mark.parametrize(
    ("hidden", "feed_forward", "heads", "head_dim", "context", "batch", "printed_mib"),
    [
        (576, 1536, 9, 64, 2048, 512, 16.64),
        (576, 1536, 9, 64, 8192, 512, 22.64),
        (576, 1536, 9, 64, 2048, 128, 4.16),
        (576, 1536, 9, 64, 8192, 2048, 90.57),
        (1024, 2816, 16, 64, 8192, 512, 34.52),
        (1024, 4096, 16, 64, 2048, 256, 18.01),
        (2048, 5632, 32, 64, 2048, 512, 55.02),
        (1024, 1024, 16, 128, 2048, 512, 20.02),
        (2048, 8192, 16, 128, 8192, 512, 76.02),
    ],
)
def test_llama_cpps_compute_buffer_matches_what_it_prints(
    hidden, feed_forward, heads, head_dim, context, batch, printed_mib
):
    shape = replace(
        SMOLLM2,
        hidden_size=hidden,
        feed_forward_size=feed_forward,
        attention_heads=heads,
        kv=(KvLayers(layers=2, kv_heads=1, head_dim=head_dim),),
    )
    counted = GraphActivations().count_bytes(
        shape, tokens=batch, context_length=context, tensor_parallel=1
    )
    assert counted == pytest.approx(printed_mib * MIB, rel=0.002)


def test_vllms_activations_grow_as_it_printed_for_llama_8b():
    # vllm issue 10517: weights of 14.99 GiB; `peak_torch_memory=17.06GiB` at 20,000 tokens in one
    # batch and 17.98 GiB at 29,000, each rounded to 0.01 GiB
    activations = TRAITS["vllm"].memory.activations
    peaks = [
        activations.count_bytes(SHAPE, tokens=tokens, context_length=tokens, tensor_parallel=1)
        for tokens in (20_000, 29_000)
    ]
    assert peaks[1] - peaks[0] == pytest.approx((17.98 - 17.06) * GIB, rel=0.015)
    assert [14.99 + peak / GIB for peak in peaks] == pytest.approx([17.06, 17.98], abs=0.02)


def test_key_value_heads_are_copied_where_there_are_more_gpus_than_heads():
    assert count_kv_bytes_per_token(SHAPE, tensor_parallel=8) == 131_072 // 8
    assert count_kv_bytes_per_token(SHAPE, tensor_parallel=16) == 131_072 // 8


def test_a_sliding_window_layer_stops_growing_at_its_window():
    shape = replace(SHAPE, kv=(KvLayers(layers=10, kv_heads=8, head_dim=64, window=1024),))
    assert count(shape, 100_000) == count(shape, 1024)


GPT_OSS_20B = replace(
    SHAPE,
    kv=(
        KvLayers(layers=12, kv_heads=8, head_dim=64),
        KvLayers(layers=12, kv_heads=8, head_dim=64, window=128),
    ),
)
GEMMA_4_12B = replace(
    SHAPE,
    kv=(
        KvLayers(layers=8, kv_heads=1, head_dim=512),
        KvLayers(layers=40, kv_heads=8, head_dim=256, window=1024),
    ),
)


def test_windows_match_what_llama_cpp_prints():
    # Gemma 4, 8192 cells for 4 sequences in batches of 2048: `SWA KV cache, size = 6144 cells`,
    # `KV buffer size = 128.00 MiB` and `1920.00 MiB`
    assert count(GEMMA_4_12B, 2048, sequences=4, window_spare=2048) == (128 + 1920) * MIB
    # gpt-oss 20B: `3072.00 MiB (131072 cells, 12 layers)`, `18.00 MiB (768 cells, 12 layers)`;
    # 128 + 512 cells are rounded up to a multiple of 256
    kept = count(GPT_OSS_20B, 131_072, window_spare=512)
    assert kept == pytest.approx((3072 + 18) * MIB, rel=0.001)


def test_vllm_keeps_the_tokens_of_two_steps_beside_a_window():
    # `SlidingWindowSpec`: window - 1 + 2 steps of --max-num-batched-tokens, and one more block
    traits = TRAITS["vllm"].memory
    one_layer = 2 * 8 * 64 * 2
    for device_bytes, step_tokens in ((24 * GIB, 2048), (80 * GIB, 8192), (180 * GIB, 16_384)):
        spare = traits.find_window_spare(device_bytes)
        kept = count(GPT_OSS_20B, 131_072, window_spare=spare) / one_layer / 12
        assert kept == 131_072 + 128 + 2 * step_tokens


def test_tokens_beside_a_window_are_kept_once_and_never_exceed_the_context():
    grown = count(GPT_OSS_20B, 8192, 5, window_spare=512) - count(GPT_OSS_20B, 8192, 5)
    assert grown == count(GPT_OSS_20B, 8192, window_spare=512) - count(GPT_OSS_20B, 8192)
    plain = replace(SHAPE, kv=(KvLayers(layers=24, kv_heads=8, head_dim=64),))
    assert count(GPT_OSS_20B, 600, 3, window_spare=4096) == count(plain, 600, 3)


def test_tensorrt_llm_keeps_the_whole_context_in_every_layer():
    # without `max_attention_window` its cache manager takes `[max_seq_len]` for all layers
    spare = TRAITS["tensorrt_llm"].memory.find_window_spare(80 * GIB)
    plain = replace(SHAPE, kv=(KvLayers(layers=24, kv_heads=8, head_dim=64),))
    assert spare is None
    assert count(GPT_OSS_20B, 131_072, window_spare=spare) == count(plain, 131_072)


def test_a_latent_layer_is_whole_on_every_gpu():
    # DeepSeek-V3: 61 layers of 512 + 64 elements, 2.14 GiB for 32,768 tokens
    shape = replace(SHAPE, kv=(LatentLayers(layers=61, width=576),))
    assert count(shape, 32_768) == pytest.approx(2.14 * GIB, rel=3e-3)
    assert count(shape, 32_768, tensor_parallel=8) == count(shape, 32_768)


def test_a_state_does_not_grow_with_the_context():
    shape = replace(SHAPE, kv=(StateLayers(layers=48, state_bytes=3_000_000),))
    assert count(shape, 1) == count(shape, 100_000) == 144_000_000
    assert count(shape, 1, sequences=3) == 3 * 144_000_000


def test_nim_prints_33_gb_for_llama_8b_at_full_context():
    # NIM 2.0.12's listing: `vllm-bf16-tp1-pp1-33.0`
    budget = make_budget(
        SHAPE,
        TRAITS["vllm"].memory,
        weight_bytes=16_060_522_496,
        load=Load(context_length=131_072, sequences=1, kv_element_bytes=2),
        split=ALONE,
        free_bytes=80 * GIB,
        total_bytes=80 * GIB,
    )
    assert -(-budget.needed // GIB) == 33


def test_vllm_is_never_promised_memory_that_a_neighbour_holds():
    traits = replace(TRAITS["vllm"].memory, margin_bytes=GIB)
    assert count_memory_share(traits, free_bytes=80 * GIB, total_bytes=80 * GIB) == 0.92
    assert count_memory_share(traits, free_bytes=41 * GIB, total_bytes=80 * GIB) == 0.5
    assert count_memory_share(traits, free_bytes=0, total_bytes=80 * GIB) == 0.0


@given(
    context=st.integers(1, 200_000),
    more=st.integers(0, 100_000),
    sequences=st.integers(1, 64),
)
def test_a_longer_context_never_takes_less(context, more, sequences):
    assert count(SHAPE, context + more, sequences) >= count(SHAPE, context, sequences)
