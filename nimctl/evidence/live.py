"""Speeds predicted on the spot, where `aiconfigurator-core` is installed, for rows not shipped.

From the same tables and by the same steps as the shipped rows, which `scripts/predict_speed.py`
writes. Loading the tables of one GPU and engine takes about a second.
"""

import json
import logging
import tempfile
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from nimctl.core.manifest import KvLayers, Shape
from nimctl.core.names import EngineName
from nimctl.core.speed import MANY_AT_ONCE, ONE_AT_A_TIME, SpeedFigure, Traffic
from nimctl.evidence.predictions import (
    AS_FAST_AS,
    PredictedRow,
    is_predicted_shape,
    make_figure,
)

SYSTEMS = {
    "H100": "h100_sxm",
    "H200": "h200_sxm",
    "A100": "a100_sxm",
    "L40S": "l40s",
    "B200": "b200_sxm",
    "B300": "b300_sxm",
    "GB200": "gb200",
    "GB300": "gb300",
    "RTX_PRO_6000_SERVER": "rtx_pro_6000_server",
}
"""NIM's short name of a GPU, and aiconfigurator's system with measured tables.

Left out, as nothing is measured for them: a30, l4, h100_pcie and a100_pcie.
"""

BACKENDS: dict[EngineName, str] = {"tensorrt_llm": "trtllm", "vllm": "vllm"}
TITLES: dict[EngineName, str] = {"tensorrt_llm": "TensorRT-LLM", "vllm": "vLLM"}
BLACKWELL = {"B200", "B300", "GB200", "GB300", "RTX_PRO_6000_SERVER"}

QUANTISATION: dict[str, dict[str, str]] = {
    "bf16": {},
    "fp8": {
        "gemm_quant_mode": "fp8_static",
        "moe_quant_mode": "fp8",
        "kvcache_quant_mode": "fp8",
    },
    "nvfp4": {
        "gemm_quant_mode": "nvfp4",
        "moe_quant_mode": "nvfp4",
        "kvcache_quant_mode": "fp8",
    },
}
"""What NVIDIA's ModelOpt checkpoints of a precision hold."""

MOST_SLOWDOWN = 1.5
"""Fewer bits that take longer than this many times bf16 for one request are not believed.

Fewer bytes are read, so only the time to start kernels can make it so; vLLM's fp8 products of few
tokens on Blackwell are in the tables at more than twice their bf16.
"""

CONCURRENCIES = (64, 16, 4)
"""Requests at once of the throughput load: the first that the key/value cache holds."""

ARCHITECTURES = {
    "LlamaForCausalLM": "LlamaForCausalLM",
    # Mistral's layers are Llama's; aiconfigurator knows only that name.
    "MistralForCausalLM": "LlamaForCausalLM",
    "Qwen2ForCausalLM": "Qwen2ForCausalLM",
    "Qwen3ForCausalLM": "Qwen3ForCausalLM",
}
"""Dense models whose layers a shape says everything about, and aiconfigurator's name for them."""

_PACKAGE = "aiconfigurator_core"


def is_installed() -> bool:
    """Whether speeds can be predicted on the spot."""
    return find_spec(_PACKAGE) is not None


@cache
def predict_live(
    shape: Shape,
    *,
    gpu: str,
    engine: EngineName,
    precision: str,
    tensor_parallel: int,
    traffic: Traffic,
) -> SpeedFigure | None:
    """The prediction for a shape that is not among those shipped, or None.

    A shape that is among them was tried already, so a row that it lacks could not be predicted or
    was not believed. Arguments as for `find_prediction`.
    """
    precision = AS_FAST_AS.get(precision, precision)
    if (
        gpu not in SYSTEMS
        or engine not in BACKENDS
        or precision not in QUANTISATION
        or (precision == "nvfp4" and gpu not in BLACKWELL)
        or traffic not in (ONE_AT_A_TIME, MANY_AT_ONCE)
        or is_predicted_shape(shape)
        or not is_installed()
    ):
        return None
    config = make_config(shape)
    if config is None:
        return None
    row = _predict_row(config, gpu, engine, precision, tensor_parallel)
    if row is None:
        return None
    return make_figure(row, traffic, f"{name_source(gpu, engine)} for a model of this shape")


