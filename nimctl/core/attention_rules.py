"""What attention layers of a published model keep of earlier tokens, read from its `config.json`.

Rules follow vLLM 0.33's `get_kv_cache_spec` of each attention layer; defaults and layer patterns
follow the config classes of transformers 5.23. A rule names its file where it is another.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

from nimctl.core.config_numbers import (
    MOST_LAYERS,
    Config,
    ConfigError,
    UnknownArchitectureError,
    count_layers,
    read_int,
    read_layer_types,
    read_list,
    read_optional_int,
    read_section,
    shorten,
)
from nimctl.core.manifest import CacheLayers, KvLayers, LatentLayers

LayerRule = Callable[[Config], Iterable[CacheLayers]]

_INDEX_BLOCK = 128


def group_layers(layers: Iterable[CacheLayers]) -> tuple[CacheLayers, ...]:
    """Equal layers joined, in the order in which the first of each kind stands."""
    counts = Counter(replace(layer, layers=1) for layer in layers)
    return tuple(replace(layer, layers=count) for layer, count in counts.items())


def keep_everything(config: Config) -> Iterator[CacheLayers]:
    """Grouped heads on the whole context, or a window on all layers or those of `layer_types`.

    Where there are no `layer_types`, `sliding_window` holds for all layers unless
    `use_sliding_window` is false; Qwen's `max_window_layers` leaves the first ones whole.
    """
    if config.get("layer_types") is not None:
        yield from keep_by_type(config, read_layer_types(config))
        return
    slides = config.get("use_sliding_window") is not False
    window = read_optional_int(config, "sliding_window", minimum=1) if slides else None
    whole = 0
    if window is not None and config.get("use_sliding_window"):
        whole = read_optional_int(config, "max_window_layers") or 0
    for index in range(count_layers(config)):
        yield make_kv_layer(config, window=window if index >= whole else None)


def keep_by_pattern(default: int, *, last_is_full: bool = False) -> LayerRule:
    """Sliding windows, every `sliding_window_pattern`-th layer whole (Gemma 2 and 3, gpt-oss)."""

    def keep(config: Config) -> Iterator[CacheLayers]:
        yield from keep_by_type(
            config, _list_patterned_types(config, default, last_is_full=last_is_full)
        )

    return keep


def _list_patterned_types(config: Config, default: int, *, last_is_full: bool = False) -> list[str]:
    """`layer_types`, or what the config class makes where they are not published."""
    if config.get("layer_types") is not None:
        types = read_layer_types(config)
    else:
        marks = _read_pattern(config, default)
        types = [_MARKS[marks[i % len(marks)]] for i in range(count_layers(config))]
    if last_is_full:
        types[-1] = "full_attention"
    return types


_MARKS = {"L": "sliding_attention", "G": "full_attention"}


def _read_pattern(config: Config, default: int) -> str:
    """EXAONE's spelling of a pattern, `LLLG`, of it or of every how many layers one is whole."""
    pattern = config.get("sliding_window_pattern")
    if "sliding_window" in config and config["sliding_window"] is None:
        return "G"
    if not isinstance(pattern, str):
        every = read_optional_int(config, "sliding_window_pattern", minimum=1) or default
        return "L" * (min(every, MOST_LAYERS) - 1) + "G"
    if not pattern or set(pattern) - _MARKS.keys():
        raise ConfigError(f"sliding_window_pattern is {shorten(pattern)}")
    return pattern


def keep_by_type(config: Config, types: Iterable[str]) -> Iterator[CacheLayers]:
    if config.get("use_bidirectional_attention") in (True, "all"):
        raise UnknownArchitectureError(
            "attention in both directions keeps no cache nimctl can state"
        )
    for kind in types:
        if kind == "full_attention":
            yield make_kv_layer(config)
        elif kind == "sliding_attention":
            yield make_kv_layer(config, window=read_int(config, "sliding_window"))
        elif kind == "chunked_attention":
            yield make_kv_layer(config, window=read_int(config, "attention_chunk_size"))
        else:
            raise UnknownArchitectureError(f"what a layer of type {shorten(kind)} keeps is unknown")


