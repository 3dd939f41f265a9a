"""What a published Hugging Face `config.json` says of a model: its shape, experts and precision."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from nimctl.core import attention_rules as attention
from nimctl.core import state_rules as state
from nimctl.core.attention_rules import LayerRule
from nimctl.core.config_numbers import (
    Config,
    ConfigError,
    UnknownArchitectureError,
    count_layers,
    read_int,
    read_list,
    read_numbers,
    read_optional_int,
    shorten,
)
from nimctl.core.declared_precision import (
    read_kv_precision,
    read_method,
    read_precision,
    read_scale_block,
)
from nimctl.core.manifest import CacheLayers, KvLayers, Shape

__all__ = [
    "ConfigError",
    "PublishedConfig",
    "UnknownArchitectureError",
    "read_published_config",
    "read_shape",
]

_RULES: dict[str, LayerRule] = {
    **dict.fromkeys(
        (
            "ApertusForCausalLM", "ArceeForCausalLM", "CohereForCausalLM", "Ernie4_5ForCausalLM",
            "Ernie4_5_MoeForCausalLM", "GemmaForCausalLM", "Glm4ForCausalLM", "Glm4MoeForCausalLM",
            "GlmForCausalLM", "GraniteForCausalLM", "GraniteMoeForCausalLM",
            "InternLM2ForCausalLM", "InternLM3ForCausalLM", "LlamaForCausalLM",
            "LlamaForSequenceClassification", "MiMoForCausalLM", "MiniMaxM2ForCausalLM",
            "Ministral3ForCausalLM", "MistralForCausalLM", "MistralModel", "MixtralForCausalLM",
            "NemotronForCausalLM", "StableLmForCausalLM", "Starcoder2ForCausalLM",
            "Olmo2ForCausalLM", "OlmoForCausalLM", "OlmoeForCausalLM", "Phi3ForCausalLM",
            "PhiMoEForCausalLM", "Qwen2ForCausalLM", "Qwen2ForProcessRewardModel",
            "Qwen2ForRewardModel", "Qwen2ForSequenceClassification", "Qwen2MoeForCausalLM",
            "Qwen2VLForConditionalGeneration", "Qwen2_5_VLForConditionalGeneration",
            "Qwen3ForCausalLM", "Qwen3ForSequenceClassification", "Qwen3Model",
            "Qwen3MoeForCausalLM", "Qwen3VLForConditionalGeneration",
            "Qwen3VLMoeForConditionalGeneration", "SeedOssForCausalLM", "SmolLM3ForCausalLM",
            "Step3p5ForCausalLM", "Step3p7FlashForCausalLM", "Step3p7ForConditionalGeneration",
        ),
        attention.keep_everything,
    ),
    "Gemma2ForCausalLM": attention.keep_by_pattern(2),
    "GptOssForCausalLM": attention.keep_by_pattern(2),
    "Cohere2ForCausalLM": attention.keep_by_pattern(4),
    "Exaone4ForCausalLM": attention.keep_by_pattern(4),
    "Olmo3ForCausalLM": attention.keep_by_pattern(4),
    "Gemma3ForCausalLM": attention.keep_by_pattern(6),
    "Gemma3ForConditionalGeneration": attention.keep_by_pattern(6),
    "Gemma3nForCausalLM": attention.keep_gemma3n,
    "Gemma3nForConditionalGeneration": attention.keep_gemma3n,
    "Gemma4ForCausalLM": attention.keep_gemma4,
    "Gemma4ForConditionalGeneration": attention.keep_gemma4,
    "Llama4ForCausalLM": attention.keep_llama4,
    "Llama4ForConditionalGeneration": attention.keep_llama4,
    "MiMoV2FlashForCausalLM": attention.keep_mimo_v2,
    "DeciLMForCausalLM": attention.keep_blocks,
    "DeepseekV2ForCausalLM": attention.keep_latent,
    "DeepseekV3ForCausalLM": attention.keep_latent,
    "Glm4MoeLiteForCausalLM": attention.keep_latent,
    "KimiK25ForConditionalGeneration": attention.keep_latent,
    "MistralLarge3ForCausalLM": attention.keep_latent,
    "DeepseekV32ForCausalLM": attention.keep_indexed_latent,
    "GlmMoeDsaForCausalLM": attention.keep_indexed_latent,
    "MiniMaxM3ForCausalLM": attention.keep_minimax_m3,
    "MiniMaxM3SparseForCausalLM": attention.keep_minimax_m3,
    "MiniMaxM3SparseForConditionalGeneration": attention.keep_minimax_m3,
    "Qwen3NextForCausalLM": state.keep_gated_delta,
    "Qwen3_5ForCausalLM": state.keep_gated_delta,
    "Qwen3_5ForConditionalGeneration": state.keep_gated_delta,
    "Qwen3_5MoeForCausalLM": state.keep_gated_delta,
    "Qwen3_5MoeForConditionalGeneration": state.keep_gated_delta,
    "KimiLinearForCausalLM": state.keep_kimi_linear,
    "KimiK3ForConditionalGeneration": state.keep_kimi_linear,
    "NemotronHForCausalLM": state.keep_nemotron_h,
    "GraniteMoeHybridForCausalLM": state.keep_granite_hybrid,
    "FalconH1ForCausalLM": state.keep_falcon_h1,
}  # fmt: skip
"""Which rule reads what the layers of an architecture keep."""

_UNKNOWN = {
    "DeepseekV4ForCausalLM": "it keeps several tokens as one compressed state in a packed format "
    "beside a window, which nimctl cannot state in bytes a token",
    "NemotronHPuzzleForCausalLM": "its blocks have Mamba and attention layers of their own sizes",
}
"""Architectures that are known to keep what no rule can state, and why."""

_WRAPPERS = (
    "InternVLForConditionalGeneration",
    "KimiVLForConditionalGeneration",
    "LlavaForConditionalGeneration",
    "LlavaNextForConditionalGeneration",
    "Mistral3ForConditionalGeneration",
)
"""Multimodal classes around any text model, which their text config names."""

_TEXT_CLASSES = {
    "deepseek_v2": "DeepseekV2ForCausalLM",
    "deepseek_v3": "DeepseekV3ForCausalLM",
    "llama": "LlamaForCausalLM",
    "ministral3": "Ministral3ForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "qwen3_moe": "Qwen3MoeForCausalLM",
}

_TEXT_SECTIONS = ("text_config", "llm_config", "language_config")

_DEFAULTS: dict[str, dict[str, object]] = {
    "cohere": {"num_key_value_heads": None},
    "gemma": {"head_dim": 256},
    "gemma2": {"head_dim": 256},
    "gemma3_text": {
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "vocab_size": 262_208,
        "max_position_embeddings": 131_072,
    },
    "gemma3n_text": {"head_dim": 256, "num_kv_shared_layers": 15},
    "gemma4_text": {"head_dim": 256, "global_head_dim": 512, "num_kv_shared_layers": 0},
    "glm4": {"head_dim": 128},
    "gpt_oss": {"head_dim": 64},
    "granite": {"num_key_value_heads": None},
    "llama": {"num_key_value_heads": None},
    "llama4_text": {
        "head_dim": 128,
        "no_rope_layer_interval": 4,
        "attention_chunk_size": 8192,
        "interleave_moe_layer_step": 1,
    },
    "olmo2": {"num_key_value_heads": None},
    "phi3": {"num_key_value_heads": None},
    "qwen3": {"head_dim": 128},
    "qwen3_next": {"full_attention_interval": 4, "head_dim": 256},
}
"""Values that config classes of transformers 5.23 give to keys their publishers leave out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedConfig:
    """What a published config says that choosing and serving a model needs.

    Attributes:
        routed_experts: Experts of one layer that tokens choose from; None where there are none.
        experts_per_token: How many of them one token chooses.
        dtype: Declared type of what is not quantized, e.g. `bfloat16`.
        quantization_method: As declared, e.g. `modelopt`, `compressed-tensors`, `awq`.
        precision: nimctl's name of the weights' precision; None where the method is not known.
        scale_block: Edge of the blocks of weights that share one scale, as DeepSeek publishes them.
        kv_precision: Precision of keys and values the checkpoint was calibrated for, e.g. `fp8`.
    """

    shape: Shape
    routed_experts: int | None
    experts_per_token: int | None
    dtype: str | None
    quantization_method: str | None
    precision: str | None
    scale_block: int | None
    kv_precision: str | None


