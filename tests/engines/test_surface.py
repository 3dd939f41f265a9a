"""What each engine offers clients, and what it calls NIM's fields and figures."""

import pytest

from nimctl.core.request_fields import RefusedFieldError, translate_fields
from nimctl.core.surface import Offer, offer, read_sequences
from nimctl.engines import ENGINES
from nimctl.engines.guided import choice_as_grammar

CHAT = "/v1/chat/completions"
NVEXT = (
    "guided_json",
    "guided_regex",
    "guided_choice",
    "guided_grammar",
    "guided_whitespace_pattern",
    "guided_decoding_backend",
    "top_k",
    "min_p",
    "repetition_penalty",
    "ignore_eos",
    "stop_token_ids",
    "max_thinking_tokens",
    "add_generation_prompt",
    "chat_template",
)


def offered(engine, version=None, *argv):
    return offer(ENGINES[engine].surface, version=version, argv=argv)


def translate(engine, version=None, path=CHAT, **extension):
    what = offered(engine, version)
    return translate_fields({}, extension, what.fields[path], what.title)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("path", [CHAT, "/v1/completions"])
def test_every_engine_has_a_rule_for_every_field_of_nims(engine, path):
    rules = offered(engine).fields[path]
    assert set(NVEXT) <= set(rules)
    for rule in rules.values():
        assert bool(rule.place) != bool(rule.reason)


@pytest.mark.parametrize("engine", ENGINES)
def test_figures_are_nims(engine):
    for source in ENGINES[engine].surface.figures:
        assert not source.name.startswith(("vllm", "llama"))
        assert source.families


def test_vllm_before_and_after_it_renamed_guided_fields():
    schema = {"type": "object"}
    assert translate("vllm", (0, 11), guided_json=schema) == {"guided_json": schema}
    new = translate("vllm", (0, 12), guided_json=schema, guided_whitespace_pattern=" ?")
    assert new == {"structured_outputs": {"json": schema, "whitespace_pattern": " ?"}}
    assert translate("vllm", max_thinking_tokens=9) == {"thinking_token_budget": 9}
    with pytest.raises(RefusedFieldError, match=r"before 0\.22"):
        translate("vllm", (0, 20), max_thinking_tokens=9)


def test_tensorrt_llm_takes_guidance_as_a_response_format():
    assert translate("tensorrt_llm", guided_regex="a+") == {
        "response_format": {"type": "regex", "regex": "a+"}
    }
    with pytest.raises(RefusedFieldError, match="both mean response_format"):
        translate("tensorrt_llm", guided_regex="a+", guided_json={})


def test_llama_cpp_takes_a_choice_as_a_grammar():
    wanted = {"grammar": 'root ::= "yes" | "say \\"no\\""', "repeat_penalty": 1.2}
    asked = {"guided_choice": ["yes", 'say "no"'], "repetition_penalty": 1.2}
    assert translate("llama.cpp", **asked) == wanted


@pytest.mark.parametrize("choices", [[], "yes", [1], ["a", ""], None])
def test_choices_are_texts(choices):
    with pytest.raises(ValueError, match="list of texts"):
        choice_as_grammar(choices)


def test_a_route_that_needs_an_argument_is_there_with_it():
    path = "/v1/embeddings"
    assert not offered("llama.cpp").offers(path)
    assert offered("llama.cpp", None, "llama-server", "--embeddings").offers(path)
    assert offered("vllm", None, "vllm", "--convert=embed").offers(path)
    message = offered("vllm").explain_missing("/v1/load_lora_adapter")
    assert message == "vLLM has no /v1/load_lora_adapter unless it is started with --enable-lora."


def test_a_route_that_came_with_a_version_is_there_from_it_on():
    assert offered("vllm", (0, 11, 1)).offers("/v1/messages")
    message = offered("vllm", (0, 11)).explain_missing("/v1/messages")
    assert message == "vLLM has no /v1/messages before version 0.11.1."
    assert offered("tensorrt_llm").explain_missing("/tokenize") == "TensorRT-LLM has no /tokenize."


def test_an_engine_of_which_nothing_is_known_is_taken_at_its_word():
    assert Offer().offers("/v1/anything")


@pytest.mark.parametrize(
    ("engine", "argv", "sequences"),
    [
        ("llama.cpp", ("--parallel", "4", "--threads", "2"), 4),
        ("llama.cpp", ("--parallel", "4", "-np", "1"), 1),
        ("vllm", ("--max-num-seqs=32",), 32),
        ("vllm", ("--max-model-len", "4096"), None),
        ("tensorrt_llm", ("--max_batch_size",), None),
    ],
)
def test_requests_at_once_are_what_the_command_says(engine, argv, sequences):
    assert read_sequences(ENGINES[engine].surface, argv) == sequences
