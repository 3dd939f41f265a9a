"""Which parser reads the answers of which model, for the catalogue and by name and architecture."""

import pytest

from nimctl.catalog import load_catalog
from nimctl.engines import ENGINES
from nimctl.engines.model_families import FAMILIES, choose_parsers, find_family

WITHOUT = {
    # Nobody trained these to call tools in a format that a parser reads, nor to reason in tags.
    "allenai/olmo-2-1124-13b-instruct",
    "allenai/olmo-2-1124-7b-instruct",
    "google/gemma-3-12b-it",
    "google/gemma-3-1b-it",
    "google/gemma-3-27b-it",
    "google/gemma-3-4b-it",
    "huggingfacetb/smollm2-1.7b-instruct",
    "huggingfacetb/smollm2-135m-instruct",
    "huggingfacetb/smollm2-360m-instruct",
    "meta/llama3-8b-instruct",
    "microsoft/phi-4",
    "mistralai/mixtral-8x7b-instruct-v0.1",
    # Its maker's parser is a plug-in beside the weights.
    "nvidia/llama-3.3-nemotron-super-49b-v1",
}


def parsers(model, engine="vllm", version=None):
    manifest = load_catalog().find(model)
    return choose_parsers(engine, version, manifest.model, manifest.shape.architecture)


def test_every_chat_model_of_the_catalogue_has_a_family_or_is_known_to_have_none():
    models = [one for one in load_catalog().manifests() if one.kind == "chat"]
    lacking = {one.model for one in models if not find_family(one.model, one.shape.architecture)}
    assert lacking == WITHOUT


@pytest.mark.parametrize(
    ("model", "tools", "reasoning"),
    [
        ("qwen/qwen3-8b", "hermes", "qwen3"),
        ("qwen/qwen3-4b-instruct-2507", "hermes", None),
        ("qwen/qwen3-coder-480b-a35b-instruct", "qwen3_coder", None),
        ("qwen/qwen3.5-27b", "qwen3_coder", "qwen3"),
        ("qwen/qwen2.5-7b-instruct", "hermes", None),
        ("meta/llama-3.1-8b-instruct", "llama3_json", None),
        ("meta/llama-4-scout-17b-16e-instruct", "llama4_pythonic", None),
        ("deepseek-ai/deepseek-r1", None, "deepseek_r1"),
        ("deepseek-ai/deepseek-r1-distill-llama-8b", None, "deepseek_r1"),
        ("deepseek-ai/deepseek-v3-0324", "deepseek_v3", None),
        ("deepseek-ai/deepseek-v3.1", "deepseek_v31", "deepseek_v3"),
        ("moonshotai/kimi-k2-instruct", "kimi_k2", None),
        ("openai/gpt-oss-20b", "openai", "openai_gptoss"),
        ("zai-org/glm-4.5-air", "glm45", "glm45"),
        ("mistralai/mistral-7b-instruct-v0.3", "mistral", None),
        ("nvidia/nemotron-3-nano-30b-a3b", "qwen3_coder", "nemotron_v3"),
    ],
)
def test_models_of_the_catalogue_on_vllm(model, tools, reasoning):
    found = parsers(model)
    assert (found.tools, found.reasoning) == (tools, reasoning)


def test_a_bare_model_is_told_by_its_architecture_where_that_is_enough():
    assert choose_parsers("vllm", None, "local/my-model", "Qwen3ForCausalLM").tools == "hermes"
    assert choose_parsers("vllm", None, "local/my-model", "LlamaForCausalLM") is None
    assert find_family("acme/Llama-3.1_8B-tuned", "LlamaForCausalLM").title == "Llama 3.1 to 3.3"


def test_a_parser_that_a_version_lacks_is_not_chosen():
    assert parsers("openai/gpt-oss-20b", version=(0, 10)).tools is None
    assert parsers("openai/gpt-oss-20b", version=(0, 10, 2)).tools == "openai"
    old, new = (parsers("qwen/qwen3-8b", "tensorrt_llm", one) for one in ((1, 1), (1, 2)))
    assert (old.tools, old.reasoning) == (None, "qwen3")
    assert (new.tools, new.reasoning) == ("qwen3", "qwen3")


def test_every_family_says_who_says_so_for_engines_there_are():
    for family in FAMILIES:
        assert family.source
        assert family.tools or family.reasoning
        assert {*family.tools, *family.reasoning} <= set(ENGINES)