def make_config(shape: Shape) -> str | None:
    """The config.json of a dense model of this shape; None where the shape says too little."""
    match shape.kv:
        case (KvLayers(window=None, value_dim=None) as layers,):
            pass
        case _:
            return None
    architecture = ARCHITECTURES.get(shape.architecture)
    if architecture is None or shape.active_parameters or shape.feed_forward_size is None:
        return None
    return json.dumps(
        {
            "architectures": [architecture],
            "hidden_size": shape.hidden_size,
            "intermediate_size": shape.feed_forward_size,
            "num_hidden_layers": layers.layers,
            "num_attention_heads": shape.attention_heads,
            "num_key_value_heads": layers.kv_heads,
            "head_dim": layers.head_dim,
            "vocab_size": shape.vocab_size,
            "max_position_embeddings": 32_768,
        }
    )


@cache
def _predict_row(
    config: str, gpu: str, engine: EngineName, precision: str, tensor_parallel: int
) -> PredictedRow | None:
    """The figures of a dense model, or None where they cannot be had or are not believed."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(config)
        try:
            row = _estimate_row(folder, gpu, engine, precision, tensor_parallel)
        # aiconfigurator says with these what it cannot do.
        except (RuntimeError, ValueError, KeyError, AssertionError):
            return None
    if precision == "bf16":
        return row
    full = _predict_row(config, gpu, engine, "bf16", tensor_parallel)
    return row if full is None or row.itl_ms <= MOST_SLOWDOWN * full.itl_ms else None


def _estimate_row(
    path: str, gpu: str, engine: EngineName, precision: str, tensor_parallel: int
) -> PredictedRow:
    place = (path, SYSTEMS[gpu], BACKENDS[engine], precision, tensor_parallel)
    alone = _estimate(*place, requests=1)
    for requests in CONCURRENCIES:
        loaded = _estimate(*place, requests=requests)
        if not loaded.is_crowded:
            return PredictedRow(
                ttft_ms=alone.ttft_ms,
                itl_ms=alone.itl_ms,
                concurrency=requests,
                loaded_ttft_ms=loaded.ttft_ms,
                loaded_itl_ms=loaded.itl_ms,
                tokens_s=loaded.tokens_s,
            )
    raise RuntimeError("no room for the keys and values of four requests")


def name_source(gpu: str, engine: EngineName) -> str:
    """The tool and the tables, with their versions."""
    tables = _read_version(SYSTEMS[gpu], BACKENDS[engine])
    return f"aiconfigurator {version('aiconfigurator-core')}, {TITLES[engine]} {tables} tables"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Estimate:
    """One point; `is_crowded` where the keys and values of all requests have no room at once."""

    ttft_ms: float
    itl_ms: float
    tokens_s: float
    is_crowded: bool


def _estimate(
    path: str, system: str, backend: str, precision: str, split: int, *, requests: int
) -> _Estimate:
    """One point, by the steps of aiconfigurator's own `cli_estimate` in its mode `agg`."""
    config = _import("config_builders").build_model_config(
        split, 1, 1, 1, 1, **QUANTISATION[precision]
    )
    traffic = _import("config").RuntimeConfig(
        isl=ONE_AT_A_TIME.prompt_tokens, osl=ONE_AT_A_TIME.output_tokens, batch_size=requests
    )
    summary = (
        _import("backends.factory")
        .get_backend(backend)
        .run_agg(
            _import("models").get_model(path, config, backend),
            _load_tables(system, backend),
            traffic,
            ctx_tokens=ONE_AT_A_TIME.prompt_tokens,
        )
    )
    result = summary.get_result_dict()
    if summary.check_oom() or result is None:
        raise RuntimeError("the weights do not fit")
    return _Estimate(
        ttft_ms=float(result["ttft"]),
        itl_ms=float(result["tpot"]),
        tokens_s=float(result["tokens/s"]),
        is_crowded=bool(summary.check_kv_cache_oom()),
    )


@cache
def _load_tables(system: str, backend: str) -> Any:
    # It warns of each table that it has to do without.
    logging.getLogger(_PACKAGE).setLevel(logging.ERROR)
    tables = _import("perf_database").get_database_view(
        system,
        backend,
        _read_version(system, backend),
        allow_missing_data=False,
        database_mode="SILICON",
    )
    if tables is None:
        raise ValueError(f"no tables for {backend} on {system}")
    return tables


@cache
def _read_version(system: str, backend: str) -> str:
    latest = _import("perf_database").get_latest_database_version(system=system, backend=backend)
    if latest is None:
        raise ValueError(f"no tables for {backend} on {system}")
    return str(latest)


def _import(module: str) -> Any:
    """A module of the package, which is no dependency and so unknown to the type checker."""
    return import_module(f"{_PACKAGE}.sdk.{module}")