def keep_gemma3n(config: Config) -> Iterator[CacheLayers]:
    """Gemma 3n: the last `num_kv_shared_layers` read what earlier layers kept."""
    types = _list_patterned_types(config, 5)
    yield from keep_by_type(config, types[: len(types) - _count_shared(config, len(types))])


def keep_gemma4(config: Config) -> Iterator[CacheLayers]:
    """Gemma 4: global layers have their own head size and, where keys are values, head count.

    vLLM keeps keys and values even where `attention_k_eq_v` makes one from the other.
    """
    types = _list_patterned_types(config, 6, last_is_full=True)
    heads = None
    if config.get("attention_k_eq_v"):
        heads = read_optional_int(config, "num_global_key_value_heads", minimum=1)
    whole: dict[str, object] = {
        "head_dim": read_int(config, "global_head_dim"),
        "num_key_value_heads": heads or read_int(config, "num_key_value_heads"),
    }
    for kind in types[: len(types) - _count_shared(config, len(types))]:
        yield from keep_by_type(
            {**config, **whole} if kind == "full_attention" else config, (kind,)
        )


def _count_shared(config: Config, layers: int) -> int:
    shared = read_int(config, "num_kv_shared_layers", minimum=0)
    if shared >= layers:
        raise ConfigError(f"num_kv_shared_layers is {shared} of {layers} layers")
    return shared


def keep_llama4(config: Config) -> Iterator[CacheLayers]:
    """Llama 4: the current chunk of `attention_chunk_size` where positions are rotary, else all.

    vLLM's `ChunkedLocalAttentionSpec` since 0.16, before which it kept everything by default.
    """
    if config.get("layer_types") is not None:
        types = read_layer_types(config)
    else:
        every = read_int(config, "no_rope_layer_interval")
        layers = count_layers(config)
        rope = config.get("no_rope_layers") or [(i + 1) % every for i in range(layers)]
        if not isinstance(rope, list | tuple) or len(rope) != layers:
            raise ConfigError("no_rope_layers is not a list with one number for each layer")
        types = ["chunked_attention" if r else "full_attention" for r in rope]
    if config.get("attention_chunk_size") is None:
        types = ["full_attention"] * len(types)
    yield from keep_by_type(config, types)


def keep_mimo_v2(config: Config) -> Iterator[CacheLayers]:
    """MiMo V2: `hybrid_layer_pattern` marks sliding layers, of their own heads and widths."""
    pattern = read_list(config, "hybrid_layer_pattern")
    if len(pattern) != count_layers(config) or any(slides not in (0, 1) for slides in pattern):
        raise ConfigError("hybrid_layer_pattern is not a list of 0 and 1 for each layer")
    for slides in pattern:
        prefix = "swa_" if slides else ""
        head_dim = read_int(config, f"{prefix}head_dim")
        value_dim = read_optional_int(config, f"{prefix}v_head_dim", minimum=1)
        yield KvLayers(
            layers=1,
            kv_heads=read_int(config, f"{prefix}num_key_value_heads"),
            head_dim=head_dim,
            value_dim=None if value_dim == head_dim else value_dim,
            window=read_int(config, "sliding_window_size", "sliding_window") if slides else None,
        )


def keep_latent(config: Config) -> Iterator[CacheLayers]:
    """Multi-head latent attention: `kv_lora_rank + qk_rope_head_dim` a token."""
    for _ in range(count_layers(config)):
        yield make_latent_layer(config)


def keep_indexed_latent(config: Config) -> Iterator[CacheLayers]:
    """Latent attention with a sparse index (DeepSeek V3.2, GLM 5).

    A layer's index keeps one key of `index_head_dim` in fp8 with a 4-byte scale for each 128, in
    bytes (vLLM `DeepseekV32IndexerCache`); layers that share another's choice keep none.
    """
    width = read_int(config, "index_head_dim")
    if width % _INDEX_BLOCK:
        raise ConfigError(f"index_head_dim is {width}, not a multiple of {_INDEX_BLOCK}")
    index_bytes = width + width // _INDEX_BLOCK * 4
    for own in _list_index_owners(config):
        yield replace(make_latent_layer(config), index_bytes=index_bytes if own else 0)


