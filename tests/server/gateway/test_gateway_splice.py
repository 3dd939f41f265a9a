"""Generation through the gateway, with the official client and with raw sockets."""

import json
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest

QUESTION = [{"role": "user", "content": "Grüße, 猫"}]


@pytest.fixture
def client(gateway):
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_official_client_gets_a_whole_answer(client):
    answer = client.chat.completions.create(model="fake", messages=QUESTION)
    assert answer.choices[0].message.content.startswith("Über 猫🙂")
    assert answer.usage.completion_tokens == 8


def test_official_client_gets_a_stream(client, gateway):
    chunks = list(
        client.chat.completions.create(
            model="meta/fake-8b",
            messages=QUESTION,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == "Über 猫🙂 chunké plain naïve…"
    assert chunks[-1].usage.completion_tokens == 8
    assert gateway.metrics.first_token.count == 1


def test_other_routes_of_the_official_client(client):
    assert client.completions.create(model="fake", prompt="a").choices[0].text
    assert client.embeddings.create(model="fake", input="a", encoding_format="float").data
    assert [model.id for model in client.models.list()] == ["meta/fake-8b", "fake"]
    assert client.models.retrieve("meta/fake-8b").id == "meta/fake-8b"


def test_unknown_model_is_named_with_those_there_are(client):
    with pytest.raises(openai.NotFoundError, match="meta/fake-8b") as caught:
        client.chat.completions.create(model="gpt-9", messages=QUESTION)
    assert caught.value.code == "model_not_found"


def test_letters_cut_in_pieces_arrive_whole(start_engine, start_gateway):
    engine = start_engine("--chunks", "16", "--interval-ms", "0", "--split-bytes", "3")
    url = start_gateway(engine).url
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none") as client:
        stream = client.chat.completions.create(model="fake", messages=QUESTION, stream=True)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert text == "Über 猫🙂 chunké plain naïve…" * 2


@pytest.mark.parametrize("loop", ["stream", "whole"])
def test_connections_are_kept_on_both_sides(loop, gateway, raw):
    end = b"\r\n0\r\n\r\n" if loop == "stream" else b'"total_tokens": 13}}'
    with gateway.connect() as client:
        for _ in range(3):
            client.sendall(raw.post(stream=loop == "stream"))
            raw.read_until(client, end)
    raw.until(lambda: [record.status for record in gateway.records] == [200, 200, 200])
    assert len(gateway.gateway._service.pool._idle) == 1


def test_pipelined_requests_are_answered_in_order(gateway, raw):
    slow = raw.post(stream=True)
    quick = raw.get("/v1/version", headers=())
    last = raw.get("/v1/nowhere")
    answers = gateway.exchange(slow + quick + slow + quick + last)
    marks = [b"[DONE]", b"release", b"[DONE]", b"release", b"There is no /v1/nowhere"]
    places, start = [], 0
    for mark in marks:
        start = answers.index(mark, start) + 1
        places.append(start)
    assert places == sorted(places)
    assert answers.count(b"HTTP/1.1 ") == 5


def test_many_requests_in_one_read(gateway, raw):
    answers = gateway.exchange(raw.get("/v1/health/live", headers=()) * 200 + raw.get("/v1/models"))
    assert answers.count(b"HTTP/1.1 200 OK") == 201


def test_http10_client_gets_a_plain_body_and_a_closed_connection(gateway, raw):
    status, headers, body = raw.parse(gateway.exchange(raw.post(version="1.0", stream=True)))
    assert status == 200
    assert "transfer-encoding" not in headers
    assert headers["connection"] == "close"
    assert body.startswith(b"data: {")
    assert body.endswith(b"data: [DONE]\n\n")
    status, headers, body = raw.parse(gateway.exchange(raw.post(version="1.0")))
    assert json.loads(body)["usage"]["completion_tokens"] == 8
    assert int(headers["content-length"]) == len(body)


def test_connection_close_is_honoured(gateway, raw):
    answer = gateway.exchange(raw.post(headers=["Connection: close"]) + b"more of no interest")
    status, headers, body = raw.parse(answer)
    assert (status, headers["connection"]) == (200, "close")
    assert json.loads(body)["object"] == "chat.completion"


def test_expect_continue(gateway, raw):
    request = raw.post(headers=["Expect: 100-continue", "Connection: close"])
    head, _, body = request.partition(b"\r\n\r\n")
    with gateway.connect() as client:
        client.sendall(head + b"\r\n\r\n")
        assert raw.read_until(client, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(body)
        assert raw.parse(raw.read_all(client))[0] == 200


def test_expect_continue_is_refused_before_the_body(gateway, raw):
    request = raw.post("/v1/nowhere", headers=["Expect: 100-continue"])
    with gateway.connect() as client:
        client.sendall(request.partition(b"\r\n\r\n")[0] + b"\r\n\r\n")
        assert raw.parse(raw.read_all(client))[0] == 404


def test_body_byte_by_byte(gateway, raw):
    request = raw.post(headers=["Connection: close"])
    with gateway.connect() as client:
        for index in range(len(request)):
            client.send(request[index : index + 1])
        assert raw.parse(raw.read_all(client))[0] == 200


def test_chunked_request(gateway, raw):
    head = b"POST /tokenize HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    chunks = b'5\r\n{"a":\r\n2\r\n1}\r\n0\r\n\r\n'
    answer = gateway.exchange(head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
    assert json.loads(raw.parse(answer)[2])["heard"] == {"a": 1}


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_large_body_is_streamed_and_never_parsed(framing, gateway, raw):
    text = "a" * 3_000_000
    body = json.dumps({"model": "not checked", "prompt": text}).encode()
    head = "POST /tokenize HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    if framing == "length":
        head += f"Content-Length: {len(body)}\r\n\r\n"
        request = head.encode() + body
    else:
        pieces = [body[i : i + 50_000] for i in range(0, len(body), 50_000)]
        framed = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
        request = f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + framed + b"0\r\n\r\n"
    status, _, answer = raw.parse(gateway.exchange(request))
    assert status == 200
    assert json.loads(answer)["heard"] == {"model": "not checked", "prompt": text}


def test_offered_upgrade_is_ignored(gateway, raw):
    """Java's client offers h2c with every request, bodies included."""
    offer = ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMA"]
    requests = raw.post("/tokenize", headers=offer) + raw.get("/v1/version", headers=offer)
    answers = gateway.exchange(requests + raw.get("/v1/version"))
    assert answers.count(b"HTTP/1.1 200 OK") == 3
    assert b'"heard": {"model": "fake"}' in answers


def test_nvext_is_flattened(gateway, raw):
    request = raw.post(
        "/tokenize",
        headers=["Connection: close"],
        nvext={"top_k": 3, "temperature": 9, "guided_choice": ["é"]},
        temperature=0.5,
    )
    heard = json.loads(raw.parse(gateway.exchange(request))[2])["heard"]
    assert heard == {"model": "fake", "temperature": 0.5, "top_k": 3, "guided_choice": ["é"]}


def test_two_hundred_streams_at_once(gateway, raw):
    def stream(number):
        with gateway.connect() as client:
            client.sendall(raw.post(stream=True, headers=[f"X-Request-Id: s{number}"]))
            return raw.read_until(client, b"\r\n0\r\n\r\n")

    with ThreadPoolExecutor(200) as threads:
        answers = list(threads.map(stream, range(200)))
    assert {answer.count(b"data: {") for answer in answers} == {9}
    assert all(f"x-request-id: s{i}\r\n".encode() in answers[i] for i in range(200))
    assert gateway.metrics.succeeded == 200


def test_quick_answers_on_connections_that_were_just_opened(gateway, raw):
    """The engine may answer before the loop has told us that its connection is open."""
    request = raw.post(fake={"chunks": 0, "ttft_ms": 0})

    def ask(number):
        with gateway.connect() as client:
            for _ in range(10):
                client.sendall(request)
                assert raw.parse(raw.read_answer(client))[0] == 200

    with ThreadPoolExecutor(20) as threads:
        list(threads.map(ask, range(60)))
