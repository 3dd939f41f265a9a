"""Prints nimctl's memory of one GPU against aiconfigurator's, part by part, for all models of both.

    pip install aiconfigurator-core==0.12.0
    python tests/benchmarks/memory_against_aiconfigurator.py [--all]

Both take 8192 tokens in one pass, an H100, and the precision of keys and values that aiconfigurator
reads from the checkpoint. Where the catalogue has no exact weights of a config, its own are taken
for both. Why the two differ, and who is right by the published config:

Weights (equal within 0.5 % on one GPU for 13 of the 42 models whose tensors are known):
- DeepSeek V3, R1, V3.1, V3.2, GLM 5 (0.95): it gives experts to the first three layers, which have
  none: 32.6 GB too much for V3. nimctl.
- Qwen3 0.6B and 1.7B (0.79, 0.85), Gemma 4 31B (0.95): it counts the one matrix that is both
  embedding and output twice. nimctl.
- Qwen3 and MiniMax with experts (1.01 to 1.02): it counts embedding and output, which are two
  matrices here, once. nimctl.
- Llama 4 (1.01, 1.07): it leaves out the shared expert of every layer and the vision tower; so it
  does the vision tower of Qwen 3.5. nimctl, as both engines load the tower.
- gpt-oss (1.15, 1.08), MiniMax M2.5, Qwen3 235B, Nemotron 3 Nano in nvfp4: it counts all in 4 bits,
  without scales, and what its publisher left in 16 bits. nimctl, by the published files.
- Gemma 4 26B in nvfp4 (0.36): it counts 16 bits. nimctl, by the published files.
- Nemotron 3 Super in fp8 and nvfp4 (1.05, 1.16): the size of the published files holds the layers
  that only speculate, some 5 GB, which are not loaded. aiconfigurator, until their tensors are
  known.
- On eight GPUs (0.3 to 1): it copies the embedding to every GPU; both engines split it. nimctl,
  which in turn splits the small matrices of latent attention that are copied: 1 % of V3.

Keys and values (equal for 57 of 85 configs, see tests/core/test_kv_by_aiconfigurator.py):
- Layers with windows (up to 8.4): vLLM holds the tokens of two steps beside the window, and
  TensorRT-LLM the whole context unless `max_attention_window` is given. nimctl.
- Llama 4, MiMo V2, Nemotron, MiniMax M3, GLM 5.2, Kimi K3: that test says what it leaves out or
  counts twice. nimctl. DeepSeek V3.2 in fp8 (0.91): it leaves the rotary part in 16 bits, as vLLM
  does on Hopper, and neither counts the scales; aiconfigurator is nearer there.

Activations:
- Dense models (0.6 to 1.7): it multiplies the width of attention, we the hidden size or the
  feed-forward layer, which for Llama 3.1 8B gives what vLLM printed within 1 %. nimctl.
- Models with experts (0.1 to 0.5): it doubles the factor and adds a workspace of tokens x width x
  experts x choices / 32 bytes, which for GLM 5.2 comes to 7 GiB. By hand a layer of Qwen3 30B-A3B
  holds 0.41 GiB and of DeepSeek V3 1.4 GiB; nimctl says 0.38 and 1.2, it says 1.4 and 5.9. nimctl,
  for one GPU; the workspace of dispatch between GPUs is not in ours.

The rest (0.33): it reserves 3.5 GiB, raised from 551 MB "for safer deployment" by its own comment;
nimctl expects 1.0 to 1.2 GiB of graphs and context with a band around it, within what NIM's printed
needs allow (tests/core/test_nim_requirements.py). It is most of the total of a small model.
"""

import argparse
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import log
from pathlib import Path
from statistics import median
from types import SimpleNamespace

import aiconfigurator_core
import yaml
from aiconfigurator_core.sdk.backends.factory import get_backend
from aiconfigurator_core.sdk.config_builders import build_model_config
from aiconfigurator_core.sdk.models import get_model
from aiconfigurator_core.sdk.utils import HuggingFaceDownloadError