def read_shape(config: Config, *, parameters: int) -> Shape:
    """The shape of a model, from its published config and the number of its weights.

    Args:
        config: The parsed `config.json`.
        parameters: Weights of the layers that serve; those of draft layers left out.

    Raises:
        UnknownArchitectureError: what the model keeps of earlier tokens is not known exactly.
        ConfigError: a needed number is missing or impossible.
    """
    architecture = _read_architecture(config)
    text = _read_text_config(config)
    context_length = _read_context_length(text)
    layers = _find_rule(architecture, text)(text)
    kv = attention.group_layers(_drop_idle_window(layer, context_length) for layer in layers)
    if not kv:
        raise ConfigError("by this config no layer keeps anything")
    return Shape(
        architecture=architecture,
        parameters=parameters,
        active_parameters=_count_active_parameters(text, parameters),
        hidden_size=read_int(text, "hidden_size"),
        feed_forward_size=_read_feed_forward_size(text),
        expert_size=read_optional_int(text, "moe_intermediate_size"),
        attention_heads=read_int(text, "num_attention_heads"),
        vocab_size=read_int(text, "vocab_size"),
        max_context_length=context_length,
        kv=kv,
    )


def read_published_config(
    config: Config, *, parameters: int, quantization: Config | None = None
) -> PublishedConfig:
    """Everything nimctl reads of a config, and of `hf_quant_config.json` where there is one.

    Raises:
        UnknownArchitectureError: what the model keeps of earlier tokens is not known exactly.
        ConfigError: a needed number is missing or impossible.
    """
    text = _read_text_config(config)
    dtype = text.get("dtype") or text.get("torch_dtype")
    return PublishedConfig(
        shape=read_shape(config, parameters=parameters),
        routed_experts=_count_experts(text),
        experts_per_token=_count_experts_per_token(text) if _count_experts(text) else None,
        dtype=dtype if isinstance(dtype, str) else None,
        quantization_method=read_method(text, quantization),
        precision=read_precision(text, quantization),
        scale_block=read_scale_block(text),
        kv_precision=read_kv_precision(text, quantization),
    )


