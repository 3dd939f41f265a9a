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
Gpus = Annotated[str | None, typer.Option(metavar="LIST", help="GPUs that may be used, e.g. 0,1.")]
Lora = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Folder with one LoRA adapter per subfolder.")
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
