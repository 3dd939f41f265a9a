"""What a safetensors checkpoint offers, by its config and the headers of all its files."""

import json
from collections.abc import Iterator, Mapping

from nimctl.catalog.bare_files import find_companions
from nimctl.catalog.bare_offers import (
    OTHER_SHAPE_HINT,
    OWN_MANIFEST_HINT,
    Offer,
    Published,
    make_artifact,
)
from nimctl.core.config_numbers import ConfigError, UnknownArchitectureError
from nimctl.core.declared_precision import read_precision
from nimctl.core.manifest import Artifact, KvLayers, ModelKind, Shape
from nimctl.core.names import Goal
from nimctl.core.published_config import PublishedConfig, read_published_config
from nimctl.core.safetensors_header import SafetensorsHeader
from nimctl.core.source import Listing, RemoteFile
from nimctl.core.weight_summary import WeightSummary, summarize_tensors
from nimctl.errors import InputError

CONFIG = "config.json"
QUANTIZATION = "hf_quant_config.json"

_WIDTHS = (1, 2, 4, 8)
_TEXT_SECTIONS = ("text_config", "llm_config", "language_config")
_PACKED_BITS = {"int4": 4, "int8": 8}
_WITH_ADAPTERS = ("bf16", "fp16", "fp8")
_GOALS: tuple[Goal, ...] = ("latency", "throughput")

Config = Mapping[str, object]


def read_checkpoint(
    listing: Listing,
    weights: tuple[RemoteFile, ...],
    texts: Mapping[str, bytes],
    headers: Mapping[str, SafetensorsHeader],
) -> Published:
    """Profiles for TensorRT-LLM and vLLM of the checkpoint in `weights`.

    Raises:
        InputError: its architecture or precision is unknown, or its config is missing or wrong.
    """
    config = _parse_json(listing, texts, CONFIG)
    if config is None:
        raise InputError(
            f"{listing.uri} has weights but no {CONFIG}, so its shape is unknown and memory cannot "
            "be predicted",
            hint=OTHER_SHAPE_HINT,
        )
    quantization = _parse_json(listing, texts, QUANTIZATION)
    summary = _summarize(config, quantization, [headers[file.path] for file in weights])
    published = _read_config(listing, config, quantization, summary)
    declared = published.precision if published.quantization_method else summary.precision
    precision = declared or published.precision
    if precision is None:
        raise InputError(
            f"{listing.uri} says its weights are quantized by {published.quantization_method!r}, "
            "which nimctl does not know",
            hint=OWN_MANIFEST_HINT,
        )
    kind = _tell_kind(published.shape.architecture, listing)
    artifact = make_artifact(
        listing,
        name=_at_16_bits(precision),
        weight_format="safetensors",
        weights=weights,
        companions=find_companions(listing),
        scale_block=published.scale_block,
        kv_precision=published.kv_precision,
        weight_bytes=_count_loaded_bytes(summary, precision),
    )
    offers = tuple(_list_offers(published.shape, kind, precision, artifact))
    return Published(shape=published.shape, kind=kind, offers=offers)


def _parse_json(listing: Listing, texts: Mapping[str, bytes], name: str) -> Config | None:
    if name not in texts:
        return None
    try:
        value = json.loads(texts[name])
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name} of {listing.uri} is not JSON") from error
    if not isinstance(value, dict):
        raise InputError(f"{name} of {listing.uri} is not a JSON object")
    return value


def _read_config(
    listing: Listing, config: Config, quantization: Config | None, summary: WeightSummary
) -> PublishedConfig:
    # The count decides no memory; without one only the prediction of speed would be wrong.
    if summary.parameters is None:
        types = ", ".join(summary.unknown_dtypes) or "packed words of unknown width"
        raise InputError(
            f"how many weights {listing.uri} has cannot be told from its headers ({types})",
            hint=OWN_MANIFEST_HINT,
        )
    try:
        return read_published_config(
            config, parameters=summary.parameters, quantization=quantization
        )
    except UnknownArchitectureError as error:
        raise InputError(
            f"{listing.uri} cannot be judged: {error}, so memory cannot be predicted",
            hint=OTHER_SHAPE_HINT,
        ) from error
    except ConfigError as error:
        raise InputError(f"{CONFIG} of {listing.uri} cannot be used: {error}") from error


def _summarize(
    config: Config, quantization: Config | None, headers: list[SafetensorsHeader]
) -> WeightSummary:
    names = (read_precision(section, quantization) for section in _list_sections(config))
    bits = next((_PACKED_BITS[name] for name in names if name in _PACKED_BITS), None)
    numbers = (section.get("num_hidden_layers") for section in _list_sections(config))
    layers = next((n for n in numbers if isinstance(n, int) and n > 0), None)
    return summarize_tensors(
        (tensor for header in headers for tensor in header.tensors),
        packed_bits=bits,
        layers=layers,
    )


def _list_sections(config: Config) -> Iterator[Config]:
    """The text model's own section first, where there is one."""
    for name in _TEXT_SECTIONS:
        section = config.get(name)
        if isinstance(section, Mapping):
            yield section
    yield config


def _tell_kind(architecture: str, listing: Listing) -> ModelKind:
    """By the class the config names; `modules.json` makes a sentence-transformers model of it."""
    if "Reward" in architecture or "SequenceClassification" in architecture:
        return "reward"
    if architecture.endswith("Model") or any(f.path == "modules.json" for f in listing.files):
        return "embedding"
    return "chat"


def _at_16_bits(precision: str) -> str:
    """Engines do not compute in 32 bits; vLLM halves such weights while it loads them."""
    return "bf16" if precision == "fp32" else precision


def _count_loaded_bytes(summary: WeightSummary, precision: str) -> int:
    halved = dict(summary.dtype_bytes).get("F32", 0) if precision == "fp32" else 0
    return summary.tensor_bytes - halved // 2


def _list_offers(
    shape: Shape, kind: ModelKind, precision: str, artifact: Artifact
) -> Iterator[Offer]:
    widths = tuple(width for width in _WIDTHS if _divides(shape, width))
    loaded = _at_16_bits(precision)
    chat = kind == "chat"
    if chat and precision == loaded:
        yield Offer(
            engine="tensorrt_llm", precision=loaded, artifact=artifact, widths=widths, goals=_GOALS
        )
    yield Offer(
        engine="vllm",
        precision=loaded,
        artifact=artifact,
        widths=widths,
        adapters=(False, True) if chat and loaded in _WITH_ADAPTERS else (False,),
    )


def _divides(shape: Shape, width: int) -> bool:
    """Whether heads can be split over so many GPUs; key/value heads may be copied instead."""
    kv_heads = [layers.kv_heads for layers in shape.kv if isinstance(layers, KvLayers)]
    return shape.attention_heads % width == 0 and all(
        heads % width == 0 or width % heads == 0 for heads in kv_heads
    )
