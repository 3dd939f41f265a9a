"""The contract: what clients get from every engine, through the official clients.

    pytest -n 0 -m slow tests/e2e/test_contract.py -k llama

Each test runs against each engine in `CONTRACT_ENGINES`, which also says what an engine cannot do.
"""

import json
import os
import signal
import time
from pathlib import Path

import httpx
import openai
import pytest
from e2e import greedy_answers
from e2e.conftest import Server
from e2e.contract_engines import CONTRACT_ENGINES, SMOLLM2, serve_safetensors
from e2e.tiny_adapter import write_adapter
from prometheus_client.parser import text_string_to_metric_families

from nimctl.core.symptom import list_matches

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

FRANCE = [{"role": "user", "content": "What is the capital of France? Answer in one word."}]
COUNTING = "One, two, three, four,"
UNICODE = "Über 猫🙂 naïve Ω"
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {
    "name": "get_weather",
    "description": "The weather of a city.",
    "parameters": CITY,
    "strict": True,
}


@pytest.fixture(scope="module", params=CONTRACT_ENGINES)
def engine_name(request):
    return request.param


@pytest.fixture(scope="module")
def process(engine_name, environment, downloaded, tmp_path_factory):
    """`nimctl serve` with the real model on the engine, ready, and its address."""
    if engine_name == "llama.cpp":
        server = Server(environment)
    else:
        (gguf,) = Path(downloaded.stdout.strip()).rglob("*.gguf")
        server = serve_safetensors(environment, gguf, tmp_path_factory.mktemp("weights"))
    yield server.process, server.wait_until_ready().url
    server.process.terminate()
    server.process.communicate(timeout=120)


@pytest.fixture(scope="module")
def url(process):
    return process[1]


@pytest.fixture
def engine(engine_name):
    return CONTRACT_ENGINES[engine_name]


@pytest.fixture
def needs(engine, request):
    """Say what a test needs of the engine."""

    def needs(what):
        if what in engine.cannot:
            reason = f"{engine.title}: {engine.cannot[what]}"
            request.node.add_marker(pytest.mark.xfail(reason=reason, strict=True))

    return needs


@pytest.fixture(scope="module")
def client(url):
    with openai.OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def claude(url):
    import anthropic  # takes seconds, which runs without this test are spared

    with anthropic.Anthropic(base_url=url, api_key="unused", max_retries=0) as client:
        yield client


def chat(client, messages=FRANCE, **fields):
    asked = {"model": SMOLLM2, "max_tokens": 24, "temperature": 0, "messages": messages}
    return client.chat.completions.create(**{**asked, **fields})


def complete(client, **fields):
    asked = {"model": SMOLLM2, "max_tokens": 12, "temperature": 0, "prompt": COUNTING}
    return client.completions.create(**{**asked, **fields})


def text_of(chunks):
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


