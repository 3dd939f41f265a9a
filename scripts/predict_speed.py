"""Regenerates the predictions of nimctl/evidence from the measured tables of aiconfigurator.

A developer's tool, not shipped. It needs `pip install aiconfigurator==0.12.0` in an environment of
its own with nimctl (aiconfigurator-core, which holds the tables, comes with it) and takes about
eight minutes:

    python scripts/predict_speed.py --out nimctl/evidence/predictions.csv
"""

import argparse
import csv
import json
import logging
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from speed_models import MODEL_COLUMNS, MODELS, Model, read_shape

from nimctl.core.speed import ONE_AT_A_TIME
from nimctl.evidence import live
from nimctl.evidence.live import BLACKWELL, CONCURRENCIES, MOST_SLOWDOWN, QUANTISATION, TITLES

SYSTEMS = {system: gpu for gpu, system in live.SYSTEMS.items()}
ENGINES = {backend: engine for engine, backend in live.BACKENDS.items()}
TENSOR_PARALLEL = (1, 2, 4, 8)
MOST_SPLIT = 4
"""A model is split over at most this many times the fewest GPUs that hold it."""

BLOCK_FP8_OF_VLLM = {"gemm_quant_mode": "fp8"}
"""Instead of vLLM's table of matrix products in block-scaled fp8, which is not believed.

It puts one token of Qwen3-30B-A3B on a B200 at 28 ms, more than sixteen tokens at once. Against
real machines (MiniMax-M2.5, in systems/silicon_sample.csv) it is 1.2 to 2.4 times too slow in the
median; the table of plain fp8 is at 0.81 to 0.84.
"""

COLUMNS = (
    "model", "gpu", "engine", "precision", "tp",
    "ttft_ms", "itl_ms", "concurrency", "loaded_ttft_ms", "loaded_itl_ms", "tokens_s",
)  # fmt: skip


class Estimator:
    """Asks aiconfigurator for one point at a time and remembers which versions it used."""

    def __init__(self, folder: Path) -> None:
        self.versions: dict[tuple[str, str], str] = {}
        self._folder = folder

    def path_of(self, model: Model) -> str:
        """What aiconfigurator takes as the model's path; writes a config where it ships none."""
        if not model.dimensions:
            return model.name
        home = self._folder / model.name.replace("/", "--")
        home.mkdir(exist_ok=True)
        names = (
            "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
            "num_key_value_heads", "head_dim", "vocab_size",
        )  # fmt: skip
        config: dict[str, Any] = dict(zip(names, model.dimensions, strict=True))
        architecture = live.ARCHITECTURES[model.architecture]
        config |= {"architectures": [architecture], "max_position_embeddings": 32_768}
        (home / "config.json").write_text(json.dumps(config))
        return str(home)

    def version_of(self, system: str, backend: str) -> str:
        from aiconfigurator_core.sdk.perf_database import get_latest_database_version

        key = (system, backend)
        if key not in self.versions:
            self.versions[key] = get_latest_database_version(system=system, backend=backend)
        return self.versions[key]

    def estimate(self, path: str, system: str, backend: str, tp: int, **load: Any) -> Any:
        """One point. Experts are split as the layers are; where that was not measured, whole."""
        from aiconfigurator.cli.api import cli_estimate
        from aiconfigurator_core.sdk.errors import PerfDataNotAvailableError

        arguments = dict(
            model_path=path, system_name=system, backend_name=backend, tp_size=tp, **load
        )
        arguments["backend_version"] = self.version_of(system, backend)
        try:
            return cli_estimate(**arguments, moe_tp_size=tp, moe_ep_size=1)
        except (PerfDataNotAvailableError, ValueError) as error:
            if tp == 1 or "MoE" not in str(error):
                raise
            return cli_estimate(**arguments, moe_tp_size=1, moe_ep_size=tp)


def predict_all(estimator: Estimator, failures: Counter[str]) -> Iterator[list[object]]:
    """Every row of the file; what could not be predicted is counted in `failures`."""
    for model in MODELS:
        path = estimator.path_of(model)
        for system, gpu in SYSTEMS.items():
            for backend, engine in ENGINES.items():
                for precision, published in model.precisions.items():
                    if precision == "nvfp4" and gpu not in BLACKWELL:
                        continue
                    modes = {} if published else QUANTISATION[precision]
                    if published and (backend, precision) == ("vllm", "fp8"):
                        modes = BLOCK_FP8_OF_VLLM
                    place = (model.name, gpu, engine, precision)
                    for figures in predict_splits(
                        estimator, published or path, system, backend, modes, failures,
                        what=f"{model.name} {precision} on {gpu} with {engine}",
                    ):  # fmt: skip
                        yield [*place, *figures]