def _read_architecture(config: Config) -> str:
    names = config.get("architectures")
    if not isinstance(names, list | tuple) or not names or not isinstance(names[0], str):
        raise ConfigError("the config names no architectures")
    return names[0]


def _read_text_config(config: Config) -> Config:
    """The text model's numbers, over the outer ones, over its class's defaults."""
    inner: Mapping[str, object] = {}
    for name in _TEXT_SECTIONS:
        section = config.get(name)
        if isinstance(section, Mapping):
            inner = section
            break
    model_type = inner.get("model_type") or config.get("model_type")
    defaults = _DEFAULTS.get(model_type, {}) if isinstance(model_type, str) else {}
    return {**defaults, **config, **inner}


def _find_rule(architecture: str, text: Config) -> LayerRule:
    name = architecture
    if name in _WRAPPERS:
        inner = text.get("architectures")
        model_type = text.get("model_type")
        if isinstance(inner, list) and inner and inner[0] != architecture:
            name = str(inner[0])
        elif isinstance(model_type, str):
            name = _TEXT_CLASSES.get(model_type, name)
    if name in _RULES:
        return _RULES[name]
    reason = _UNKNOWN.get(name, "nimctl has no rule for what its layers keep of earlier tokens")
    raise UnknownArchitectureError(f"{shorten(name)} is not a known architecture: {reason}")


def _drop_idle_window(layer: CacheLayers, context_length: int) -> CacheLayers:
    """A window as wide as the whole context (Phi-4 mini publishes one) is none."""
    if isinstance(layer, KvLayers) and layer.window and layer.window >= context_length:
        return replace(layer, window=None)
    return layer


def _read_feed_forward_size(text: Config) -> int | None:
    """The widest of the dense feed-forward layers, which some publish one by one."""
    names = ("intermediate_size", "intermediate_size_mlp", "dense_intermediate_size")
    widths = [
        max(read_numbers(text, name), default=0)
        if isinstance(text.get(name), list)
        else read_optional_int(text, name) or 0
        for name in names
    ]
    return max(widths) or None


