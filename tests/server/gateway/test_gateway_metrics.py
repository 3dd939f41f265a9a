"""The page for Prometheus: NIM's figures for any engine, and the engine's own beside them."""

import json

import pytest
from prometheus_client.parser import text_string_to_metric_families

from nimctl.core.surface import Offer
from nimctl.engines import ENGINES
from nimctl.server.gateway.exposition import read_families, render_families
from nimctl.server.gateway.usage import Usage, read_usage

NIM_FAMILIES = {
    "num_requests_running",
    "num_requests_waiting",
    "num_request_max",
    "gpu_cache_usage_perc",
    "prompt_tokens",
    "generation_tokens",
    "time_to_first_token_seconds",
    "time_per_output_token_seconds",
    "e2e_request_latency_seconds",
    "request_prompt_tokens",
    "request_generation_tokens",
    "request_finish",
    "request_success",
    "request_failure",
}
"""NIM 1.x's, as Prometheus' parser names them: counters without `_total`."""

# As vLLM 0.32 and llama.cpp of 2026-10 show them.
VLLM_PAGE = """# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="a"} 3.0
# HELP vllm:kv_cache_usage_perc KV-cache usage. 1 means 100 percent usage.
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="a"} 0.25
# HELP vllm:prompt_tokens_total Number of prefill tokens processed.
# TYPE vllm:prompt_tokens_total counter
vllm:prompt_tokens_total{engine="0",model_name="a"} 1234.0
# HELP vllm:request_success_total Count of successfully processed requests.
# TYPE vllm:request_success_total counter
vllm:request_success_total{engine="0",finished_reason="stop",model_name="a"} 5.0
vllm:request_success_total{engine="0",finished_reason="length",model_name="a"} 2.0
# HELP vllm:time_to_first_token_seconds Histogram of time to first token in seconds.
# TYPE vllm:time_to_first_token_seconds histogram
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.5",model_name="a"} 4.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="+Inf",model_name="a"} 7.0
vllm:time_to_first_token_seconds_count{engine="0",model_name="a"} 7.0
vllm:time_to_first_token_seconds_sum{engine="0",model_name="a"} 3.5
"""
LLAMA_PAGE = """# TYPE llamacpp:prompt_tokens_total counter
llamacpp:prompt_tokens_total 48
# TYPE llamacpp:prompt_tokens_cached_total counter
llamacpp:prompt_tokens_cached_total 117
# TYPE llamacpp:requests_processing gauge
llamacpp:requests_processing 2
"""


def read(page):
    """Samples by name and labels, as Prometheus' own parser reads them, each once."""
    samples = [
        ((sample.name, tuple(sorted(sample.labels.items()))), sample.value)
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    ]
    assert len(dict(samples)) == len(samples)
    names = [family.name for family in text_string_to_metric_families(page)]
    assert len(set(names)) == len(names)
    return dict(samples)


@pytest.fixture
def scrape(raw):
    """The page of a gateway."""

    def scrape(gateway):
        status, headers, body = raw.parse(gateway.exchange(raw.get("/v1/metrics")))
        assert status == 200
        assert headers["content-type"].startswith("text/plain; version=0.0.4")
        return body.decode()

    return scrape


def page_of(engine, start_gateway, scripted_engine, scrape, page):
    """The gateway's page in front of an engine that shows `page`."""
    surface = ENGINES[engine].surface
    offer = Offer(title=surface.title, figures=surface.figures)
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(page)}\r\n\r\n"
    shown = scripted_engine((head + page).encode(), close=False)
    return scrape(start_gateway(shown, served={"offer": offer, "sequences": 8}))


def test_every_figure_of_nims_is_there_for_an_engine_that_shows_none(start_gateway, engine, scrape):
    page = scrape(start_gateway(engine, served={"sequences": 4}))
    families = {family.name for family in text_string_to_metric_families(page)}
    assert families >= NIM_FAMILIES - {"request_finish"}  # no answer has ended yet


def test_figures_that_nobody_knows_are_left_out(gateway, scrape):
    samples = {name for name, _ in read(scrape(gateway))}
    assert "num_requests_running" in samples
    assert "num_request_max" not in samples


def test_tokens_and_times_are_measured_where_the_engine_does_not_tell(
    start_gateway, engine, raw, scrape
):
    gateway = start_gateway(engine, served={"sequences": 4})
    usage = {"stream": True, "stream_options": {"include_usage": True}}
    gateway.exchange(raw.post(**usage, headers=["Connection: close"]))
    gateway.exchange(raw.post(headers=["Connection: close"]))
    gateway.exchange(raw.post("/tokenize", headers=["Connection: close"]))
    gateway.exchange(raw.post("/tokenize", body=b"{", headers=["Connection: close"]))
    samples = read(scrape(gateway))
    assert samples["prompt_tokens_total", ()] == 10
    assert samples["generation_tokens_total", ()] == 16
    assert samples["request_generation_tokens_count", ()] == 2
    assert samples["time_to_first_token_seconds_count", ()] == 1
    assert samples["time_per_output_token_seconds_count", ()] == 7
    assert 0.001 * 7 < samples["time_per_output_token_seconds_sum", ()] < 1
    assert samples["e2e_request_latency_seconds_count", ()] == 2
    assert samples["request_finish_total", (("finished_reason", "stop"),)] == 2
    assert samples["request_success_total", ()] == 3
    assert samples["num_requests_running", ()] == 0  # the gateway's, not the engine's 99
    own = "nimctl_gateway_requests_total"
    ok = (("method", "POST"), ("outcome", "ok"), ("route", "/tokenize"), ("status", "200"))
    bad = (("method", "POST"), ("outcome", "refused"), ("route", "/tokenize"), ("status", "400"))
    assert (samples[own, ok], samples[own, bad]) == (1, 1)
    assert samples["nimctl_gateway_tokens_total", (("kind", "generation"),)] == 16
    assert samples["fake_tokens_total", (("model", "fake"),)] == 7


