"""Makes real engines fail in known ways and keeps the ends of their logs for the tests.

    python scripts/record_symptoms.py llama.cpp MODEL.gguf [CODE...]
    python scripts/record_symptoms.py vllm MODEL_FOLDER [CODE...] --program ENVIRONMENT/bin/vllm

Writes `tests/engines/symptoms/ENGINE/CODE.log`. The GGUF is SmolLM2 in Q4_1 (llama architecture,
tokenizer `smollm`), the folder the same model as safetensors; vLLM is its build for CPUs.
"""

import argparse
import contextlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

FIXTURES = Path(__file__).parents[1] / "tests" / "engines" / "symptoms"
_LAST_LINES = 24
_LONGEST_LINE = 600
_TIMEOUT_S = 400
_NOISE = re.compile(
    r"print_info|llama_model_loader: - |lora_init_impl: - |^\s*$|^usage:|^ {8,}\[|common_param:"
)
_CODE = re.compile(r"^(\(\w+ pid=\d+\) )?((ERROR|WARNING) [^]]*\] )?\s{4,}\S|^(\(.*\] )?  File ")

Prepare = Callable[[Path, Path], list[str]]
"""From the model and an empty folder to the engine's arguments."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One failure to provoke.

    Attributes:
        prepare: Makes what the engine is given.
        address_space_bytes: As much memory as the engine may ask for.
        open_files: As many files as it may open at once.
        environment: Variables to add.
    """

    prepare: Prepare
    address_space_bytes: int | None = None
    open_files: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


def main() -> None:
    """Provoke the failures that were named, or all of an engine's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine", choices=("llama.cpp", "vllm"))
    parser.add_argument("model", type=Path)
    parser.add_argument("--program", help="the engine's; the wheel's for llama.cpp")
    parser.add_argument("codes", nargs="*")
    options = parser.parse_args()
    cases = LLAMA_CPP if options.engine == "llama.cpp" else VLLM
    wheel = [sys.executable, "-P", "-m", "nimctl.environments.llama_server"]
    program = [options.program] if options.program else wheel
    if options.engine == "vllm":
        program.append("serve")
    for code in options.codes or cases:
        with tempfile.TemporaryDirectory(prefix="symptom-") as folder:
            log = provoke(cases[code], options.model.resolve(), Path(folder), program)
        path = FIXTURES / options.engine / f"{code}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(cut(log, options.model.resolve(), folder))
        print(f"{path.name}: {path.read_text().splitlines()[-1]}", flush=True)


def provoke(case: Case, model: Path, folder: Path, program: list[str]) -> str:
    """What the engine printed until it ended."""

    def limit() -> None:
        if case.address_space_bytes:
            resource.setrlimit(resource.RLIMIT_AS, (case.address_space_bytes,) * 2)
        if case.open_files:
            resource.setrlimit(resource.RLIMIT_NOFILE, (case.open_files,) * 2)

    quiet = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "HOME": str(folder)}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*program, *case.prepare(model, folder)],
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=limit,  # noqa: PLW1509 - no threads here
            env={**os.environ, **quiet, **case.environment},
        )
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_TIMEOUT_S)
        print(f"exit code {process.returncode}", end=" ", flush=True)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return (folder / "log").read_text(errors="replace")


def cut(log: str, model: Path, folder: str) -> str:
    """The last lines that say something, with no path of this machine."""
    telling = [
        line.rstrip()[:_LONGEST_LINE]
        for line in log.splitlines()
        if not _NOISE.search(line) and not _CODE.match(line)
    ]
    text = "\n".join(dict.fromkeys(telling[-_LAST_LINES * 3 :])).splitlines()[-_LAST_LINES:]
    whole = "\n".join(text) + "\n"
    for path, name in ((folder, "/folder"), (str(model), "/models/m"), (sys.prefix, "/venv")):
        whole = whole.replace(path, name)
    return re.sub(r"/\S*/(site|dist)-packages/", "", whole)


def gguf(change: Callable[[bytes], bytes], *arguments: str) -> Prepare:
    """Arguments for a copy of the model with changed bytes."""

    def prepare(model: Path, folder: Path) -> list[str]:
        (folder / "model.gguf").write_bytes(change(model.read_bytes()))
        return with_socket(folder / "model.gguf", folder, *arguments)

    return prepare


def with_socket(model: Path, folder: Path, *arguments: str) -> list[str]:
    """llama-server's arguments for a model."""
    socket = str(folder / "engine.sock")
    return ["--model", str(model), "--host", socket, "--threads", "1", *arguments]


