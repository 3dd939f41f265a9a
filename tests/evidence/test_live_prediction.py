"""Predictions on the spot: only for what is not shipped, and equal to what is."""

import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from core_cases import SHAPE

from nimctl.core.manifest import KvLayers
from nimctl.core.speed import ONE_AT_A_TIME
from nimctl.evidence import live
from nimctl.evidence.live import make_config, predict_live

ROOT = Path(__file__).parents[2]
# A model that nobody published: narrower than Llama 8B, and of fewer layers.
OWN = replace(
    SHAPE,
    parameters=3_000_000_000,
    hidden_size=2304,
    attention_heads=16,
    kv=(KvLayers(layers=26, kv_heads=4, head_dim=128),),
)


def predict(shape=OWN, **changes):
    place = {"gpu": "H100", "engine": "vllm", "precision": "bf16", "tensor_parallel": 1, **changes}
    return predict_live(shape, traffic=ONE_AT_A_TIME, **place)


@pytest.mark.parametrize(
    "shape",
    [
        replace(OWN, architecture="OlmoForCausalLM"),
        replace(OWN, active_parameters=1_000_000_000),
        replace(OWN, feed_forward_size=None),
        replace(OWN, kv=(KvLayers(layers=26, kv_heads=6, head_dim=128, window=4096),)),
        replace(OWN, kv=(*OWN.kv, *OWN.kv)),
    ],
)
def test_a_shape_that_says_too_little_is_not_guessed_at(shape):
    assert make_config(shape) is None
    assert make_config(OWN) is not None


def test_without_the_extra_nothing_is_predicted_and_nothing_fails():
    assert live.is_installed() or predict() is None


PACKAGE_IS_LOADED = """
import sys
sys.path[:0] = [sys.argv[1], sys.argv[2]]
from core_cases import SHAPE
from test_live_prediction import predict
assert predict(SHAPE) is None  # shipped, so tried before
assert predict(gpu="T4") is None and predict(engine="llama.cpp") is None
assert predict(precision="int4") is None and predict(precision="nvfp4") is None
print("aiconfigurator_core" in sys.modules)
"""


def test_the_package_is_not_loaded_for_what_it_cannot_add():
    folders = [str(ROOT / "tests"), str(ROOT / "tests" / "evidence")]
    command = [sys.executable, "-c", PACKAGE_IS_LOADED, *folders]
    result = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stdout == "False\n"


COMPARE = """
import csv, sys
from dataclasses import replace
sys.path[:0] = sys.argv[1:]
from speed_models import MODELS
from nimctl.core.manifest import KvLayers, Shape
from nimctl.core.speed import ONE_AT_A_TIME
from nimctl.evidence import live

def make_shape(model):
    hidden, inner, layers, heads, kv_heads, head_dim, vocab = model.dimensions
    return Shape(
        architecture=model.architecture, parameters=round(model.parameters * 1e9),
        hidden_size=hidden, feed_forward_size=inner, attention_heads=heads, vocab_size=vocab,
        max_context_length=32768,
        kv=(KvLayers(layers=layers, kv_heads=kv_heads, head_dim=head_dim),),
    )

DIGITS = {"ttft_ms": 1, "itl_ms": 3, "loaded_ttft_ms": 1, "loaded_itl_ms": 3, "tokens_s": 0}
configs = {m.name: live.make_config(make_shape(m)) for m in MODELS if m.dimensions}
compared = 0
for shipped in csv.DictReader(open("nimctl/evidence/predictions.csv")):
    if shipped["model"] not in configs or shipped["gpu"] not in ("H100", "L40S"):
        continue
    place = (shipped["gpu"], shipped["engine"], shipped["precision"], int(shipped["tp"]))
    row = live._predict_row(configs[shipped["model"]], *place)
    for name, digits in DIGITS.items():
        distance = abs(getattr(row, name) - float(shipped[name]))
        assert distance <= 0.5001 * 10**-digits, (shipped, name, row)
    assert row.concurrency == int(shipped["concurrency"])
    compared += 1
print(compared)

from test_live_prediction import OWN, predict
own = predict()
assert own.origin == "predicted" and own.inter_token_latency_s > 0.001, own
assert "aiconfigurator 0.12" in own.source and "vLLM" in own.source, own.source
assert predict() is own
assert predict(precision="fp8").inter_token_latency_s < own.inter_token_latency_s
odd = replace(OWN, kv=(replace(OWN.kv[0], kv_heads=6),))  # six were not measured
assert predict(odd) is None and predict(tensor_parallel=3) is None
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_is_predicted_now_equals_what_is_shipped(tmp_path):
    """In an environment of its own, as the package is large and no dependency."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (wanted,) = extras["optional-dependencies"]["predict"]
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", wanted, "pytest"], check=True)
    folders = [str(ROOT / name) for name in (".", "scripts", "tests", "tests/evidence")]
    result = subprocess.run(
        [python, "-c", COMPARE, *folders], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) > 200