def test_vllms_figures_under_nims_names(start_gateway, scripted_engine, scrape):
    page = page_of("vllm", start_gateway, scripted_engine, scrape, VLLM_PAGE)
    samples = read(page)
    labels = (("engine", "0"), ("model_name", "a"))
    assert samples["num_requests_running", labels] == 3
    assert samples["gpu_cache_usage_perc", labels] == 0.25
    assert samples["prompt_tokens_total", labels] == 1234
    assert samples["time_to_first_token_seconds_count", labels] == 7
    assert (
        samples["request_finish_total", (labels[0], ("finished_reason", "length"), labels[1])] == 2
    )
    assert samples["vllm:kv_cache_usage_perc", labels] == 0.25
    assert samples["num_request_max", ()] == 8
    assert page.count("# TYPE time_to_first_token_seconds ") == 1


def test_llama_cpps_figures_under_nims_names(start_gateway, scripted_engine, scrape):
    samples = read(page_of("llama.cpp", start_gateway, scripted_engine, scrape, LLAMA_PAGE))
    assert samples["prompt_tokens_total", ()] == 165
    assert samples["num_requests_running", ()] == 2
    assert samples["generation_tokens_total", ()] == 0  # measured: it does not tell
    assert samples["llamacpp:prompt_tokens_cached_total", ()] == 117


@pytest.mark.parametrize(
    ("last", "cut_by"),
    [
        (["data: [DONE]\n\n"], None),
        (["data: {}\n\ndata: [DONE]\n\n"], None),
        (['data: {"text": "data: [DONE]"}\n\n'], "client"),
        ([], "client"),
    ],
    ids=["done", "done with more", "a text about it", "not done"],
)
def test_a_client_that_leaves_at_done_has_missed_nothing(
    last, cut_by, start_gateway, scripted_engine, raw
):
    usage = 'data: {"choices": [{"finish_reason": "stop"}], "usage": {"completion_tokens": 4}}\n\n'
    head = (
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    chunks = "".join(f"{len(event):x}\r\n{event}\r\n" for event in (usage, *last))
    gateway = start_gateway(scripted_engine((head + chunks).encode(), close=False))
    with gateway.connect() as client:
        client.sendall(raw.post(stream=True))
        raw.read_until(client, chunks[-20:].encode())
    [record] = raw.until(lambda: gateway.records)
    assert (record.status, record.cut_by) == (200, cut_by)
    assert gateway.metrics.generated_tokens.count == (cut_by is None)
    assert gateway.metrics.succeeded == (cut_by is None)


def test_engine_that_hangs(start_gateway, deaf_engine, scrape):
    samples = read(scrape(start_gateway(deaf_engine)))
    assert samples["nimctl_gateway_ready", ()] == 1


def test_what_is_not_of_the_format_is_left_out():
    page = "\n".join(
        [
            "this line is not of the format",
            "# TYPE a_total counter",
            'a_total{x="1"} 5',
            'a_total{x="1"} 6',  # the same series twice
            'a_total{x="bro"ken"} 7',
            "a_total many",
            "a_total 1_000",
            "# TYPE b_seconds histogram",
            'b_seconds_bucket{le="+Inf"} 1',
            "b_seconds_sum NaN",
            "b_seconds_count 1",
            'a_total{x="2\\"\\n"} 8 1700000000000',
            "c{} +Inf",
        ]
    )
    samples = read(render_families(read_families(page).values()))
    assert samples["a_total", (("x", "1"),)] == 5
    assert samples["a_total", (("x", '2"\n'),)] == 8
    assert samples["b_seconds_count", ()] == 1
    assert len(samples) == 6


def test_engine_cannot_repeat_a_series_of_ours(start_gateway, scripted_engine, scrape):
    page = "# TYPE request_success counter\nrequest_success_total 5\nloop 1\n"
    page += (
        "# TYPE e2e_request_latency_seconds_count counter\ne2e_request_latency_seconds_count 9\n"
    )
    samples = read(page_of("vllm", start_gateway, scripted_engine, scrape, page))
    assert samples["request_success_total", ()] == 0
    assert samples["e2e_request_latency_seconds_count", ()] == 0
    assert samples["loop", ()] == 1


LAST_BYTES = {
    "chat": b'"finish_reason":"length"}],"usage":{"completion_tokens":2,"prompt_tokens":34,"tot',
    "messages": b'{"delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":3}}',
    "responses": b'"status":"completed","usage":{"input_tokens":31,"output_tokens":3}',
    "timings": b'"finish_reason":"stop"}],"timings":{"cache_n":33,"prompt_n":1,"predicted_n":3,',
    "nothing": b'"finish_reason": null}]}\n\ndata: [DONE]\n\n',
    "a text about it": json.dumps({"text": '"completion_tokens": 5'}).encode(),
}


@pytest.mark.parametrize(
    ("kind", "usage"),
    [
        ("chat", (34, 2, "length")),
        ("messages", (None, 3, "end_turn")),
        ("responses", (31, 3, "completed")),
        ("timings", (34, 3, "stop")),
        ("nothing", (None, None, None)),
        ("a text about it", (None, None, None)),
    ],
)
def test_usage_is_read_from_the_end_of_an_answer(kind, usage):
    names = ("prompt_tokens", "generated_tokens", "finish_reason")
    assert read_usage(LAST_BYTES[kind]) == Usage(**dict(zip(names, usage, strict=True)))
