"""Speeds that aiconfigurator predicts from NVIDIA's measured tables, read from shipped files.

`scripts/predict_speed.py` writes the files; `scripts/speed_accuracy.py` holds such predictions
against 2,039 results of real machines. Predicted over measured, by engine and GPU, the median of
the time between tokens is 0.86 to 1.37; the 10th to 90th percentile is 0.72 to 1.5, but reaches 2.1
for vLLM on the H200 and 2.9 for TensorRT-LLM on the B200. The time to first token is told too
short, 0.56 to 1.06 in the median, as machines under load queue more than the model knows.
"""

import csv
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from nimctl.core.manifest import Shape
from nimctl.core.names import EngineName
from nimctl.core.speed import MANY_AT_ONCE, ONE_AT_A_TIME, SpeedFigure, Traffic

_FOLDER = Path(__file__).parent
_SAME_SIZE = 0.05
"""Models of one architecture and width whose sizes differ by less are taken to be one shape."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictedRow:
    """One prediction: alone, and under the load of `concurrency` requests at once."""

    ttft_ms: float
    itl_ms: float
    concurrency: int
    loaded_ttft_ms: float
    loaded_itl_ms: float
    tokens_s: float


AS_FAST_AS = {"fp16": "bf16"}
"""Precisions that tensor cores multiply at the same rate and that take the same bytes."""

_Key = tuple[str, str, str, str, str]
"""Model, GPU, engine, precision and tensor parallelism, as the file writes them."""


def find_prediction(
    shape: Shape,
    *,
    gpu: str,
    engine: EngineName,
    precision: str,
    tensor_parallel: int,
    traffic: Traffic,
) -> SpeedFigure | None:
    """The prediction for a model of this shape, or None.

    A fine-tuned model is as fast as its base, so the shape is compared and not the name. Under
    load the figure's traffic says for how many requests at once it is: at most `MANY_AT_ONCE`,
    fewer where memory holds fewer.

    Args:
        gpu: NIM's short name, e.g. `H100`.
        traffic: `ONE_AT_A_TIME` or `MANY_AT_ONCE`; nothing else was predicted.
    """
    model = _find_model(shape)
    if model is None or traffic not in (ONE_AT_A_TIME, MANY_AT_ONCE):
        return None
    figures = _read_figures().get(
        (model, gpu, engine, AS_FAST_AS.get(precision, precision), str(tensor_parallel))
    )
    if figures is None:
        return None
    ttft_ms, itl_ms, concurrency, *loaded = figures
    loaded_ttft_ms, loaded_itl_ms, tokens_s = map(float, loaded)
    row = PredictedRow(
        ttft_ms=float(ttft_ms),
        itl_ms=float(itl_ms),
        concurrency=int(concurrency),
        loaded_ttft_ms=loaded_ttft_ms,
        loaded_itl_ms=loaded_itl_ms,
        tokens_s=tokens_s,
    )
    return make_figure(row, traffic, f"{_read_sources()[gpu, engine]} for {model}")


def is_predicted_shape(shape: Shape) -> bool:
    """Whether a model of this shape is among those that the shipped files were made for."""
    return _find_model(shape) is not None


def make_figure(row: PredictedRow, traffic: Traffic, source: str) -> SpeedFigure:
    """What a row says for one request at a time, or else for many at once."""
    if traffic == MANY_AT_ONCE:
        return SpeedFigure(
            traffic=replace(MANY_AT_ONCE, concurrency=row.concurrency),
            time_to_first_token_s=row.loaded_ttft_ms / 1000,
            inter_token_latency_s=row.loaded_itl_ms / 1000,
            tokens_per_second=row.tokens_s,
            origin="predicted",
            source=source,
        )
    alone = SpeedFigure(
        traffic=ONE_AT_A_TIME,
        time_to_first_token_s=row.ttft_ms / 1000,
        inter_token_latency_s=row.itl_ms / 1000,
        tokens_per_second=None,
        origin="predicted",
        source=source,
    )
    answer_s = alone.answer_s
    assert answer_s is not None  # noqa: S101 - both of its parts are numbers here
    return replace(alone, tokens_per_second=ONE_AT_A_TIME.output_tokens / answer_s)


@cache
def _find_model(shape: Shape) -> str | None:
    """The predicted model of the same shape."""
    wanted = (shape.architecture, shape.hidden_size, shape.attention_heads)
    near = {
        abs(parameters / shape.parameters - 1): name
        for name, known, parameters in _read_models()
        if known == wanted
    }
    nearest = min(near, default=1.0)
    return near[nearest] if nearest < _SAME_SIZE else None


@cache
def _read_models() -> tuple[tuple[str, tuple[str, int, int], int], ...]:
    return tuple(
        (name, (architecture, int(hidden_size), int(heads)), int(parameters))
        for name, architecture, hidden_size, heads, parameters in _read_rows("predicted_models.csv")
    )


@cache
def _read_sources() -> dict[tuple[str, str], str]:
    return {(gpu, engine): source for gpu, engine, source in _read_rows("predicted_with.csv")}


@cache
def _read_figures() -> dict[_Key, list[str]]:
    return {
        (model, gpu, engine, precision, split): figures
        for model, gpu, engine, precision, split, *figures in _read_rows("predictions.csv")
    }


def _read_rows(name: str) -> list[list[str]]:
    """The rows of one file without its heading."""
    with (_FOLDER / name).open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))[1:]
