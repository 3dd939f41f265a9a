"""`serve --engine-url`: engines that run already, hosted ones with a key included."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import openai
import pytest
from authority import Authority
from hosted_endpoint import KEY, Endpoint
from served_child import get, post

FAKE_ENGINE = Path(__file__).parents[1] / "fake_engine.py"
QUESTION = [{"role": "user", "content": "Hello"}]
WAIT_S = 60


class Served:
    """`nimctl serve --engine-url` as a child; what it told."""

    def __init__(self, process):
        self.process = process

    def wait_for(self, name):
        for line in self.process.stdout:
            event = json.loads(line)
            if event["event"] == name:
                return event
        raise AssertionError(self.process.stderr.read())

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        _, said = self.process.communicate(timeout=WAIT_S)
        return self.process.returncode, said


@pytest.fixture
def serve(program, clean_environment, tmp_path):
    served = []

    def start(*arguments, **environment):
        words = ["nimctl", "serve", "--port", "0", "--json", *arguments]
        process = program.start(words, clean_environment | environment, tmp_path)
        served.append(Served(process))
        return served[-1]

    yield start
    for one in served:
        one.process.kill()
        one.process.communicate()
        one.process.close()


@pytest.fixture
def serve_anew(clean_environment):
    """The same in an interpreter of its own, which other processes can see the arguments of."""
    served = []

    def start(*arguments, **environment):
        process = subprocess.Popen(
            [sys.executable, "-m", "nimctl", "serve", "--port", "0", "--json", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=clean_environment | environment,
        )
        served.append(Served(process))
        return served[-1]

    yield start
    for one in served:
        one.process.kill()
        one.process.communicate()


@pytest.fixture
def endpoint(tmp_path):
    authority = Authority(tmp_path)
    endpoint = Endpoint(authority.write("endpoint"))
    endpoint.trust = {"SSL_CERT_FILE": str(authority.file)}
    yield endpoint
    endpoint.close()


@pytest.fixture
def key_file(tmp_path):
    path = tmp_path / "their-key"
    path.write_text(f"{KEY}\n")
    path.chmod(0o600)
    return str(path)


@pytest.fixture
def start_fake():
    """Fake engines on ports of loopback; gives their addresses."""
    engines = []

    def start(port=0):
        engine = subprocess.Popen(
            [sys.executable, str(FAKE_ENGINE), "--port", str(port)],
            stdout=subprocess.PIPE,
            text=True,
        )
        engines.append(engine)
        engine.port = int(engine.stdout.readline().split()[-1])
        return engine

    yield start
    for engine in engines:
        engine.kill()
        engine.wait()
        engine.stdout.close()


def ask(url, key="ours", **fields):
    with openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) as client:
        return client.chat.completions.create(model="acme/small", messages=QUESTION, **fields)


def test_a_hosted_endpoint_gets_its_own_key_and_nobody_elses(serve_anew, endpoint, key_file):
    served = serve_anew(
        *("--engine-url", endpoint.url, "--engine-api-key-file", key_file, "acme/small"),
        **endpoint.trust,
        NIMCTL_API_KEY="ours",
    )
    url = served.wait_for("ready")["url"]
    shown = Path(f"/proc/{served.process.pid}/cmdline").read_text()
    assert "--engine-api-key-file" in shown and KEY not in shown
    assert ask(url).choices[0].message.content == "Hello"
    with openai.OpenAI(base_url=f"{url}/v1", api_key="ours", max_retries=0) as client:
        stream = client.chat.completions.create(model="acme/small", messages=QUESTION, stream=True)
        assert "".join(chunk.choices[0].delta.content for chunk in stream) == "Hello"
        assert [model.id for model in client.models.list()] == ["acme/small"]
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model="acme/large", messages=QUESTION)
    with pytest.raises(openai.AuthenticationError):
        ask(url, key=KEY)
    raw = post(
        f"{url}/v1/chat/completions",
        json={"model": "acme/small", "messages": QUESTION},
        headers={"Authorization": "Bearer ours"},
    )
    assert not {"set-cookie", "alt-svc"} & set(raw.headers)
    for _, _, headers, body in endpoint.heard:
        assert headers["authorization"] == f"Bearer {KEY}"
        assert headers["host"] == f"127.0.0.1:{endpoint.port}"
        assert "ours" not in json.dumps(headers) + body.decode()
    code, said = served.end()
    assert code == 0
    assert KEY not in said


def test_a_key_that_no_longer_opens_is_the_servers_trouble(serve, endpoint, key_file):
    served = serve(
        *("--engine-url", endpoint.url, "--engine-api-key-file", key_file), **endpoint.trust
    )
    url = served.wait_for("ready")["url"]
    endpoint.status = 401
    with pytest.raises(openai.APIStatusError) as caught:
        ask(url)
    assert caught.value.status_code in (502, 503)
    assert "sk-t" not in caught.value.message
    assert "401" in served.wait_for("not_ready")["cause"]
    endpoint.status = 200
    served.wait_for("answers_again")
    assert ask(url).choices


def test_newer_endpoints_are_asked_in_their_words(serve, endpoint, key_file):
    endpoint.newer = True
    served = serve(
        *("--engine-url", endpoint.url, "--engine-api-key-file", key_file), **endpoint.trust
    )
    served.wait_for("ready")


def test_what_cannot_be_used_is_told_at_once(run_here, endpoint, key_file, tmp_path):
    def refused(*arguments, code=2, **environment):
        result = run_here("serve", "--port", "0", "--engine-url", *arguments, **environment)
        assert result.returncode == code, result.stderr
        return result.stderr

    key = ("--engine-api-key-file", key_file)
    authority = endpoint.trust["SSL_CERT_FILE"]
    endpoint.trust = {"SSL_CERT_FILE": "", "REQUESTS_CA_BUNDLE": authority}
    assert "wants a key" in refused(endpoint.url, **endpoint.trust)
    wrong = refused(endpoint.url, **endpoint.trust, NIMCTL_ENGINE_API_KEY="sk-wrong")
    assert "refuses the key" in wrong
    assert "sk-wrong" not in wrong
    unknown = refused(endpoint.url, *key, "acme/smal", **endpoint.trust)
    assert "did you mean acme/small?" in unknown
    assert "certificate is not to be believed" in refused(endpoint.url, *key, code=5)
    assert "runs already" in refused(endpoint.url, *key, "--precision", "fp8", "--gpus", "0")
    assert "runs already" in refused(endpoint.url, *key, "acme/small", "--", "--verbose")
    assert "opens no connection" in refused("https://e.example", "--offline")
    assert "password" in refused("https://me:hunter2@e.example")
    bad = tmp_path / "bad"
    bad.write_text("two words\n")
    told = refused(endpoint.url, "--engine-api-key-file", str(bad))
    assert "no key has" in told
    assert "two words" not in told


def test_dry_run_tells_what_would_be_served(run_here, start_fake):
    result = run_here("serve", "--engine-url", f"http://127.0.0.1:{start_fake().port}", "--dry-run")
    assert result.returncode == 0, result.stderr
    assert "models    fake" in result.stdout


def test_a_project_file_may_not_say_where_a_key_goes(run_here, tmp_path):
    (tmp_path / "nimctl.yaml").write_text("engine_url: https://evil.example\n")
    result = run_here("serve")
    assert result.returncode == 2
    assert "NIMCTL_ENGINE_URL" in result.stderr


def test_bench_of_a_model_does_not_measure_an_engine_elsewhere(run_here):
    result = run_here("bench", "smollm2-135m-instruct", NIMCTL_ENGINE_URL="http://127.0.0.1:1")
    assert result.returncode == 2
    assert "measure what runs there with --url" in result.stderr


def test_an_engine_that_goes_and_comes_back_with_another_model(serve, start_fake):
    engine = start_fake()
    served = serve("--engine-url", f"http://127.0.0.1:{engine.port}/v1")
    url = served.wait_for("ready")["url"]
    metrics = get(f"{url}/v1/metrics").text
    assert 'fake_tokens_total{model="fake"} 7' in metrics
    engine.kill()
    engine.wait()
    assert "does not listen" in served.wait_for("not_ready")["cause"]
    answer = get(f"{url}/v1/health/ready")
    assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
    start_fake(engine.port)
    served.wait_for("answers_again")
    assert get(f"{url}/v1/health/ready").status_code == 200
    assert served.end()[0] == 0


def test_it_waits_for_an_engine_that_is_not_there_yet(serve, start_fake):
    engine = start_fake()
    engine.kill()
    engine.wait()
    served = serve("--engine-url", f"http://127.0.0.1:{engine.port}")
    url = served.wait_for("listening")["url"]
    assert get(f"{url}/v1/health/live").status_code == 200
    assert get(f"{url}/v1/models").status_code == 503
    assert "nobody listens there" in served.wait_for("not_ready")["cause"]
    start_fake(engine.port)
    served.wait_for("ready")
    assert [one["id"] for one in get(f"{url}/v1/models").json()["data"]] == ["fake"]


def test_detached_it_is_listed_by_the_engines_own_name(run, run_here, start_fake):
    where = f"http://127.0.0.1:{start_fake().port}"
    started = run("serve", "--engine-url", where, "--port", "0", "--detach")
    assert started.returncode == 0, started.stderr
    (server,) = json.loads(run_here("ps", "--json").stdout)["servers"]
    assert (server["names"], server["state"], server["profile"]) == (["fake"], "ready", where)
    assert "runs elsewhere" in run_here("logs", "fake", "--engine").stderr
    assert run_here("stop", "fake").returncode == 0
    assert json.loads(run_here("ps", "--json").stdout)["servers"] == []