from nimctl.catalog import load_catalog
from nimctl.core.manifest import Artifact, Shape
from nimctl.core.memory import Load, Split, make_budget
from nimctl.core.published_config import UnknownArchitectureError, read_shape
from nimctl.core.units import GIB
from nimctl.engines import TRAITS

PACKAGE = Path(aiconfigurator_core.__file__).parent
BACKENDS = {"vllm": "vllm", "tensorrt_llm": "trtllm"}
LOADS = ((8192, 1), (32_768, 1), (8192, 16))
WIDTHS = (1, 8)
DEVICE_BYTES = 80 * GIB
BATCH_TOKENS = 8192
UNKNOWN_PARAMETERS = 10**13  # the number of weights changes no memory
PARTS = ("weights", "cache", "activations", "rest", "total")

SAME_SHAPE = {
    "meta-llama/Meta-Llama-3.1-8B": "meta-llama/Llama-3.1-8B-Instruct",
    "meta-llama/Meta-Llama-3.1-70B": "meta-llama/Llama-3.1-70B-Instruct",
    "meta-llama/Meta-Llama-3.1-405B": "meta-llama/Llama-3.1-405B-Instruct",
    "mistralai/Mixtral-8x7B-v0.1": "mistralai/Mixtral-8x7B-Instruct-v0.1",
    "mistralai/Mixtral-8x22B-v0.1": "mistralai/Mixtral-8x22B-Instruct-v0.1",
    "deepseek-ai/DeepSeek-V3": "deepseek-ai/DeepSeek-V3-0324",
    "google/gemma-4-26B-A4B": "google/gemma-4-26B-A4B-it",
}
"""Base models by the catalogue's instructed ones, whose tensors have the same shapes."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One model on one engine at one load: each part in bytes, ours and theirs."""

    model: str
    engine: str
    width: int
    context: int
    sequences: int
    exact_weights: bool
    ours: dict[str, float]
    theirs: dict[str, float]

    def ratio(self, part: str) -> float:
        return self.ours[part] / self.theirs[part] if self.theirs[part] else float("nan")


def list_models() -> Iterator[tuple[str, Shape, Artifact | None]]:
    """Every config it ships that nimctl can judge, and its exact weights where they are known."""
    catalog = load_catalog()
    artifacts = {
        profile.artifact.source.location.lower(): (manifest.shape, profile.artifact)
        for manifest in catalog.manifests()
        for profile in manifest.profiles
        if profile.artifact.format == "safetensors"
    }
    for path in sorted((PACKAGE / "model_configs").glob("*_config.json")):
        name = path.name.removesuffix("_config.json")
        if name.endswith("_hf_quant"):
            continue
        name = name.replace("--", "/", 1)
        location = SAME_SHAPE.get(name, name).lower()
        try:
            shape = read_shape(json.loads(path.read_text()), parameters=UNKNOWN_PARAMETERS)
        except UnknownArchitectureError:
            continue
        yield (name, *artifacts.get(location, (shape, None)))


def read_theirs(
    name: str, engine: str, width: int, context: int, sequences: int, *, experts: bool
) -> tuple[dict[str, float], float]:
    """Its bytes by part, and the bytes of one element of its keys and values."""
    spread = {"moe_tp_size": 1, "moe_ep_size": width} if experts else {"moe_tp_size": width}
    config = build_model_config(
        tp_size=width, pp_size=1, attention_dp_size=1, **({"moe_ep_size": 1} | spread)
    )
    model = get_model(name, config, BACKENDS[engine])
    # all that is read of a table of speeds is what the system itself takes
    system = yaml.safe_load((PACKAGE / "systems" / "h100_sxm.yaml").read_text())
    used = get_backend(BACKENDS[engine])._get_memory_usage(
        model, SimpleNamespace(system_spec=system), sequences, 1, context, 0,
        num_tokens=BATCH_TOKENS, max_seq_len=context,
    )  # fmt: skip
    parts = {
        "weights": used["weights"],
        "cache": used["kvcache"],
        "activations": used["activations"],
        "rest": used["nccl"] + used["others"],
        "total": used["total"],
    }
    element_bytes = model.config.kvcache_quant_mode.value.memory
    return {part: gib * GIB for part, gib in parts.items()}, element_bytes