class TestOpenAi:
    def test_chat(self, client):
        answer = chat(client)
        assert "Paris" in answer.choices[0].message.content
        assert answer.choices[0].finish_reason in ("stop", "length")
        assert answer.usage.total_tokens == (
            answer.usage.prompt_tokens + answer.usage.completion_tokens
        )

    def test_a_stream_says_the_same(self, client):
        chunks = list(chat(client, stream=True))
        assert text_of(chunks) == chat(client).choices[0].message.content
        assert len(chunks) > 2
        assert all(chunk.object == "chat.completion.chunk" for chunk in chunks)

    def test_usage_comes_last_in_a_stream_that_asks_for_it(self, client):
        chunks = list(chat(client, stream=True, stream_options={"include_usage": True}))
        assert chunks[-1].choices == []
        assert chunks[-1].usage.completion_tokens > 0
        assert not any(chunk.usage for chunk in chunks[:-1])
        assert all(chunk.choices for chunk in chat(client, stream=True))

    def test_completions_streamed_and_whole(self, client):
        whole = complete(client).choices[0].text
        assert "five" in whole
        assert "".join(chunk.choices[0].text for chunk in complete(client, stream=True)) == whole

    def test_a_stop_word_ends_the_answer_before_it(self, client):
        for stop in ("six", ["nothing", "six"]):
            choice = complete(client, stop=stop, max_tokens=32).choices[0]
            assert choice.finish_reason == "stop"
            assert "six" not in choice.text
            assert "five" in choice.text

    def test_several_choices(self, client):
        answer = chat(client, n=2, temperature=1)
        assert [choice.index for choice in answer.choices] == [0, 1]
        assert all(choice.message.content for choice in answer.choices)

    def test_logprobs_of_chat(self, client):
        content = chat(client, logprobs=True, top_logprobs=2, max_tokens=4).choices[0].logprobs
        assert len(content.content) == 4
        for token in content.content:
            assert token.logprob <= 0
            assert len(token.top_logprobs) == 2

    def test_logprobs_of_completions(self, client, needs):
        needs("logprobs of completions")
        logprobs = complete(client, logprobs=2, max_tokens=3).choices[0].logprobs
        assert len(logprobs.tokens) == len(logprobs.token_logprobs) == 3

    def test_a_schema_is_kept_to(self, client):
        wanted = {"type": "json_schema", "json_schema": {"name": "city", "schema": CITY}}
        answer = chat(client, response_format=wanted, max_tokens=60)
        assert list(json.loads(answer.choices[0].message.content)) == ["city"]

    def test_tools_are_taken(self, client):
        answer = chat(client, tools=[{"type": "function", "function": TOOL}], tool_choice="none")
        assert answer.choices[0].message.content

    def test_a_tool_is_called_when_it_must_be(self, client, needs):
        needs("required tools")
        tools = [{"type": "function", "function": TOOL}]
        answer = chat(client, tools=tools, tool_choice="required", max_tokens=80)
        (call,) = answer.choices[0].message.tool_calls
        assert call.function.name == "get_weather"
        assert "city" in json.loads(call.function.arguments)

    def test_letters_of_several_bytes_arrive_whole(self, client):
        fields = {"extra_body": {"nvext": {"guided_choice": [UNICODE]}}, "max_tokens": 64}
        assert chat(client, **fields).choices[0].message.content == UNICODE
        assert text_of(chat(client, stream=True, **fields)) == UNICODE

    def test_responses(self, client):
        asked = {"model": SMOLLM2, "input": FRANCE[0]["content"], "temperature": 0}
        answer = client.responses.create(**asked, max_output_tokens=24)
        assert "Paris" in answer.output_text
        events = list(client.responses.create(**asked, max_output_tokens=24, stream=True))
        pieces = [one.delta for one in events if one.type == "response.output_text.delta"]
        assert "".join(pieces) == answer.output_text
        assert events[-1].type in ("response.completed", "response.incomplete")


class TestErrors:
    def test_a_model_that_is_not_served(self, client):
        with pytest.raises(openai.NotFoundError, match=SMOLLM2) as caught:
            chat(client, model="gpt-9")
        assert caught.value.code == "model_not_found"

    @pytest.mark.parametrize("fields", [{"messages": "no list"}, {"temperature": "hot"}])
    def test_a_request_the_engine_refuses(self, client, fields):
        with pytest.raises(openai.BadRequestError) as caught:
            chat(client, **fields)
        assert caught.value.body["message"]
        assert caught.value.body["type"]

    def test_a_prompt_that_is_too_long(self, client):
        with pytest.raises(openai.BadRequestError):
            complete(client, prompt="word " * 20_000)

    def test_paths_the_engine_lacks(self, engine, url):
        for path in engine.lacks:
            answer = httpx.post(f"{url}{path}", json={})
            assert answer.status_code == 501
            assert answer.json()["error"]["message"].startswith(f"{engine.title} has no /")

    def test_fields_the_engine_cannot_honour(self, client, engine):
        for name, value in engine.refuses.items():
            with pytest.raises(openai.BadRequestError, match=engine.title) as caught:
                chat(client, extra_body={"nvext": {name: value}})
            assert caught.value.param == name

    def test_a_stream_that_is_left_ends_in_the_engine(self, client, url):
        stream = chat(client, stream=True, max_tokens=1000, extra_body={"ignore_eos": True})
        next(iter(stream))
        assert read_metrics(url)["num_requests_running"] == 1
        stream.close()
        end_s = time.monotonic() + 10
        while read_metrics(url)["num_requests_running"] and time.monotonic() < end_s:
            time.sleep(0.05)
        assert read_metrics(url)["num_requests_running"] == 0


