"""Which engine answers at an address, and what it serves, from its own answers; pure.

Owners of models: `ModelCard.owned_by` in vLLM's `entrypoints/serve/engine/protocol.py`, SGLang's
`srt/entrypoints/openai/protocol.py` and TensorRT-LLM's `serve/openai_protocol.py`, llama.cpp's
`server-context.cpp`. Adapters: vLLM and SGLang name the `parent` of each. Slots and context:
llama.cpp's `/props`, `max_model_len` of the others.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nimctl.core.request_fields import read_version
from nimctl.core.surface import Offer, offer
from nimctl.engines import ENGINES

MODELS, VERSION, PROPS = "/v1/models", "/version", "/props"
NIM_READY, METRICS = "/v1/health/ready", "/metrics"
ASKED = (MODELS, VERSION, PROPS, NIM_READY, METRICS)
"""What an unknown engine is asked, the list of its models first."""

LONGEST_NAME = 512
_ENGINE_BY_OWNER = {
    "vllm": "vllm",
    "sglang": "sglang",
    "llamacpp": "llama.cpp",
    "tensorrt_llm": "tensorrt_llm",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """One answer of an engine: its status and its body."""

    status: int
    body: bytes

    @property
    def document(self) -> dict[str, Any]:
        """The JSON object in a 200; empty where there is none."""
        try:
            document = json.loads(self.body) if self.status == 200 else None
        except (ValueError, RecursionError):
            return {}
        return document if isinstance(document, dict) else {}


@dataclass(frozen=True, kw_only=True, slots=True)
class Recognised:
    """An engine that runs elsewhere, as far as it tells of itself.

    Attributes:
        engine: Its name where nimctl knows it; None is any other with OpenAI's API.
        version: Its own; None where it does not tell.
        names: Its models, without adapters; empty where it lists none.
        adapters: LoRA adapters that are asked for as models.
        context_lengths: Tokens one sequence may hold, by model, where it tells.
        sequences: How many requests it works on at once, where it tells.
        health_path: Answers 200 while it can serve.
        offer: What clients may ask of it.
    """

    engine: str | None
    version: str | None
    names: tuple[str, ...]
    adapters: tuple[str, ...]
    context_lengths: Mapping[str, int]
    sequences: int | None
    health_path: str
    offer: Offer


def recognise(told: Mapping[str, Told]) -> Recognised:
    """The engine that gave these answers to what it was `ASKED`, by path."""
    entries = [one for one in _list(told[MODELS].document.get("data")) if _is_named(one)]
    engine = next((_ENGINE_BY_OWNER.get(str(one.get("owned_by"))) for one in entries), None)
    version = _text(told[VERSION].document.get("version")) if engine else None
    props = told[PROPS].document if engine == "llama.cpp" else {}
    return Recognised(
        engine=engine,
        version=version,
        names=tuple(one["id"] for one in entries if not one.get("parent")),
        adapters=tuple(one["id"] for one in entries if one.get("parent")),
        context_lengths={one["id"]: length for one in entries if (length := _context(one))},
        sequences=_count(props.get("total_slots")),
        health_path=_find_health_path(engine, told),
        offer=_offer(engine, version, told),
    )


def _offer(engine: str | None, version: str | None, told: Mapping[str, Told]) -> Offer:
    if engine is not None:
        return offer(ENGINES[engine].surface, version=read_version(version), argv=None)
    shows_figures = told[METRICS].status == 200 and b"# TYPE " in told[METRICS].body
    return Offer(metrics_path=METRICS if shows_figures else "")


def _find_health_path(engine: str | None, told: Mapping[str, Told]) -> str:
    if engine is not None:
        return "/health"
    # NIM's own, and nimctl's; any other path that is not OpenAI's could mean anything.
    is_nim = told[NIM_READY].document.get("object") == "health.response"
    return NIM_READY if is_nim else MODELS


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _is_named(entry: object) -> bool:
    name = entry.get("id") if isinstance(entry, dict) else None
    return isinstance(name, str) and 0 < len(name) <= LONGEST_NAME and name.isprintable()


def _context(entry: Mapping[str, Any]) -> int | None:
    meta = entry.get("meta")
    own = meta.get("n_ctx") if isinstance(meta, dict) else None
    return _count(entry.get("max_model_len")) or _count(own)


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and value > 0 else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value.isprintable() else None