def _list_index_owners(config: Config) -> list[bool]:
    """Which layers choose their own tokens, from `indexer_types` or vLLM's three numbers."""
    layers = count_layers(config)
    pattern = config.get("index_topk_pattern")
    if isinstance(pattern, str):
        owners = [pattern[i : i + 1] != "S" for i in range(layers)]
    else:
        every = read_optional_int(config, "index_topk_freq", minimum=1) or 1
        offset = read_optional_int(config, "index_skip_topk_offset")
        first = 2 if offset is None else offset
        owners = [max(i - first + 1, 0) % every == 0 for i in range(layers)]
    if config.get("indexer_types") is not None:
        named = [kind == "full" for kind in read_list(config, "indexer_types")]
        if named != owners:
            raise UnknownArchitectureError(
                "which layers keep an index is unknown: indexer_types contradicts index_topk_freq"
            )
    return owners


def keep_minimax_m3(config: Config) -> Iterator[CacheLayers]:
    """MiniMax M3: full keys and values, and one bf16 index key a token in sparse layers.

    vLLM `models/minimax_m3/common/indexer.py`: the index stays bf16 at every cache precision.
    """
    sparse = read_section(config, "sparse_attention_config")
    marks = read_list(sparse, "sparse_attention_freq")
    if len(marks) != count_layers(config):
        raise ConfigError("sparse_attention_freq has not one number for each layer")
    for marked in marks:
        yield make_kv_layer(config)
        if marked:
            yield LatentLayers(
                layers=1, width=0, index_bytes=2 * read_int(sparse, "sparse_index_dim")
            )


def keep_blocks(config: Config) -> Iterator[CacheLayers]:
    """Nemotron NAS (`DeciLMForCausalLM`): each block has its own heads, or no attention at all."""
    heads = read_int(config, "num_attention_heads")
    blocks = read_list(config, "block_configs")
    if len(blocks) != count_layers(config):
        raise ConfigError("block_configs has not one block for each layer")
    for block in blocks:
        attention = read_section(block if isinstance(block, Mapping) else {}, "attention")
        if attention.get("no_op") or attention.get("replace_with_linear"):
            continue
        for name in ("window_length", "num_sink_tokens", "sparsify"):
            if attention.get(name) is not None:
                raise UnknownArchitectureError(f"what a block with {name} keeps is unknown")
        group = read_int(attention, "n_heads_in_group")
        if heads % group:
            raise ConfigError(f"n_heads_in_group is {group}, which does not divide {heads} heads")
        yield make_kv_layer({**config, "num_key_value_heads": heads // group})


def make_kv_layer(config: Config, *, window: int | None = None) -> KvLayers:
    heads = read_int(config, "num_attention_heads")
    kv_heads = heads if config.get("num_key_value_heads", 0) is None else None
    return KvLayers(
        layers=1,
        kv_heads=kv_heads or read_int(config, "num_key_value_heads", "num_attention_groups"),
        head_dim=_read_head_dim(config, heads),
        window=window,
    )


def _read_head_dim(config: Config, heads: int) -> int:
    """`head_dim`, or the hidden size over the heads where none is published."""
    head_dim = read_optional_int(config, "head_dim", minimum=1)
    if head_dim is not None:
        return head_dim
    hidden_size = read_int(config, "hidden_size")
    if hidden_size % heads:
        raise ConfigError(
            f"the config has no head_dim, and {heads} heads do not divide hidden_size"
        )
    return hidden_size // heads


def make_latent_layer(config: Config) -> LatentLayers:
    width = read_int(config, "kv_lora_rank") + read_int(config, "qk_rope_head_dim")
    return LatentLayers(layers=1, width=width)
