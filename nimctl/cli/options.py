"""Options that several commands share, each named as the setting it sets."""

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[
    str | None,
    typer.Argument(
        metavar="MODEL",
        help="A model of the catalogue by its name, or any by its place: hf://org/name[:revision], "
        "ngc://org/name:version, a folder (./model), a .gguf file.",
        show_default=False,
    ),
]
Profile = Annotated[
    str | None,
    typer.Option(help="Profile to use: an id, its beginning, or a description."),
]
Engine = Annotated[str | None, typer.Option(help="tensorrt_llm, vllm or llama.cpp.")]
EnginePath = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="The engine's program: vllm, trtllm-serve, llama-server."),
]
Container = Annotated[
    str | None,
    typer.Option(metavar="PROGRAM", help="Run the engine's own image, with docker or podman."),
]
Image = Annotated[
    str | None, typer.Option("--image", metavar="NAME", help="The image to run with --container.")
]
ShmSize = Annotated[
    str | None,
    typer.Option(metavar="SIZE", help="Shared memory of the --container, e.g. 32g. [default: 16g]"),
]
Precision = Annotated[
    str | None, typer.Option(help="Precision of the weights, e.g. fp8, bf16 or q4_k_m.")
]
Goal = Annotated[str | None, typer.Option(help="latency, throughput, balanced or quality.")]
ContextLength = Annotated[
    str | None,
    typer.Option(
        metavar="TOKENS", help="Tokens one sequence can hold, prompt and answer together."
    ),
]
Concurrency = Annotated[
    str | None, typer.Option(metavar="N", help="Sequences of that length that fit at once.")
]
KvPrecision = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Keep keys and values in fewer bits, e.g. fp8 or q8_0."),
]
TensorParallel = Annotated[
    str | None, typer.Option(metavar="N", help="GPUs to split each layer over.")
]
MemoryShare = Annotated[
    str | None,
    typer.Option(metavar="SHARE", help="Share of a GPU's memory the engine may take, e.g. 0.85."),
]
Gpus = Annotated[
    str | None,
    typer.Option(metavar="LIST", help="GPUs that may be used: 0,1 or UUIDs (GPU-..., MIG-...)."),
]
Lora = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=PATH|DIR",
        help="A LoRA adapter by the name clients use, may be repeated; or a folder of adapters.",
    ),
]
_ENGINE = "Engine options"
MaxLoraRank = Annotated[
    str | None,
    typer.Option(
        metavar="N", help="Largest rank of an adapter. [default: theirs]", rich_help_panel=_ENGINE
    ),
]
ToolParser = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="What reads tool calls, or none. [default: the model's]",
        rich_help_panel=_ENGINE,
    ),
]
ReasoningParser = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="What tells reasoning from answers, or none. [default: the model's]",
        rich_help_panel=_ENGINE,
    ),
]
ChatTemplate = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="A chat template (Jinja) instead of the model's.",
        rich_help_panel=_ENGINE,
    ),
]
PrefixCaching = Annotated[
    bool | None,
    typer.Option(
        "--prefix-caching/--no-prefix-caching",
        help="Keep what prompts begin with for the next.",
        rich_help_panel=_ENGINE,
    ),
]
ChunkedPrefill = Annotated[
    bool | None,
    typer.Option(
        "--chunked-prefill/--no-chunked-prefill",
        help="Work on long prompts in pieces.",
        rich_help_panel=_ENGINE,
    ),
]
StructuredOutput = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="What holds answers to a schema.", rich_help_panel=_ENGINE),
]
Speculative = Annotated[
    str | None,
    typer.Option(
        metavar="HOW",
        help="Guess tokens ahead: ngram, mtp, or the place of a draft model.",
        rich_help_panel=_ENGINE,
    ),
]
SpeculativeTokens = Annotated[
    str | None,
    typer.Option(metavar="N", help="Tokens guessed at once.", rich_help_panel=_ENGINE),
]
Seed = Annotated[
    str | None,
    typer.Option(metavar="N", help="Seed of the engine's random numbers.", rich_help_panel=_ENGINE),
]
TrustRemoteCode = Annotated[
    bool | None,
    typer.Option(
        "--trust-remote-code",
        help="Bring and run code of the model's publisher.",
        rich_help_panel=_ENGINE,
    ),
]
AllowCpu = Annotated[
    bool | None,
    typer.Option("--allow-cpu", help="Let the CPU do it where the GPUs of this machine cannot."),
]
Heal = Annotated[
    bool | None,
    typer.Option(
        "--heal/--no-heal",
        help="Try a smaller plan when a start fails in a known way, and begin with those that "
        "helped before. [default: heal]",
        show_default=False,
    ),
]
CacheDir = Annotated[Path | None, typer.Option(metavar="DIR", help="Where weights are kept.")]
ManifestDir = Annotated[
    Path | None, typer.Option(metavar="DIR", help="A folder with more manifests.")
]
Hardware = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|PRESET",
        help="Judge another machine: a snapshot (doctor --snapshot), or a preset, e.g. h100x8.",
    ),
]
Explain = Annotated[
    bool, typer.Option("--explain", help="Show every profile, its objections and its rank.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Offline = Annotated[
    bool | None, typer.Option("--offline", help="Use what is in the cache; open no connection.")
]