def put(data: bytes, after: bytes, old: bytes, new: bytes) -> bytes:
    """The data with the first `old` behind `after` replaced."""
    at = data.index(old, data.index(after))
    return data[:at] + new + data[at + len(old) :]


def take_socket(model: Path, folder: Path) -> list[str]:
    """Arguments with a socket that is there already."""
    (folder / "engine.sock").touch()
    return with_socket(model, folder)


def unfit_adapter(model: Path, folder: Path) -> list[str]:
    """Arguments with a LoRA adapter that is a whole model."""
    return with_socket(model, folder, "--ctx-size", "512", "--lora", str(model))


def unchanged(data: bytes) -> bytes:
    """The same data."""
    return data


_ARCHITECTURE = (b"general.architecture", b"llama", b"llamx")
_TOKENIZER = (b"tokenizer.ggml.pre", b"smollm", b"smolxx")
LLAMA_CPP: dict[str, Case] = {
    "not-gguf": Case(prepare=gguf(lambda data: b"NOPE" + data[4:])),
    "gguf-truncated": Case(prepare=gguf(lambda data: data[: len(data) // 2])),
    "gguf-too-new": Case(prepare=gguf(lambda data: data[:4] + b"\x63" + data[5:])),
    "unknown-architecture": Case(prepare=gguf(lambda data: put(data, *_ARCHITECTURE))),
    "unknown-tokenizer": Case(prepare=gguf(lambda data: put(data, *_TOKENIZER))),
    "tokenizer-missing": Case(
        prepare=gguf(lambda data: data.replace(b"ggml.tokens", b"ggml.tokenz"))
    ),
    "tensor-missing": Case(
        prepare=gguf(lambda data: data.replace(b"blk.29.ffn_down.w", b"blk.29.ffn_dowx.w"))
    ),
    "weights-missing": Case(prepare=lambda model, folder: with_socket(folder / "no.gguf", folder)),
    "address-taken": Case(prepare=take_socket),
    "unknown-argument": Case(prepare=gguf(unchanged, "--frobnicate")),
    "lora-unfit": Case(prepare=unfit_adapter),
    "out-of-memory-kv": Case(
        prepare=lambda model, folder: with_socket(model, folder, "--ctx-size", "400000"),
        address_space_bytes=3_000_000_000,
    ),
    "out-of-memory-compute": Case(
        prepare=lambda model, folder: with_socket(
            model, folder, "--ctx-size", "2048", "--ubatch-size", "2048", "--batch-size", "2048"
        ),
        address_space_bytes=500_000_000,
    ),
    "out-of-memory-weights": Case(
        prepare=lambda model, folder: with_socket(model, folder, "--no-mmap"),
        address_space_bytes=330_000_000,
    ),
}


def folder_with(change: Callable[[Path], None], *arguments: str) -> Prepare:
    """Arguments for a copy of the model's folder in which something was changed."""

    def prepare(model: Path, folder: Path) -> list[str]:
        copy = folder / "model"
        shutil.copytree(model, copy)
        change(copy)
        return vllm_arguments(copy, folder, *arguments)

    return prepare


def vllm_arguments(model: Path | str, folder: Path, *arguments: str) -> list[str]:
    """`vllm serve`'s arguments for a model."""
    common = ("--uds", str(folder / "engine.sock"), "--enforce-eager", "--dtype", "bfloat16")
    small = [
        part
        for option, value in (("--max-model-len", "512"), (_CACHE, "100000000"))
        if option not in arguments
        for part in (option, value)
    ]
    return [str(model), *common, *small, *arguments]


def configure(**changes: object) -> Callable[[Path], None]:
    """Changes members of config.json; None takes one away."""

    def change(folder: Path) -> None:
        path = folder / "config.json"
        document = json.loads(path.read_text()) | changes
        path.write_text(json.dumps({k: v for k, v in document.items() if v is not None}))

    return change


def remove(*patterns: str) -> Callable[[Path], None]:
    """Takes files away."""

    def change(folder: Path) -> None:
        for pattern in patterns:
            for path in folder.glob(pattern):
                path.unlink()

    return change


def truncate(folder: Path) -> None:
    """Cuts the weights in half."""
    (path,) = folder.glob("*.safetensors")
    os.truncate(path, path.stat().st_size // 2)


def take_vllm_socket(model: Path, folder: Path) -> list[str]:
    """Arguments with a socket that is there already."""
    (folder / "engine.sock").touch()
    return vllm_arguments(model, folder)


def give_code(folder: Path) -> None:
    """Makes a model that brings code of its own."""
    auto = {"AutoConfig": "configuration_x.XConfig", "AutoModelForCausalLM": "modeling_x.X"}
    configure(model_type="x", auto_map=auto, architectures=["X"])(folder)
    (folder / "configuration_x.py").write_text("raise SystemExit\n")


def adapter_of_rank(rank: int) -> Prepare:
    """Arguments with a LoRA adapter of that rank."""

    def prepare(model: Path, folder: Path) -> list[str]:
        adapter = folder / "adapter"
        adapter.mkdir()
        config = {"r": rank, "lora_alpha": 16, "target_modules": ["q_proj"], "peft_type": "LORA"}
        (adapter / "adapter_config.json").write_text(json.dumps(config))
        return vllm_arguments(
            model,
            folder,
            "--enable-lora",
            "--max-lora-rank",
            "16",
            "--lora-modules",
            f"a={adapter}",
        )

    return prepare


_CACHE = "--kv-cache-memory-bytes"
VLLM: dict[str, Case] = {
    "unknown-argument": Case(prepare=lambda m, f: vllm_arguments(m, f, "--frobnicate")),
    "context-too-long": Case(
        prepare=lambda m, f: vllm_arguments(m, f, "--max-model-len", "100000")
    ),
    "unknown-architecture": Case(prepare=folder_with(configure(architectures=["XForCausalLM"]))),
    "unknown-model-type": Case(
        prepare=folder_with(configure(model_type="x", architectures=["XForCausalLM"]))
    ),
    "config-missing": Case(prepare=folder_with(remove("config.json"))),
    "tokenizer-missing": Case(prepare=folder_with(remove("*token*", "vocab*", "merges*"))),
    "weights-missing": Case(prepare=folder_with(remove("*.safetensors"))),
    "weights-damaged": Case(prepare=folder_with(truncate)),
    "needs-remote-code": Case(prepare=folder_with(give_code)),
    "offline": Case(prepare=lambda m, f: vllm_arguments("acme/absent", f)),
    "heads-do-not-divide": Case(
        prepare=lambda m, f: vllm_arguments(m, f, "--tensor-parallel-size", "2")
    ),
    "kv-cache-too-small": Case(
        prepare=lambda m, f: vllm_arguments(m, f, "--max-model-len", "8192", _CACHE, "20000000")
    ),
    "ram-not-free": Case(prepare=lambda m, f: vllm_arguments(m, f, _CACHE, "900000000000")),
    "lora-rank-too-high": Case(prepare=adapter_of_rank(64)),
    "address-taken": Case(prepare=take_vllm_socket),
}


if __name__ == "__main__":
    main()