class TestNvext:
    @pytest.mark.parametrize("where", ["nvext", "top level"])
    def test_choices_and_schemas(self, client, where):
        def ask(**fields):
            body = {"nvext": fields} if where == "nvext" else fields
            return chat(client, extra_body=body, max_tokens=60).choices[0].message.content

        assert ask(guided_choice=["Lyon", "Nice"]) in ("Lyon", "Nice")
        assert list(json.loads(ask(guided_json=CITY))) == ["city"]

    def test_a_grammar(self, client):
        body = {"nvext": {"guided_grammar": 'root ::= "a" "b"+ "c"'}}
        text = chat(client, extra_body=body, max_tokens=40).choices[0].message.content
        assert text.startswith("ab")

    def test_an_answer_that_may_not_end(self, client):
        body = {"nvext": {"ignore_eos": True, "top_k": 5, "min_p": 0.1}}
        answer = chat(client, extra_body=body, max_tokens=48)
        assert answer.usage.completion_tokens == 48

    def test_a_repetition_penalty_changes_the_answer(self, client):
        asked = {"prompt": "ha ha ha ha ha ha", "max_tokens": 16}
        plain = complete(client, **asked).choices[0].text
        body = {"nvext": {"repetition_penalty": 2.0}}
        assert complete(client, extra_body=body, **asked).choices[0].text != plain


class TestAnthropic:
    def test_messages(self, claude):
        answer = claude.messages.create(model=SMOLLM2, max_tokens=24, messages=FRANCE)
        assert answer.content[0].text
        assert answer.stop_reason in ("end_turn", "max_tokens")
        assert answer.usage.output_tokens > 0

    def test_a_stream(self, claude):
        with claude.messages.stream(model=SMOLLM2, max_tokens=24, messages=FRANCE) as stream:
            pieces = list(stream.text_stream)
            answer = stream.get_final_message()
        assert "".join(pieces) == answer.content[0].text
        assert len(pieces) > 1

    def test_tokens_are_counted(self, claude):
        short = claude.messages.count_tokens(model=SMOLLM2, messages=FRANCE).input_tokens
        longer = [{"role": "user", "content": FRANCE[0]["content"] * 2}]
        more = claude.messages.count_tokens(model=SMOLLM2, messages=longer).input_tokens
        assert 10 < short < more

    def test_errors_are_understood(self, claude):
        import anthropic

        with pytest.raises(anthropic.NotFoundError, match="gpt-9"):
            claude.messages.create(model="gpt-9", max_tokens=5, messages=FRANCE)


