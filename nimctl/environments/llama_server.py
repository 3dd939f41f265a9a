"""The `llama-server` of the wheel: llama.cpp's own HTTP server with llama-server's option names.

Run as `python -m nimctl.environments.llama_server --model FILE --host SOCKET`. It serves until it
is told to stop. An option it does not know is refused with exit code 2, as llama-server does.
"""

import argparse
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

_FLASH_ATTENTION = {"on": "ENABLED", "off": "DISABLED", "auto": "AUTO"}


class _PrintVersion(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        import xllamacpp

        print(xllamacpp.__version__)
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="llama_server", allow_abbrev=False)
    add = parser.add_argument
    add("--version", action=_PrintVersion, nargs=0, help="the wheel's, once it is loaded")
    add("-m", "--model", required=True)
    add("-a", "--alias", default="", help="served names, comma separated")
    add("--host", default="127.0.0.1", help="an address, or a path that ends in .sock")
    add("--port", type=int, default=8080)
    add("-c", "--ctx-size", type=int, default=0)
    add("-np", "--parallel", type=int, default=1)
    add("-t", "--threads", type=int)
    add("-tb", "--threads-batch", type=int)
    add("-b", "--batch-size", type=int)
    add("-ub", "--ubatch-size", type=int)
    add("-ngl", "--gpu-layers", "--n-gpu-layers", type=int)
    add("-fa", "--flash-attn", choices=tuple(_FLASH_ATTENTION))
    add("-ctk", "--cache-type-k", choices=_CACHE_TYPES)
    add("-ctv", "--cache-type-v", choices=_CACHE_TYPES)
    add("--cache-ram", type=int, help="MiB for prompts kept outside the slots")
    add("--kv-unified", action="store_true")
    add("--lora", action="append", default=[], help="a GGUF adapter")
    add("-sm", "--split-mode", choices=("none", "layer", "row"))
    add("-ts", "--tensor-split", type=_parse_shares, help="e.g. 3,1: what each GPU gets")
    add("-mg", "--main-gpu", type=int)
    add("-md", "--model-draft", help="a smaller GGUF model that guesses ahead")
    add("--draft-max", "--draft", "--draft-n", type=int)
    add("--chat-template")
    add("--chat-template-file", type=_read_text)
    add("--reasoning-format", choices=("none", "auto", "deepseek", "deepseek-legacy"))
    add("--no-cache-prompt", action="store_true")
    add("--jinja", action="store_true")
    add("--metrics", action="store_true")
    add("--no-webui", action="store_true")
    add("--embedding", "--embeddings", action="store_true")
    add("--no-mmap", action="store_true")
    add("--seed", type=int)
    add("-lv", "--verbosity", type=int, default=4, help="4 prints the sizes of all buffers")
    return parser


def _parse_shares(text: str) -> list[float]:
    return [float(share) for share in text.split(",")]


def _fill(shares: list[float], count: int) -> list[float]:
    """The wheel wants a share for every GPU there could be."""
    return shares + [0.0] * (count - len(shares))


def _read_text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{path}: {error.strerror}") from error


_CACHE_TYPES = ("f32", "f16", "bf16", "q8_0", "q5_0", "q5_1", "q4_0", "q4_1")

# llama-server's option -> where the wheel's parameters keep it; None was not given.
_SETTERS: dict[str, Callable[[Any, Any], None]] = {
    "threads": lambda p, v: setattr(p.cpuparams, "n_threads", v),
    "threads_batch": lambda p, v: setattr(p.cpuparams_batch, "n_threads", v),
    "batch_size": lambda p, v: setattr(p, "n_batch", v),
    "ubatch_size": lambda p, v: setattr(p, "n_ubatch", v),
    "gpu_layers": lambda p, v: setattr(p, "n_gpu_layers", v),
    "cache_ram": lambda p, v: setattr(p, "cache_ram_mib", v),
    "chat_template": lambda p, v: setattr(p, "chat_template", v),
    "chat_template_file": lambda p, v: setattr(p, "chat_template", v),
    "tensor_split": lambda p, v: setattr(p, "tensor_split", _fill(v, len(p.tensor_split))),
    "main_gpu": lambda p, v: setattr(p, "main_gpu", v),
    "draft_max": lambda p, v: setattr(p.speculative.draft, "n_max", v),
    "seed": lambda p, v: setattr(p.sampling, "seed", v),
}


def _parameters(options: argparse.Namespace) -> Any:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = options.model
    params.model_alias = {name for name in options.alias.split(",") if name}
    params.hostnames = [options.host]
    params.port = options.port
    params.n_ctx = options.ctx_size
    params.n_parallel = options.parallel
    params.kv_unified = options.kv_unified
    params.use_jinja = options.jinja
    params.endpoint_metrics = options.metrics
    params.ui = not options.no_webui
    params.embedding = options.embedding
    params.verbosity = options.verbosity
    # The plan has already decided how much memory to take.
    params.fit_params = False
    if options.no_mmap:
        params.load_mode = xllamacpp.llama_load_mode.LLAMA_LOAD_MODE_NONE
    if options.flash_attn:
        name = f"LLAMA_FLASH_ATTN_TYPE_{_FLASH_ATTENTION[options.flash_attn]}"
        params.flash_attn_type = xllamacpp.llama_flash_attn_type[name]
    if options.split_mode:
        name = f"LLAMA_SPLIT_MODE_{options.split_mode.upper()}"
        params.split_mode = xllamacpp.llama_split_mode[name]
    if options.reasoning_format:
        name = options.reasoning_format.upper().replace("-", "_")
        params.reasoning_format = xllamacpp.common_reasoning_format[
            f"COMMON_REASONING_FORMAT_{name}"
        ]
    if options.model_draft:
        kinds = xllamacpp.common_speculative_type
        params.speculative.types = [kinds.COMMON_SPECULATIVE_TYPE_DRAFT_SIMPLE]
        params.speculative.draft.mparams.path = options.model_draft
    params.cache_prompt = not options.no_cache_prompt
    for side in ("k", "v"):
        kind = getattr(options, f"cache_type_{side}")
        if kind:
            value = xllamacpp.ggml_type[f"GGML_TYPE_{kind.upper()}"]
            setattr(params, f"cache_type_{side}", value)
    params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(path, 1.0) for path in options.lora]
    for name, assign in _SETTERS.items():
        value = getattr(options, name)
        if value is not None:
            assign(params, value)
    return params


def main(arguments: list[str]) -> int:
    """Serve until SIGTERM or SIGINT; 1 when the model could not be loaded."""
    options = _parser().parse_args(arguments)
    signals = {signal.SIGTERM, signal.SIGINT}
    # Blocked before llama.cpp starts its threads, so that they inherit it and sigwait gets them.
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    import xllamacpp

    try:
        server = xllamacpp.Server(_parameters(options))
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    print(f"listening on {server.listening_address}", file=sys.stderr, flush=True)
    signal.sigwait(signals)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