def read_ours(
    shape: Shape, weight_bytes: int, engine: str, width: int, load: Load
) -> dict[str, float]:
    """Our bytes by part."""
    budget = make_budget(
        shape,
        TRAITS[engine].memory,
        weight_bytes=weight_bytes,
        load=load,
        split=Split(tensor_parallel=width, pipeline_parallel=1, lora=False),
        free_bytes=DEVICE_BYTES,
        total_bytes=DEVICE_BYTES,
    )
    return {
        "weights": budget.weights,
        "cache": budget.kv_cache,
        "activations": budget.activations,
        "rest": budget.communication + budget.graphs + budget.context,
        "total": budget.needed,
    }


def compare() -> Iterator[Row]:
    """Every model, engine, width and load that both can estimate."""
    for name, shape, artifact in list_models():
        for engine, width, (context, sequences) in product(BACKENDS, WIDTHS, LOADS):
            if shape.attention_heads % width:
                continue
            try:
                theirs, element_bytes = read_theirs(
                    name,
                    engine,
                    width,
                    context,
                    sequences,
                    experts=shape.active_parameters is not None,
                )
            except HuggingFaceDownloadError:
                break  # it reads this config from the hub alone
            weight_bytes = artifact.weight_bytes if artifact else int(theirs["weights"] * width)
            load = Load(context_length=context, sequences=sequences, kv_element_bytes=element_bytes)
            yield Row(
                model=name,
                engine=engine,
                width=width,
                context=context,
                sequences=sequences,
                exact_weights=artifact is not None,
                ours=read_ours(shape, weight_bytes, engine, width, load),
                theirs=theirs,
            )


def find_furthest(rows: list[Row], part: str) -> list[Row]:
    """The row of each model in which a part differs most, the furthest model first."""
    furthest: dict[str, Row] = {}
    known = [row for row in rows if row.theirs[part]]
    for row in sorted(known, key=lambda row: -abs(log(row.ratio(part)))):
        furthest.setdefault(row.model, row)
    return list(furthest.values())


def print_row(row: Row) -> None:
    print(
        f"{row.model:<52}{row.engine:<13}tp{row.width} {row.context:>6} x {row.sequences:<3}",
        end="",
    )
    for part in PARTS:
        ours, theirs = row.ours[part] / GIB, row.theirs[part] / GIB
        print(f"{ours:>8.2f}/{theirs:<8.2f}", end="")
    print(f"{row.ratio('total'):>6.2f}")


def main() -> None:
    """Print all rows where asked for, the medians, and the models that differ most."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--all", action="store_true", help="print every row")
    everything = parser.parse_args().all
    logging.disable(logging.WARNING)
    rows = list(compare())
    print("GiB on one GPU, nimctl/aiconfigurator:", *PARTS)
    if everything:
        for row in rows:
            print_row(row)
    for engine in BACKENDS:
        print(f"\n{engine}: median, least and most of nimctl / aiconfigurator")
        for part in PARTS:
            ratios = sorted(
                row.ratio(part)
                for row in rows
                if row.engine == engine
                and row.theirs[part]
                and (row.exact_weights or part != "weights")
            )
            print(f"  {part:<12}{median(ratios):>7.3f}{ratios[0]:>8.3f}{ratios[-1]:>8.3f}", end="")
            print(f"  of {len(ratios)}")
    print(f"\n{len({row.model for row in rows})} models")
    for part in PARTS:
        print(f"the five whose {part} differs most")
        for row in find_furthest(rows, part)[:5]:
            print_row(row)


if __name__ == "__main__":
    main()