class TestOtherRoutes:
    def test_tokens_and_back(self, url):
        text = "Hello there"
        asked = {"model": SMOLLM2, "prompt": text, "add_special_tokens": False}
        tokens = httpx.post(f"{url}/tokenize", json=asked).json()["tokens"]
        assert len(tokens) == 2
        answer = httpx.post(f"{url}/detokenize", json={"model": SMOLLM2, "tokens": tokens})
        assert text in answer.json().values()

    def test_models(self, client):
        listed = client.models.list().data
        assert listed[0].id == SMOLLM2
        assert listed[0].max_model_len > 0
        assert client.models.retrieve(SMOLLM2).root == SMOLLM2

    def test_what_is_loaded(self, url):
        manifest = httpx.get(f"{url}/v1/manifest").json()
        assert manifest["size_bytes"] == sum(file["size_bytes"] for file in manifest["files"])
        assert all(len(file["sha256"]) == 64 for file in manifest["files"])
        assert httpx.get(f"{url}/v1/license").json()["name"]

    def test_documents(self, engine, url):
        paths = httpx.get(f"{url}/openapi.json").json()["paths"]
        assert "/v1/chat/completions" in paths
        assert not set(engine.lacks) & set(paths)
        assert "/v1/chat/completions" in httpx.get(f"{url}/docs").text

    def test_metrics(self, client, url):
        before = read_metrics(url)
        answer = complete(client, stream=False)
        after = read_metrics(url)
        grown = {name: after[name] - before[name] for name in before}
        assert grown["generation_tokens_total"] == answer.usage.completion_tokens
        assert grown["prompt_tokens_total"] == answer.usage.prompt_tokens
        assert grown["request_success_total"] == 1
        assert after["num_requests_running"] == 0
        assert after["num_requests_waiting"] == 0
        assert after["num_request_max"] == 4
        assert 0 <= after["gpu_cache_usage_perc"] <= 1
        counts = ("e2e_request_latency_seconds", "request_generation_tokens")
        assert [grown[f"{name}_count"] for name in counts] == [1, 1]
        list(chat(client, stream=True))
        streamed = read_metrics(url)
        for name in ("time_to_first_token_seconds", "time_per_output_token_seconds"):
            assert streamed[f"{name}_count"] > after[f"{name}_count"]


class TestAdapters:
    def test_an_adapter_answers_by_its_name(self, client, needs):
        needs("adapters by name")
        assert "tiny" in [model.id for model in client.models.list().data]
        plain = complete(client).choices[0].text
        assert complete(client, model="tiny").choices[0].text != plain
        assert chat(client, model="tiny").choices[0].message.content
        assert complete(client).choices[0].text == plain

    def test_adapters_come_and_go(self, client, url, tmp_path, needs):
        needs("adapters by name")
        other = {"lora_name": "other", "lora_path": str(write_adapter(tmp_path / "other"))}
        loaded = httpx.post(f"{url}/v1/load_lora_adapter", json=other)
        assert loaded.status_code == 200, loaded.text
        same = [complete(client, model=name).choices[0].text for name in ("tiny", "other")]
        assert same[0] == same[1]
        gone = httpx.post(f"{url}/v1/unload_lora_adapter", json={"lora_name": "other"})
        assert gone.status_code == 200, gone.text
        with pytest.raises(openai.NotFoundError):
            complete(client, model="other")


class TestAnswers:
    def test_they_are_those_that_were_kept(self, client, engine_name):
        answers, kept = greedy_answers.ask(client), greedy_answers.read_kept()
        assert greedy_answers.count_alike(answers, kept[engine_name]) >= greedy_answers.LEAST_ALIKE

    def test_engines_agree_on_them(self):
        one, other = greedy_answers.read_kept().values()
        assert greedy_answers.count_alike(one, other) >= greedy_answers.LEAST_ALIKE


def test_what_it_printed_until_here_is_no_known_failure(process, engine, nimctl):
    servers = json.loads(nimctl("ps", "--json").stdout)["servers"]
    (log,) = (one["engine_log"] for one in servers if one["pid"] == process[0].pid)
    assert list_matches(engine.symptoms, Path(log).read_text()) == ()


class TestRestart:
    """The last of its engine: another one is started."""

    def test_a_killed_engine_is_back_with_the_same_answer(self, process, client):
        server, url = process
        before = complete(client).choices[0].text
        (guard,) = find_children(server.pid)
        (engine,) = find_children(guard)
        os.kill(engine, signal.SIGKILL)
        told = (json.loads(line) for line in server.stdout)
        events = {event["event"]: event for event in read_until(told, "ready_again")}
        assert "SIGKILL" in events["restarting"]["cause"]
        assert events["ready_again"]["url"] == url
        assert complete(client).choices[0].text == before


def read_until(events, last):
    for event in events:
        yield event
        if event["event"] == last:
            return


def find_children(pid):
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def read_metrics(url):
    """Sums over the labels of each series."""
    sums = {}
    for family in text_string_to_metric_families(httpx.get(f"{url}/v1/metrics").text):
        for sample in family.samples:
            sums[sample.name] = sums.get(sample.name, 0) + sample.value
    return sums
