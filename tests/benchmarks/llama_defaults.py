"""What nimctl gives llama.cpp, against the best of a sweep of its own settings, alternated.

    python tests/benchmarks/llama_defaults.py --rounds 3

The command is the one `nimctl select` prints; each candidate changes one setting of it. In every
round each candidate is started once and generates and reads the same, so that the machine's noise
falls on all alike: read the ratios. The model is fetched first where it is not here.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

MODEL = "huggingfacetb/smollm2-135m-instruct"
PROMPT = "Once upon a time there was a computer that could think. " * 24
START_S = 120


def run_nimctl(*arguments):
    command = (sys.executable, "-m", "nimctl", *arguments)
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def read_command(model):
    """The command nimctl writes for the model on this machine."""
    run_nimctl("download", model, "--engine", "llama.cpp")
    return json.loads(run_nimctl("select", model, "--engine", "llama.cpp", "--json"))["command"]


def list_candidates(cpus):
    """Names and the options each adds to nimctl's command; of two the later counts."""
    yield "nimctl", ()
    for threads in sorted({1, max(cpus // 2, 1), cpus, 2 * cpus}):
        yield f"threads {threads}", ("--threads", str(threads))
    for batch, ubatch in ((512, 512), (2048, 128), (2048, 256), (2048, 1024)):
        words = ("--batch-size", str(batch), "--ubatch-size", str(ubatch))
        yield f"batch {batch}, micro-batch {ubatch}", words
    yield "flash attention on", ("--flash-attn", "on")
    yield "flash attention off", ("--flash-attn", "off")
    yield "without mmap", ("--no-mmap",)


@contextlib.contextmanager
def serve(command):
    """The engine on a socket of its own, with a client for it."""
    with tempfile.TemporaryDirectory(prefix="llama-") as folder:
        uds = str(Path(folder) / "engine.sock")
        process = subprocess.Popen(
            [*command, "--host", uds], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            transport = httpx.HTTPTransport(uds=uds)
            with httpx.Client(transport=transport, base_url="http://llama", timeout=300) as client:
                wait_until_ready(client, process)
                yield client
        finally:
            process.terminate()
            process.wait(30)


def wait_until_ready(client, process):
    deadline_s = time.monotonic() + START_S
    while time.monotonic() < deadline_s:
        if process.poll() is not None:
            raise SystemExit(f"the engine ended with {process.returncode}")
        with contextlib.suppress(httpx.TransportError):
            if client.get("/health").status_code == 200:
                return
        time.sleep(0.1)
    raise SystemExit("the engine was not ready in time")


def measure(client, tokens):
    """Tokens a second: generated, and read of a prompt."""
    asked = {"prompt": PROMPT, "temperature": 0, "ignore_eos": True, "cache_prompt": False}
    client.post("/completion", json=asked | {"n_predict": 4}).raise_for_status()
    answer = client.post("/completion", json=asked | {"n_predict": tokens}).raise_for_status()
    timings = answer.json()["timings"]
    return timings["predicted_per_second"], timings["prompt_per_second"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=64, help="generated each time")
    parser.add_argument("--only", help="candidates whose name holds this, beside nimctl's")
    options = parser.parse_args()
    command = read_command(options.model)
    candidates = [
        (name, words)
        for name, words in list_candidates(len(os.sched_getaffinity(0)))
        if name == "nimctl" or not options.only or options.only in name
    ]
    figures = {name: ([], []) for name, _ in candidates}
    for number in range(options.rounds):
        for name, words in candidates:
            with serve([*command, *words]) as client:
                generated, read = measure(client, options.tokens)
            figures[name][0].append(generated)
            figures[name][1].append(read)
            print(f"round {number + 1}: {name}: {generated:.1f}", file=sys.stderr, flush=True)
    print_table(figures)


def print_table(figures):
    medians = {name: [statistics.median(one) for one in both] for name, both in figures.items()}
    ours, best = medians["nimctl"][0], max(medians, key=lambda name: medians[name][0])
    print(f"{'':<34}{'tokens/s':>10}{'prompt/s':>10}{'of nimctl':>11}")
    for name, (generated, read) in sorted(medians.items(), key=lambda item: -item[1][0]):
        print(f"{name:<34}{generated:>10.1f}{read:>10.1f}{generated / ours:>11.3f}")
    print(f"\nnimctl's own is {ours / medians[best][0]:.3f} of the best ({best})")


if __name__ == "__main__":
    main()