def drop_unbelieved(rows: list[list[object]], failures: Counter[str]) -> list[list[object]]:
    """The rows without those that `MOST_SLOWDOWN` speaks against."""
    alone_ms = {tuple(row[:5]): float(str(row[6])) for row in rows}
    believed = []
    for row in rows:
        model, gpu, engine, _, tp = row[:5]
        full_ms = alone_ms.get((model, gpu, engine, "bf16", tp))
        if full_ms is None or float(str(row[6])) <= MOST_SLOWDOWN * full_ms:
            believed.append(row)
        else:
            failures[f"slower than bf16: {' '.join(map(str, row[:5]))}"] += 1
    return believed


def predict_splits(
    estimator: Estimator,
    path: str,
    system: str,
    backend: str,
    modes: dict[str, str],
    failures: Counter[str],
    *,
    what: str,
) -> Iterator[list[object]]:
    """tp and figures for each number of GPUs, beginning with the fewest that hold the model."""
    fewest = None
    for tp in TENSOR_PARALLEL:
        if fewest and tp > fewest * MOST_SPLIT:
            return
        load = {
            "isl": ONE_AT_A_TIME.prompt_tokens,
            "osl": ONE_AT_A_TIME.output_tokens,
            **modes,
        }
        try:
            alone = estimator.estimate(path, system, backend, tp, batch_size=1, **load)
            loaded = find_load(estimator, path, system, backend, tp, load)
        # aiconfigurator says what it cannot do with these, ValueError among its own.
        except (RuntimeError, ValueError, KeyError, AssertionError) as error:
            reason = name_reason(error)
            failures[f"{reason}: {what} tp{tp}" if reason != "does not fit" else reason] += 1
            continue
        fewest = fewest or tp
        yield [
            tp, f"{alone.ttft:.1f}", f"{alone.tpot:.3f}", loaded.batch_size,
            f"{loaded.ttft:.1f}", f"{loaded.tpot:.3f}", f"{loaded.tokens_per_second:.0f}",
        ]  # fmt: skip


def find_load(
    estimator: Estimator, path: str, system: str, backend: str, tp: int, load: dict[str, Any]
) -> Any:
    """The estimate at the largest concurrency whose keys and values fit."""
    for concurrency in CONCURRENCIES:
        result = estimator.estimate(path, system, backend, tp, batch_size=concurrency, **load)
        if result.kv_cache_warning is None:
            return result
    raise RuntimeError("OOM: no room for the keys and values of four requests")


def name_reason(error: Exception) -> str:
    """A few words for a failure."""
    text = str(error)
    if "OOM" in text:
        return "does not fit"
    if "not divisible" in text or "divide" in text:
        return "cannot be split"
    return f"{type(error).__name__} {text.splitlines()[0][:90] if text else ''}"


def write_predictions(out: Path, estimator: Estimator) -> None:
    """The CSV file of predictions, and beside it those of the models and of the tables used."""
    failures: Counter[str] = Counter()
    rows = drop_unbelieved(list(predict_all(estimator, failures)), failures)
    _write_table(out, COLUMNS, rows)
    _write_table(
        out.with_name("predicted_models.csv"),
        MODEL_COLUMNS,
        [read_shape(model) for model in MODELS],
    )
    tool = f"aiconfigurator {version('aiconfigurator')}"
    _write_table(
        out.with_name("predicted_with.csv"),
        ("gpu", "engine", "source"),
        [
            [SYSTEMS[system], ENGINES[backend], f"{tool}, {TITLES[ENGINES[backend]]} {used} tables"]
            for (system, backend), used in estimator.versions.items()
        ],
    )
    print(f"{len(rows)} rows written to {out}")
    print(f"left out, as it does not fit: {failures.pop('does not fit', 0)}")
    examples = {failure.partition(": ")[0]: failure for failure in failures}
    counts: Counter[str] = Counter()
    for failure, count in failures.items():
        counts[failure.partition(": ")[0]] += count
    for reason, count in counts.most_common():
        print(f"left out: {count:5} x {examples[reason]}")


def _write_table(path: Path, columns: tuple[str, ...], rows: list[list[object]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


def main() -> int:
    """Run as the module's text says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="the CSV file to write")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        write_predictions(arguments.out, Estimator(Path(folder)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
