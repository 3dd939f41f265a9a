"""One translator per engine: from a plan to the exact process that runs it; pure, no I/O.

A new engine is one module here with `ENGINE = Engine(traits=..., surface=..., launch=...)` and its
place in `ENGINES`.
"""

from nimctl.core.engine import Engine
from nimctl.engines import llama_cpp, sglang, tensorrt_llm, vllm

ENGINES: dict[str, Engine] = {
    engine.traits.name: engine
    for engine in (tensorrt_llm.ENGINE, vllm.ENGINE, sglang.ENGINE, llama_cpp.ENGINE)
}
"""Every engine nimctl can drive, by name."""

TRAITS = {name: engine.traits for name, engine in ENGINES.items()}
"""Traits by engine name, as selection wants them."""
