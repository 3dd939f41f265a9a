"""Prints predicted against actual memory of the real model: llama.cpp by buffer, vLLM by token.

    nimctl download smollm2-135m-instruct
    nimctl engines install vllm             # without it, llama.cpp alone is compared
    python tests/benchmarks/memory_model.py

Starts each engine at several settings, reads the sizes it prints, and compares them with nimctl's
budget for the same settings.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from nimctl.catalog import load_catalog
from nimctl.core.memory import Load, Split, make_budget
from nimctl.core.units import GIB, MIB
from nimctl.engines import TRAITS
from nimctl.engines.vllm import count_cpu_cache_tokens
from nimctl.environments.managed import python_of

SETTINGS = [
    (2048, 1, "f16"),
    (8192, 1, "f16"),
    (2048, 4, "f16"),
    (8192, 4, "f16"),
    (8192, 1, "q8_0"),
]
VLLM_SETTINGS = [(1000, 1), (2048, 4), (8192, 1), (8192, 4)]
PRINTED = re.compile(r"(model|KV|output|compute) buffer size = +([0-9.]+) MiB")
WAIT_S = 60


def find_weights() -> Path:
    """The file `nimctl download` left in the cache."""
    command = [sys.executable, "-m", "nimctl", "download", "smollm2-135m-instruct"]
    command += ["--engine", "llama.cpp"]
    folder = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return next(path for path in Path(folder).rglob("*.gguf"))


def read_actual(weights: Path, context: int, sequences: int, kv: str) -> dict[str, float]:
    """Sizes in MiB that the engine prints, and the resident memory of its process."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        command = [
            sys.executable, "-P", "-m", "nimctl.environments.llama_server",
            "--model", str(weights), "--host", f"{folder}/engine.sock", "--threads", "2",
            "--ctx-size", str(context * sequences), "--parallel", str(sequences),
            "--cache-ram", "0", "--cache-type-k", kv, "--cache-type-v", kv,
        ]  # fmt: skip
        with log.open("wb") as output:
            engine = subprocess.Popen(command, stdout=output, stderr=output)
        deadline = time.monotonic() + WAIT_S
        while "listening on" not in log.read_text() and time.monotonic() < deadline:
            time.sleep(0.1)
        status = Path(f"/proc/{engine.pid}/status").read_text()
        engine.send_signal(signal.SIGTERM)
        engine.wait(WAIT_S)
        sizes = {name: float(size) for name, size in PRINTED.findall(log.read_text())}
    resident = re.search(r"VmRSS:\s+(\d+) kB", status)
    return sizes | {"process": int(resident.group(1)) / 1024 if resident else float("nan")}


def compare_vllm(gguf: Path) -> None:
    """Print the same for vLLM on the CPU, where nimctl has installed it."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from e2e.smollm2_safetensors import make_safetensors
    from e2e.vllm_on_cpu import find_vllm

    vllm = find_vllm()
    if vllm is None:
        print("vLLM for CPUs is not installed: nimctl engines install vllm")
        return
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights"
        make_safetensors(python_of(vllm.folder), gguf, weights)
        print(f"\n{'vLLM: context x sequences':<26}{'part':<14}{'predicted':>14}{'actual':>14}")
        for context, sequences in VLLM_SETTINGS:
            compare_vllm_setting(weights, context, sequences, Path(folder))


def compare_vllm_setting(weights: Path, context: int, sequences: int, folder: Path) -> None:
    """Serve once, and print the tokens of the cache and the memory of vLLM's processes."""
    from e2e.vllm_on_cpu import EAGER, VllmServer

    size = ("--context-length", str(context), "--concurrency", str(sequences))
    command = [sys.executable, "-m", "nimctl", "select", str(weights), "--engine", "vllm", *size]
    shown = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    selection = json.loads(shown.stdout)
    argv = selection["command"]
    predicted_tokens = count_cpu_cache_tokens(
        load_catalog().find("huggingfacetb/smollm2-135m-instruct").shape,
        int(argv[argv.index("--kv-cache-memory-bytes") + 1]),
        context_length=context,
    )
    needed = selection["profiles"][0]["plan"]["memory_per_device"]["needed_bytes"]
    environment = os.environ | {"XDG_STATE_HOME": str(folder / f"{context}-{sequences}")}
    server = VllmServer(environment, weights, *size, *EAGER)
    try:
        server.wait_until_ready()
        tokens, held = server.read_printed_tokens(), server.count_memory_bytes()
    finally:
        server.stop()
    name = f"{context} x {sequences}"
    print(f"{name:<26}{'cache, tokens':<14}{predicted_tokens:>14,}{tokens:>14,}")
    print(
        f"{name:<26}{'all processes':<14}{needed / MIB:>10.1f} MiB{held / MIB:>10.1f} MiB"
        f"{needed / held:>8.3f}"
    )


def main() -> None:
    """Print one line for each setting and buffer."""
    manifest = load_catalog().find("huggingfacetb/smollm2-135m-instruct")
    profile = next(p for p in manifest.profiles if p.engine == "llama.cpp")
    traits = TRAITS["llama.cpp"].memory_on_cpu
    assert traits is not None
    weights = find_weights()
    print(f"{'context x sequences, KV':<26}{'part':<14}{'predicted':>11}{'actual':>11}{'ratio':>8}")
    for context, sequences, kv in SETTINGS:
        precision = traits.find_kv_precision(kv)
        assert precision is not None
        budget = make_budget(
            manifest.shape,
            traits,
            weight_bytes=profile.artifact.weight_bytes,
            load=Load(
                context_length=context,
                sequences=sequences,
                kv_element_bytes=precision.element_bytes,
            ),
            split=Split(tensor_parallel=1, pipeline_parallel=1, lora=False),
            free_bytes=16 * GIB,
            total_bytes=16 * GIB,
        )
        actual = read_actual(weights, context, sequences, kv)
        rows = (
            ("weights", budget.weights, actual["model"]),
            ("KV cache", budget.kv_cache, actual["KV"]),
            ("activations", budget.activations, actual["compute"] + actual["output"]),
            ("whole process", budget.needed, actual["process"]),
        )
        for part, predicted, measured in rows:
            print(
                f"{f'{context} x {sequences}, {kv}':<26}{part:<14}{predicted / MIB:>7.1f} MiB"
                f"{measured:>7.1f} MiB{predicted / MIB / measured:>8.3f}"
            )
    compare_vllm(weights)


if __name__ == "__main__":
    main()
