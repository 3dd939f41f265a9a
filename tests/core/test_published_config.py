"""Published configs against the bytes their models keep, worked out from the numbers by hand."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nimctl.catalog import Catalog, load_catalog
from nimctl.core.declared_precision import read_scale_block
from nimctl.core.manifest import LatentLayers, StateLayers
from nimctl.core.memory import Load, Split, count_kv_bytes, count_kv_bytes_per_token
from nimctl.core.published_config import (
    ConfigError,
    UnknownArchitectureError,
    read_published_config,
    read_shape,
)
from nimctl.core.units import GIB

FOLDER = Path(__file__).parents[1] / "published_configs"
MANY = 5_000_000_000_000
CONTEXT = 32_768
LOAD = Load(context_length=CONTEXT, sequences=1, kv_element_bytes=2)
ALONE = Split(tensor_parallel=1, pipeline_parallel=1, lora=False)
BF16 = 2
KEY_AND_VALUE = 2


def load(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{name}.json").read_text())


def by_head(layers: int, heads: int, width: int, tokens: int = CONTEXT) -> int:
    return layers * heads * width * KEY_AND_VALUE * BF16 * tokens


def latent(layers: int, width: int = 512 + 64) -> int:
    return layers * width * BF16 * CONTEXT


def index(layers: int) -> int:
    return layers * (128 + 4) * CONTEXT


def delta_net(layers: int, value_heads: int, key_heads: int = 16) -> int:
    convolution = (2 * key_heads * 128 + value_heads * 128) * 3 * BF16
    return layers * (convolution + value_heads * 128 * 128 * 4)


def mamba(layers: int, heads: int, *, state: int = 128) -> int:
    inner = heads * 64
    return layers * ((inner + 2 * 8 * state) * 3 * BF16 + inner * state * 4)


KEPT = {
    "Qwen--Qwen3-0.6B": by_head(28, 8, 128),
    "Qwen--Qwen3-1.7B": by_head(28, 8, 128),
    "Qwen--Qwen3-8B": by_head(36, 8, 128),
    "Qwen--Qwen3-32B": by_head(64, 8, 128),
    "Qwen--Qwen3-32B-FP8-Static-PerTensor": by_head(64, 8, 128),
    "Qwen--Qwen3-32B-FP8": by_head(64, 8, 128),
    "Qwen--Qwen3-30B-A3B": by_head(48, 4, 128),
    "Qwen--Qwen3-30B-A3B-FP8": by_head(48, 4, 128),
    "Qwen--Qwen3-235B-A22B-FP8": by_head(94, 4, 128),
    "Qwen--Qwen3-235B-A22B": by_head(94, 4, 128),
    "nvidia--Qwen3-235B-A22B-NVFP4": by_head(94, 4, 128),
    "Qwen--Qwen3-Coder-480B-A35B-Instruct": by_head(62, 8, 128),
    "Qwen--Qwen3-VL-4B-Instruct": by_head(36, 8, 128),
    "Qwen--Qwen3-VL-2B-Instruct": by_head(28, 8, 128),
    "Qwen--Qwen3-VL-8B-Instruct": by_head(36, 8, 128),
    "Qwen--Qwen3-VL-32B-Instruct": by_head(64, 8, 128),
    "Qwen--Qwen3-VL-32B-Thinking": by_head(64, 8, 128),
    "Qwen--Qwen3-VL-235B-A22B-Instruct": by_head(94, 4, 128),
    "Qwen--Qwen3-VL-30B-A3B-Instruct": by_head(48, 4, 128),
    "meta-llama--Meta-Llama-3.1-8B": by_head(32, 8, 128),
    "meta-llama--Meta-Llama-3.1-70B": by_head(80, 8, 128),
    "nvidia--Llama-3.1-70B-Instruct-FP8": by_head(80, 8, 128),
    "meta-llama--Meta-Llama-3.1-405B": by_head(126, 8, 128),
    "mistralai--Mixtral-8x7B-v0.1": by_head(32, 8, 128),
    "mistralai--Mixtral-8x22B-v0.1": by_head(56, 8, 128),
    "MiniMaxAI--MiniMax-M2.5": by_head(62, 8, 128),
    "MiniMaxAI--MiniMax-M2.7": by_head(62, 8, 128),
    "nvidia--MiniMax-M2.5-NVFP4": by_head(62, 8, 128),
    "nvidia--MiniMax-M2.7-NVFP4": by_head(62, 8, 128),
    "XiaomiMiMo--MiMo-7B-Base": by_head(36, 8, 128),
    # 49 of 80 blocks attend, each key head serving 8 of 64
    "nvidia--Llama-3_3-Nemotron-Super-49B-v1": by_head(49, 8, 128),
    "meta-llama--Llama-4-Scout-17B-16E-Instruct": (
        by_head(12, 8, 128) + by_head(36, 8, 128, tokens=8192)
    ),
    "meta-llama--Llama-4-Maverick-17B-128E-Instruct": (
        by_head(12, 8, 128) + by_head(36, 8, 128, tokens=8192)
    ),
    "openai--gpt-oss-20b": by_head(12, 8, 64) + by_head(12, 8, 64, tokens=128),
    "openai--gpt-oss-120b": by_head(18, 8, 64) + by_head(18, 8, 64, tokens=128),
    "google--gemma-4-26B-A4B": by_head(5, 2, 512) + by_head(25, 8, 256, tokens=1024),
    "nvidia--Gemma-4-26B-A4B-NVFP4": by_head(5, 2, 512) + by_head(25, 8, 256, tokens=1024),
    "nvidia--Gemma-4-31B-IT-NVFP4": by_head(10, 4, 512) + by_head(50, 16, 256, tokens=1024),
    "stepfun-ai--Step-3.7-Flash": by_head(12, 8, 128) + by_head(33, 8, 128, tokens=512),
    "stepfun-ai--Step-3.7-Flash-FP8": by_head(12, 8, 128) + by_head(33, 8, 128, tokens=512),
    # keys of 192, values of 128; 4 heads see everything, 8 the last 128 tokens
    "XiaomiMiMo--MiMo-V2-Flash": (
        9 * 4 * (192 + 128) * BF16 * CONTEXT + 39 * 8 * (192 + 128) * BF16 * 128
    ),
    "deepseek-ai--DeepSeek-V3": latent(61),
    "deepseek-ai--DeepSeek-R1": latent(61),
    "nvidia--DeepSeek-V3.1-NVFP4": latent(61),
    "moonshotai--Kimi-K2-Instruct": latent(61),
    "moonshotai--Kimi-K2.5": latent(61),
    "nvidia--Kimi-K2.5-NVFP4": latent(61),
    "nvidia--Kimi-K2.6-NVFP4": latent(61),
    "nvidia--Kimi-K2.7-Code-NVFP4": latent(61),
    "deepseek-ai--DeepSeek-V3.2": latent(61) + index(61),
    "nvidia--DeepSeek-V3.2-NVFP4": latent(61) + index(61),
    "zai-org--GLM-5-FP8": latent(78) + index(78),
    "zai-org--GLM-5": latent(78) + index(78),
    "nvidia--GLM-5-NVFP4": latent(78) + index(78),
    "zai-org--GLM-5.1": latent(78) + index(78),
    "zai-org--GLM-5.1-FP8": latent(78) + index(78),
    "nvidia--GLM-5.1-NVFP4": latent(78) + index(78),
    # layers 0, 1, 2, 6, 10, ... 74 choose for those after them
    "zai-org--GLM-5.2": latent(78) + index(21),
    "zai-org--GLM-5.2-FP8": latent(78) + index(21),
    "nvidia--GLM-5.2-NVFP4": latent(78) + index(21),
    "zai-org--GLM-5.3": latent(78) + index(21),
    "zai-org--GLM-5.3-FP8": latent(78) + index(21),
    "nvidia--GLM-5.3-NVFP4": latent(78) + index(21),
    # 57 sparse layers keep one bf16 index key of 128 beside 4 heads
    "MiniMaxAI--MiniMax-M3": by_head(60, 4, 128) + 57 * 128 * BF16 * CONTEXT,
    "nvidia--MiniMax-M3-NVFP4": by_head(60, 4, 128) + 57 * 128 * BF16 * CONTEXT,
    "Qwen--Qwen3.5-27B": by_head(16, 4, 256) + delta_net(48, 48),
    "nvidia--Qwen3.6-27B-NVFP4": by_head(16, 4, 256) + delta_net(48, 48),
    "Qwen--Qwen3.5-35B-A3B": by_head(10, 2, 256) + delta_net(30, 32),
    "nvidia--Qwen3.6-35B-A3B-NVFP4": by_head(10, 2, 256) + delta_net(30, 32),
    "Qwen--Qwen3.5-122B-A10B": by_head(12, 2, 256) + delta_net(36, 64),
    "nvidia--Qwen3.5-122B-A10B-NVFP4": by_head(12, 2, 256) + delta_net(36, 64),
    "Qwen--Qwen3.5-397B-A17B": by_head(15, 2, 256) + delta_net(45, 64),
    "nvidia--Qwen3.5-397B-A17B-NVFP4": by_head(15, 2, 256) + delta_net(45, 64),
    "moonshotai--Kimi-K3": (
        latent(24) + 69 * (3 * 96 * 128 * 3 * BF16 + 96 * 128 * 128 * 4)
    ),
    "nvidia--NVIDIA-Nemotron-3-Nano-30B-A3B-BF16": by_head(6, 2, 128) + mamba(23, 64),
    "nvidia--NVIDIA-Nemotron-3-Nano-30B-A3B-NVFP4": by_head(6, 2, 128) + mamba(23, 64),
    "nvidia--NVIDIA-Nemotron-3.5-Lightning-30B-A3B-NVFP4": by_head(6, 2, 128) + mamba(23, 64),
    "nvidia--NVIDIA-Nemotron-3-Super-120B-A12B-FP8": by_head(8, 2, 128) + mamba(40, 128),
    "nvidia--NVIDIA-Nemotron-3-Super-120B-A12B-NVFP4": by_head(8, 2, 128) + mamba(40, 128),
    "nvidia--NVIDIA-Nemotron-3-Ultra-550B-A55B-BF16": by_head(12, 2, 128) + mamba(48, 256),
    "nvidia--NVIDIA-Nemotron-3-Ultra-550B-A55B-FP8": by_head(12, 2, 128) + mamba(48, 256),
    "nvidia--NVIDIA-Nemotron-3-Ultra-550B-A55B-NVFP4": by_head(12, 2, 128) + mamba(48, 256),
    "nvidia--Nemotron-H-56B-Base-8K": by_head(10, 8, 128) + mamba(54, 256, state=256),
}  # fmt: skip
"""Bytes one sequence of 32,768 tokens keeps in bf16."""

UNKNOWN = (
    "deepseek-ai--DeepSeek-V4-Flash", "deepseek-ai--DeepSeek-V4-Pro",
    "nvidia--DeepSeek-V4-Flash-NVFP4", "nvidia--DeepSeek-V4-Pro-NVFP4",
    "sgl-project--DeepSeek-V4-Flash-FP8", "sgl-project--DeepSeek-V4-Pro-FP8",
)  # fmt: skip
"""vLLM 0.33 packs these in one of three formats by GPU, each padded to the pages of another."""

MEASURED_GIB = {
    "Qwen--Qwen3-0.6B": 3.50,
    "Qwen--Qwen3-8B": 4.50,
    "Qwen--Qwen3-32B": 8.00,
    "meta-llama--Meta-Llama-3.1-8B": 4.00,
    "meta-llama--Meta-Llama-3.1-70B": 10.00,
    "mistralai--Mixtral-8x7B-v0.1": 4.00,
    "Qwen--Qwen3-30B-A3B": 3.00,
    "deepseek-ai--DeepSeek-V3": 2.14,
    "openai--gpt-oss-20b": 0.75,
    "google--gemma-4-26B-A4B": 0.82,
    "Qwen--Qwen3.5-27B": 2.00,
}
"""What an earlier comparison of memory estimators took as exact, without states of fixed size."""


@pytest.mark.parametrize("name", KEPT)
def test_what_a_published_model_keeps_is_exact(name):
    shape = read_shape(load(name), parameters=MANY)
    assert count_kv_bytes(shape, LOAD, ALONE) == KEPT[name]


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_differs_by_gpu_is_not_stated(name):
    with pytest.raises(UnknownArchitectureError, match="compressed state"):
        read_shape(load(name), parameters=MANY)


def test_every_published_config_is_judged():
    judged = {*KEPT, *UNKNOWN}
    names = {p.name.removesuffix(".json") for p in FOLDER.glob("*.json")}
    assert {name for name in names if not name.endswith(".hf_quant")} == judged


@pytest.mark.parametrize("name", MEASURED_GIB)
def test_the_growing_part_is_what_others_call_exact(name):
    shape = read_shape(load(name), parameters=MANY)
    fixed = sum(k.layers * k.state_bytes for k in shape.kv if isinstance(k, StateLayers))
    kept = count_kv_bytes(shape, LOAD, ALONE) - fixed
    assert kept / GIB == pytest.approx(MEASURED_GIB[name], abs=0.006)


@pytest.mark.parametrize(
    ("name", "per_token"),
    [
        ("meta-llama--Meta-Llama-3.1-8B", 131_072),
        ("deepseek-ai--DeepSeek-V3", 70_272),
        ("deepseek-ai--DeepSeek-V3.2", 70_272 + 61 * 132),
        ("openai--gpt-oss-20b", 24_576),
        ("google--gemma-4-26B-A4B", 20_480),
        ("moonshotai--Kimi-K3", 27_648),
        ("nvidia--NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", 6_144),
    ],
)
def test_bytes_of_one_more_token(name, per_token):
    assert count_kv_bytes_per_token(read_shape(load(name), parameters=MANY)) == per_token


@pytest.mark.parametrize(
    ("name", "parameters", "active"),
    [
        # published weights without draft layers; the cards say 3.3, 37, 12.9, 17 and 12 B
        ("Qwen--Qwen3-30B-A3B", 30_532_122_624, 3.35e9),
        ("deepseek-ai--DeepSeek-V3", 671_026_419_200, 37.5e9),
        ("mistralai--Mixtral-8x7B-v0.1", 46_702_792_704, 12.9e9),
        ("meta-llama--Llama-4-Maverick-17B-128E-Instruct", 400_712_000_000, 17.2e9),
        ("nvidia--NVIDIA-Nemotron-3-Super-120B-A12B-FP8", 120_000_000_000, 12.1e9),
        ("openai--gpt-oss-20b", 20_914_757_184, 4.19e9),  # 3.6 B and the embedding
    ],
)
def test_active_parameters_are_those_of_the_chosen_experts(name, parameters, active):
    shape = read_shape(load(name), parameters=parameters)
    assert shape.active_parameters == pytest.approx(active, rel=0.005)


CATALOGUE = {
    "openai/gpt-oss-20b": "openai--gpt-oss-20b",
    "deepseek-ai/deepseek-v3.2": "deepseek-ai--DeepSeek-V3.2",
    "google/gemma-4-31b-it": "nvidia--Gemma-4-31B-IT-NVFP4",
    "qwen/qwen3-30b-a3b": "Qwen--Qwen3-30B-A3B",
    "qwen/qwen3.5-27b": "Qwen--Qwen3.5-27B",
    "nvidia/llama-3.3-nemotron-super-49b-v1": "nvidia--Llama-3_3-Nemotron-Super-49B-v1",
    "nvidia/nemotron-3-nano-30b-a3b": "nvidia--NVIDIA-Nemotron-3-Nano-30B-A3B-BF16",
    "zai-org/glm-5": "zai-org--GLM-5-FP8",
}


@pytest.mark.parametrize("model", CATALOGUE)
def test_the_catalogue_and_the_published_config_say_the_same(model, catalogue):
    known = catalogue.find(model).shape
    read = read_shape(load(CATALOGUE[model]), parameters=known.parameters)
    assert set(read.kv) == set(known.kv)
    assert read.active_parameters == known.active_parameters
    assert read.max_context_length == known.max_context_length


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("llama-4-scout-17b-16e-instruct", "Llama-4-Scout-17B-16E-Instruct"),
        ("llama-4-maverick-17b-128e-instruct", "Llama-4-Maverick-17B-128E-Instruct"),
    ],
)
def test_llama_4_attends_in_chunks_in_the_catalogue_too(model, name, catalogue):
    # its active parameters leave out the vision tower, which no config counts
    known = catalogue.find(f"meta/{model}").shape
    read = read_shape(load(f"meta-llama--{name}"), parameters=known.parameters)
    assert set(read.kv) == set(known.kv)
    assert read.max_context_length == known.max_context_length


@pytest.fixture(scope="module")
def catalogue() -> Catalog:
    return load_catalog()


@pytest.mark.parametrize(
    ("where", "expert_layers"),
    [
        ({}, 12),
        ({"first_k_dense_replace": 2}, 10),
        ({"first_k_dense_replace": 1, "moe_layer_freq": 2}, 5),
        ({"moe_layer_freq": [0, 0, 0] + [1] * 9}, 9),
        ({"decoder_sparse_step": 2}, 6),
        ({"mlp_only_layers": [0, 5]}, 10),
        ({"interleave_moe_layer_step": 3}, 4),
        ({"mlp_layer_types": ["dense"] * 3 + ["sparse"] * 9 + ["sparse"]}, 9),
        ({"moe_layers_enum": "3,4,5,6"}, 4),
        ({"moe_layer_start_index": 1, "moe_layer_interval": 1, "moe_layer_end_index": 10}, 10),
    ],
)
def test_expert_layers_are_counted_by_every_convention(where, expert_layers):
    experts = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 100}
    config = {**SMALL, **experts, **where, "architectures": ["Qwen3MoeForCausalLM"]}
    shape = read_shape(config, parameters=10**9)
    assert shape.active_parameters == 10**9 - expert_layers * 6 * 3 * 1024 * 100


def test_a_dense_model_uses_all_its_weights():
    assert read_shape(load("Qwen--Qwen3-8B"), parameters=8_190_735_360).active_parameters is None


def test_fewer_parameters_than_experts_hold_are_refused():
    with pytest.raises(ConfigError, match="256 experts in 58 layers"):
        read_shape(load("deepseek-ai--DeepSeek-V3"), parameters=1_000_000)


def test_a_shape_says_what_the_config_says():
    shape = read_shape(load("Qwen--Qwen3.5-27B"), parameters=27_000_000_000)
    assert shape.architecture == "Qwen3_5ForConditionalGeneration"
    assert (shape.hidden_size, shape.attention_heads) == (5120, 24)
    assert (shape.vocab_size, shape.max_context_length) == (248_320, 262_144)
    assert shape.feed_forward_size == 17_408


@pytest.mark.parametrize(
    ("name", "precision", "method", "kv_precision"),
    [
        ("Qwen--Qwen3-8B", "bf16", None, None),
        ("openai--gpt-oss-20b", "mxfp4", "mxfp4", None),
        ("deepseek-ai--DeepSeek-V3", "fp8", "fp8", None),
        ("moonshotai--Kimi-K2.5", "int4", "compressed-tensors", None),
        ("moonshotai--Kimi-K3", "mxfp4", "compressed-tensors", None),
        ("nvidia--Gemma-4-31B-IT-NVFP4", "nvfp4", "modelopt", "fp8"),
        ("nvidia--Qwen3.6-27B-NVFP4", "nvfp4", "modelopt", "fp8"),
        ("nvidia--MiniMax-M3-NVFP4", "nvfp4", "modelopt", None),
        ("nvidia--NVIDIA-Nemotron-3-Super-120B-A12B-FP8", "fp8", "modelopt", "fp8"),
        ("Qwen--Qwen3-32B-FP8-Static-PerTensor", "fp8", "modelopt", "fp8"),
    ],
)
def test_precision_is_what_the_publisher_declares(name, precision, method, kv_precision):
    beside = FOLDER / f"{name}.hf_quant.json"
    quantization = json.loads(beside.read_text()) if beside.exists() else None
    published = read_published_config(load(name), parameters=MANY, quantization=quantization)
    assert (published.precision, published.quantization_method) == (precision, method)
    assert published.kv_precision == kv_precision


def test_an_unknown_quantization_method_has_no_precision_of_ours():
    config = {**load("Qwen--Qwen3-8B"), "quantization_config": {"quant_method": "surprise"}}
    published = read_published_config(config, parameters=MANY)
    assert (published.quantization_method, published.precision) == ("surprise", None)


def test_experts_are_counted_for_parallelism():
    published = read_published_config(load("Qwen--Qwen3-30B-A3B"), parameters=MANY)
    assert (published.routed_experts, published.experts_per_token) == (128, 8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architectures": ["DeepseekV4ForCausalLM"]}, "compressed state"),
        ({"architectures": ["BrandNewForCausalLM"]}, "no rule"),
        ({"layer_types": ["dreaming_attention"] * 36}, "dreaming_attention"),
    ],
)
def test_what_cannot_be_stated_exactly_is_unknown(change, message):
    with pytest.raises(UnknownArchitectureError, match=message):
        read_shape({**load("Qwen--Qwen3-8B"), **change}, parameters=MANY)


@pytest.mark.parametrize(
    "key",
    ["num_hidden_layers", "num_key_value_heads", "num_attention_heads", "hidden_size",
     "vocab_size", "max_position_embeddings", "architectures"],
)  # fmt: skip
def test_a_missing_number_is_named(key):
    config = load("Qwen--Qwen3-8B")
    del config[key]
    with pytest.raises(ConfigError, match=key):
        read_shape(config, parameters=MANY)


@pytest.mark.parametrize("value", [0, -1, 1.5, "8", True, [8], 10**30])
def test_an_impossible_number_is_refused(value):
    with pytest.raises(ConfigError, match="num_key_value_heads"):
        read_shape({**load("Qwen--Qwen3-8B"), "num_key_value_heads": value}, parameters=MANY)


def test_an_index_that_contradicts_itself_is_unknown():
    config = {**load("zai-org--GLM-5.2"), "indexer_types": ["full"] * 78}
    with pytest.raises(UnknownArchitectureError, match="indexer_types"):
        read_shape(config, parameters=MANY)


SMALL = {
    "hidden_size": 1024,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "num_hidden_layers": 12,
    "vocab_size": 1000,
    "max_position_embeddings": 8192,
}


@pytest.mark.parametrize(
    ("extra", "per_sequence"),
    [
        # every layer slides, as Mistral 7B v0.1 published it
        ({"architectures": ["MistralForCausalLM"], "sliding_window": 4096},
         by_head(12, 2, 128, tokens=4096)),
        # Qwen's first layers see everything where the window is switched on
        ({"architectures": ["Qwen2ForCausalLM"], "sliding_window": 4096,
          "use_sliding_window": True, "max_window_layers": 3},
         by_head(3, 2, 128) + by_head(9, 2, 128, tokens=4096)),
        ({"architectures": ["Qwen2ForCausalLM"], "sliding_window": 4096,
          "use_sliding_window": False}, by_head(12, 2, 128)),
        # a window wider than the context holds nothing back
        ({"architectures": ["Phi3ForCausalLM"], "sliding_window": 262_144}, by_head(12, 2, 128)),
        ({"architectures": ["Gemma2ForCausalLM"], "model_type": "gemma2", "sliding_window": 4096},
         by_head(6, 2, 256) + by_head(6, 2, 256, tokens=4096)),
        ({"architectures": ["Exaone4ForCausalLM"], "sliding_window": 4096,
          "sliding_window_pattern": "LLLG"},
         by_head(3, 2, 128) + by_head(9, 2, 128, tokens=4096)),
        ({"architectures": ["Exaone4ForCausalLM"], "sliding_window": None}, by_head(12, 2, 128)),
        # the last four layers read what the first eight kept
        ({"architectures": ["Gemma3nForCausalLM"], "model_type": "gemma3n_text",
          "sliding_window": 512, "num_kv_shared_layers": 4},
         by_head(1, 2, 256) + by_head(7, 2, 256, tokens=512)),
        ({"architectures": ["LlamaForCausalLM"], "model_type": "llama",
          "num_key_value_heads": None}, by_head(12, 8, 128)),
        ({"architectures": ["Mistral3ForConditionalGeneration"],
          "text_config": {"model_type": "mistral", "head_dim": 160}}, by_head(12, 2, 160)),
        # Granite 4: the state is kept in the model's own type
        ({"architectures": ["GraniteMoeHybridForCausalLM"], "dtype": "bfloat16",
          "layer_types": ["mamba"] * 11 + ["attention"], "mamba_expand": 2, "mamba_n_heads": 32,
          "mamba_d_head": 64, "mamba_d_state": 128, "mamba_n_groups": 1, "mamba_d_conv": 4},
         by_head(1, 2, 128) + 11 * ((2048 + 2 * 128) * 3 * BF16 + 2048 * 128 * BF16)),
        ({"architectures": ["FalconH1ForCausalLM"], "torch_dtype": "bfloat16",
          "mamba_d_ssm": 1536, "mamba_n_heads": 24, "mamba_d_head": 64, "mamba_d_state": 256,
          "mamba_n_groups": 1, "mamba_d_conv": 4},
         by_head(12, 2, 128) + 12 * ((1536 + 2 * 256) * 3 * BF16 + 1536 * 256 * BF16)),
    ],
)  # fmt: skip
def test_rules_that_no_stored_config_uses(extra, per_sequence):
    shape = read_shape({**SMALL, **extra}, parameters=MANY)
    assert count_kv_bytes(shape, LOAD, ALONE) == per_sequence


def test_a_multimodal_gemma_3_takes_what_it_leaves_out_from_its_class():
    text = {"model_type": "gemma3_text", "hidden_size": 2560, "num_hidden_layers": 34,
            "sliding_window": 1024}  # fmt: skip
    config = {"architectures": ["Gemma3ForConditionalGeneration"], "text_config": text}
    shape = read_shape(config, parameters=4_300_079_472)
    assert count_kv_bytes(shape, LOAD, ALONE) == (
        by_head(5, 4, 256) + by_head(29, 4, 256, tokens=1024)
    )
    assert shape.max_context_length == 131_072


@pytest.mark.parametrize(
    ("scaling", "context"),
    [
        (None, 8192),
        ({"rope_type": "linear", "factor": 4.0}, 32_768),
        ({"type": "dynamic", "factor": 2}, 16_384),
        ({"rope_type": "yarn", "factor": 4.0}, 8192),
        ({"rope_type": "llama3", "factor": 8.0}, 8192),
        ({"rope_type": "longrope", "factor": 8.0}, 8192),
    ],
)
def test_a_context_is_scaled_only_where_the_published_length_is_not(scaling, context):
    config = {**SMALL, "architectures": ["Qwen2ForCausalLM"], "rope_scaling": scaling}
    assert read_shape(config, parameters=MANY).max_context_length == context


def test_an_index_keeps_its_own_precision():
    shape = read_shape(load("MiniMaxAI--MiniMax-M3"), parameters=MANY)
    assert LatentLayers(layers=57, width=0, index_bytes=256) in shape.kv


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 10**20) | st.floats() | st.text(max_size=8)
    | st.sampled_from(["full_attention", "mamba", "bfloat16", "auto"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)  # fmt: skip


@given(
    name=st.sampled_from(sorted(KEPT)),
    changes=st.lists(st.tuples(st.integers(0, 200), VALUES), min_size=1, max_size=3),
    drop=st.booleans(),
)
def test_a_spoilt_config_is_read_or_refused(name, changes, drop):
    config = load(name)
    for place, value in changes:
        text = config["text_config"] if isinstance(config.get("text_config"), dict) else config
        section = config if place % 3 == 0 or not text else text
        key = sorted(section)[place % len(section)]
        if drop and len(section) > 1:
            del section[key]
        else:
            section[key] = value
    try:
        published = read_published_config(config, parameters=MANY)
    except (ConfigError, UnknownArchitectureError):
        return
    assert count_kv_bytes(published.shape, LOAD, ALONE) > 0


@pytest.mark.parametrize(
    ("declared", "edge"),
    [
        ({"weight_block_size": [128, 128]}, 128),
        ({"weight_block_size": [1, 128]}, None),
        ({"weight_block_size": None}, None),
        ({}, None),
    ],
)
def test_the_blocks_that_share_a_scale_are_read(declared, edge):
    config = {"quantization_config": {"quant_method": "fp8", **declared}}
    assert read_scale_block(config) == edge
