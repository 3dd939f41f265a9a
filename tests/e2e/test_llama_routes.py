"""The table of what llama.cpp offers, held against llama.cpp itself, without a gateway between."""

import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from served_child import wait_until

from nimctl.engines import ENGINES
from nimctl.server.gateway.routes import ROUTES

pytestmark = pytest.mark.slow

OFFERED = {route.path: route for route in ENGINES["llama.cpp"].surface.routes}
BY_ENGINE = [route for route in ROUTES if route.respond is None]
CHAT = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2}


@pytest.fixture(scope="module")
def llama(downloaded, tmp_path_factory):
    """A client of llama.cpp itself."""
    (gguf,) = Path(downloaded.stdout.strip()).rglob("*.gguf")
    socket = tmp_path_factory.mktemp("llama") / "e.sock"
    program = (sys.executable, "-P", "-m", "nimctl.environments.llama_server")
    options = ("--model", str(gguf), "--host", str(socket), "--ctx-size", "1024", "--jinja")
    transport = httpx.HTTPTransport(uds=str(socket))
    with (
        ended(subprocess.Popen((*program, *options, "--metrics"), stderr=subprocess.DEVNULL)),
        httpx.Client(transport=transport, base_url="http://llama", timeout=60) as client,
    ):
        wait_until(lambda: socket.exists() and is_ready(client), timeout_s=60)
        yield client


@contextmanager
def ended(process):
    """The process, ended whatever becomes of the test."""
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def is_ready(client):
    try:
        return client.get("/health").status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("route", BY_ENGINE, ids=lambda route: route.path)
def test_it_has_the_routes_of_the_table_and_no_others(route, llama):
    status = llama.request(route.methods[0], route.path.replace("{id}", "x"), json={}).status_code
    if route.path not in OFFERED:
        assert status == 404
    elif OFFERED[route.path].needs:
        assert status == 501
    else:
        assert status in (200, 400, 500)


def test_it_shows_the_figures_of_the_table(llama):
    page = llama.get("/metrics").text
    for name in ("num_requests_running", "prompt_tokens_total", "generation_tokens_total"):
        sources = [one for one in ENGINES["llama.cpp"].surface.figures if one.name == name]
        assert all(f"# TYPE {family} " in page for family in sources[0].families)


def test_it_does_not_know_the_fields_that_are_refused_for_it(llama):
    """Were they not refused, it would answer as if they were not there."""
    asked = CHAT | {"guided_regex": "[0-9]{3}", "temperature": 0}
    answer = llama.post("/v1/chat/completions", json=asked).json()
    assert not answer["choices"][0]["message"]["content"].isdigit()


def test_a_prompt_to_tokenize_is_not_seen_by_it(llama):
    assert llama.post("/tokenize", json={"prompt": "Hello there"}).json()["tokens"] == []
    assert len(llama.post("/tokenize", json={"content": "Hello there"}).json()["tokens"]) == 2