def _read_context_length(text: Config) -> int:
    """`max_position_embeddings`, times the factor where a rope scaling says so.

    As vLLM's `_get_and_verify_max_len`: YaRN, Llama 3 and LongRoPE publish the scaled length, and
    so does Gemma 3; linear and dynamic scaling publish the length before it.
    """
    length = read_int(text, "max_position_embeddings", "max_sequence_length", "seq_length")
    scaling = text.get("rope_scaling") or text.get("rope_parameters")
    if not isinstance(scaling, Mapping) or "gemma3" in str(text.get("model_type")):
        return length
    kind = scaling.get("rope_type") or scaling.get("type")
    if kind not in ("linear", "dynamic", "ntk"):
        return length
    factor = scaling.get("factor")
    if not isinstance(factor, int | float) or not 1 <= factor <= 1024:
        raise ConfigError(f"the factor of the {kind} rope scaling is {shorten(factor)}")
    return int(length * factor)


def _count_experts(text: Config) -> int | None:
    """Routed experts of one layer, under the names vLLM's `CONFIG_FIELD_ALIASES` lists."""
    if text.get("enable_moe_block") is False:
        return None
    return (
        read_optional_int(
            text, "num_experts", "moe_num_experts", "n_routed_experts", "num_local_experts"
        )
        or None
    )


def _count_experts_per_token(text: Config) -> int:
    return read_int(
        text, "num_experts_per_tok", "num_experts_per_token", "top_k_experts", "moe_top_k",
        "moe_k", "experts_per_token",
    )  # fmt: skip


def _count_active_parameters(text: Config, parameters: int) -> int | None:
    """All weights but those of the experts one token does not choose; None without experts.

    Raises:
        ConfigError: the experts alone have more weights than the whole model.
    """
    experts = _count_experts(text)
    if experts is None:
        return None
    idle = experts - _count_experts_per_token(text)
    if idle < 0:
        raise ConfigError(f"one token chooses more than the {experts} experts there are")
    layers = _count_expert_layers(text)
    active = parameters - layers * idle * _count_expert_parameters(text)
    if active <= 0:
        raise ConfigError(
            f"{parameters} parameters are fewer than those of {experts} experts in {layers} layers"
        )
    return active


def _count_expert_parameters(text: Config) -> int:
    """Weights of one expert: three matrices, or Nemotron-H's two; gpt-oss adds biases."""
    outer = read_int(text, "moe_latent_size", "routed_expert_hidden_size", "hidden_size")
    inner = read_int(text, "moe_intermediate_size", "expert_intermediate_size", "intermediate_size")
    if text.get("model_type") == "nemotron_h":
        return 2 * outer * inner
    biases = 2 * inner + outer if text.get("model_type") == "gpt_oss" else 0
    return 3 * outer * inner + biases


def _count_expert_layers(text: Config) -> int:
    """Layers with experts, by whichever of the published conventions the config follows."""
    if text.get("model_type") == "nemotron_h":
        return state.list_nemotron_blocks(text).count("moe")
    layers = count_layers(text)
    if text.get("mlp_layer_types") is not None:
        return list(read_list(text, "mlp_layer_types"))[:layers].count("sparse")
    if isinstance(text.get("moe_layer_freq"), list):
        return sum(1 for number in read_numbers(text, "moe_layer_freq")[:layers] if number)
    if text.get("moe_layers_enum") is not None:
        return len(str(text["moe_layers_enum"]).split(","))
    if text.get("interleave_moe_layer_step") is not None:
        return layers // read_int(text, "interleave_moe_layer_step")
    first = read_optional_int(text, "first_k_dense_replace", "moe_layer_start_index") or 0
    last = read_optional_int(text, "moe_layer_end_index")
    every = read_optional_int(text, "decoder_sparse_step", "moe_layer_interval", minimum=1) or 1
    every_from_0 = read_optional_int(text, "moe_layer_freq", minimum=1) or 1
    only_dense = read_numbers(text, "mlp_only_layers") if text.get("mlp_only_layers") else []
    return sum(
        (i + 1) % every == 0 and i % every_from_0 == 0 and i not in only_dense
        for i in range(first, layers if last is None else min(layers, last + 1))
    )
