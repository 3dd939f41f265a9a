"""A gateway in a thread of its own, and engines as real processes, for tests over real sockets."""

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
import traceback
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest

from nimctl.core.engine_address import EngineAddress
from nimctl.server.gateway import (
    EngineState,
    Gateway,
    GatewayConfig,
    ServedModel,
    new_event_loop,
)

FAKE_ENGINE = Path(__file__).with_name("fake_engine.py")
MODEL = ServedModel(
    names=("meta/fake-8b", "fake"),
    created=1_700_000_000,
    context_length=4096,
    metadata={"selectedModelProfileId": "ab" * 32},
    version={"release": "0.1.0", "api": "1.0"},
)


def wait_until(condition, timeout_s=5.0):
    """Return the first true result of `condition`; fail after `timeout_s`."""
    end_s = time.monotonic() + timeout_s
    while time.monotonic() < end_s:
        if result := condition():
            return result
        time.sleep(0.002)
    raise AssertionError("it did not happen in time")


class Engine:
    """A fake engine process."""

    def __init__(self, folder, *options):
        self.uds = str(folder / "engine.sock")
        self.seen = folder / "seen.jsonl"
        self.seen.touch()
        self.address = EngineAddress(uds=self.uds)
        command = [sys.executable, str(FAKE_ENGINE), "--uds", self.uds, "--seen", str(self.seen)]
        self.process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline().startswith("listening")

        self.forget()

    def forget(self):
        """Let `events` start anew."""
        self._told_bytes = self.seen.stat().st_size

    def events(self, name):
        """What happened since the test began: [{"event", "id", "at_s"}]."""
        told = self.seen.read_bytes()[self._told_bytes :]
        lines = told[: told.rfind(b"\n") + 1].splitlines()  # the last may be half written
        return [event for event in map(json.loads, lines) if event["event"] == name]

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


class RunningGateway:
    """A gateway in a thread, and what it told its owner."""

    def __init__(self, folder, config, model, new_loop, **more):
        self.state = EngineState()
        self.troubles, self.records, self.notes, self.loop_faults = [], [], [], []
        self.uds = str(folder / "gateway.sock")
        self._loop = new_loop()
        self._loop.set_exception_handler(lambda loop, fault: self.loop_faults.append(fault))
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.gateway = Gateway(
            config=config,
            model=model,
            engine=self.state,
            **more,
            on_engine_trouble=self.troubles.append,
            on_access=self.records.append,
            on_note=self.notes.append,
        )
        self.url = self.call(self.gateway.start())
        self.port = urlsplit(self.url).port

    def call(self, coroutine):
        """Run in the gateway's loop and wait."""
        return self.submit(coroutine).result(30)

    def submit(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    @property
    def metrics(self):
        return self.gateway._service.metrics

    @property
    def admission(self):
        return self.gateway._service.admission

    def connect(self, receive_buffer_bytes=None):
        """A raw client connection."""
        client = socket.socket()
        if receive_buffer_bytes:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        client.settimeout(10)
        try:
            client.connect(("127.0.0.1", self.port))
        except OSError:
            client.close()
            raise
        return client

    def exchange(self, data):
        """Send bytes; return all that comes until the gateway closes."""
        with self.connect() as client:
            client.sendall(data)
            return read_all(client)

    def close(self):
        self.call(self.gateway.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def read_all(client):
    """All bytes until the other side closes."""
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while data := client.recv(65536):
            parts.append(data)
    return b"".join(parts)


def read_until(client, end):
    """Bytes up to and including `end`."""
    data = bytearray()
    while not data.endswith(end) and end not in data[-len(end) - 65536 :]:
        part = client.recv(65536)
        assert part, f"closed after {bytes(data)!r}"
        data += part
    return bytes(data)


def read_answer(client):
    """One response that has a length; bytes of it."""
    data = read_until(client, b"\r\n\r\n")
    missing = int(parse(data)[1]["content-length"]) - len(parse(data)[2])
    while missing > 0:
        part = client.recv(missing)
        assert part
        data += part
        missing -= len(part)
    return data


def post(path="/v1/chat/completions", body=None, *, headers=(), version="1.1", **fields):
    """A raw request with a JSON body."""
    raw = json.dumps({"model": "fake", **fields}).encode() if body is None else body
    lines = ["Host: x", f"Content-Length: {len(raw)}", *headers]
    head = f"POST {path} HTTP/{version}\r\n" + "".join(f"{line}\r\n" for line in lines)
    return head.encode() + b"\r\n" + raw


def get(path, *, method="GET", headers=("Connection: close",), version="1.1"):
    """A raw request without a body."""
    lines = "".join(f"{line}\r\n" for line in ("Host: x", *headers))
    return f"{method} {path} HTTP/{version}\r\n{lines}\r\n".encode()


def parse(raw):
    """Status, headers and body of one raw response that ended with the connection."""
    head, _, body = raw.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    return int(status.split()[1]), headers, body


@pytest.fixture
def start_engine(tmp_path):
    """Start fake engines; all are killed at the end."""
    engines = []

    def start(*options):
        folder = tmp_path / f"engine{len(engines)}"
        folder.mkdir()
        engines.append(Engine(folder, *options))
        return engines[-1]

    yield start
    for engine in engines:
        engine.kill()


@pytest.fixture
def start_gateway(tmp_path):
    """Start gateways on free ports; all are closed at the end, and none may have had a bug."""
    gateways = []

    def start(
        engine=None, new_loop=new_event_loop, served=(), tracing=None, read_gpus=None, **config
    ):
        config = GatewayConfig(**{"port": 0, **config})
        model = replace(MODEL, **dict(served))
        gateways.append(
            RunningGateway(tmp_path, config, model, new_loop, tracing=tracing, read_gpus=read_gpus)
        )
        if engine is not None:
            gateways[-1].state.ready(engine.address)
        return gateways[-1]

    yield start
    for gateway in gateways:
        gateway.close()
        for fault in gateway.loop_faults:
            traceback.print_exception(fault.get("exception"))
        assert gateway.loop_faults == []
        assert gateway.metrics.running == 0
        assert gateway.metrics.connections == 0


@pytest.fixture(scope="session")
def shared_engine(tmp_path_factory):
    """An engine that behaves and that no test may end."""
    folder = tmp_path_factory.mktemp("engine")
    engine = Engine(folder, "--chunks", "8", "--interval-ms", "2", "--ttft-ms", "10")
    yield engine
    engine.kill()


@pytest.fixture
def engine(shared_engine):
    """The shared engine, with nothing seen yet."""
    shared_engine.forget()
    return shared_engine


@pytest.fixture
def gateway(start_gateway, engine):
    """A gateway in front of it."""
    return start_gateway(engine)


@pytest.fixture(scope="session")
def raw():
    """Raw HTTP: what to send, and how to read what comes back."""
    return SimpleNamespace(
        get=get,
        post=post,
        parse=parse,
        read_all=read_all,
        read_answer=read_answer,
        read_until=read_until,
        until=wait_until,
    )


class ScriptedEngine:
    """Gives the same bytes to every request; for what no sound engine would say."""

    def __init__(self, folder, answer, close):
        self.address = EngineAddress(uds=str(folder / "scripted.sock"))
        self.heard = []
        self._answer, self._close_after = answer, close
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.address.uds)
        self._listener.listen(16)
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self):
        connections = []
        while True:
            connection, _ = self._listener.accept()
            connections.append(connection)
            data = b""
            while b"\r\n\r\n" not in data or not (data.endswith(b"}") or data[:3] == b"GET"):
                part = connection.recv(65536)
                data += part
                if not part:
                    break
            if not data:
                break
            self.heard.append(data)
            connection.sendall(self._answer)
            if self._close_after:
                connection.close()
            else:
                threading.Thread(target=_close_when_asked_again, args=(connection,)).start()
        for connection in connections:
            connection.close()

    def stop(self):
        with socket.socket(socket.AF_UNIX) as farewell:
            farewell.connect(self.address.uds)
        self._thread.join()
        self._listener.close()


def _close_when_asked_again(connection):
    with contextlib.suppress(OSError):  # the test ended first
        connection.recv(65536)
    connection.close()


@pytest.fixture
def scripted_engine(tmp_path):
    """Start an engine that says fixed bytes; with `close`, it closes after them."""
    engines = []

    def start(answer, close=True):
        engines.append(ScriptedEngine(tmp_path, answer, close))
        return engines[-1]

    yield start
    for engine in engines:
        engine.stop()


@pytest.fixture
def deaf_engine(tmp_path):
    """An engine that accepts connections, by its kernel, and never reads."""
    path = str(tmp_path / "deaf.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(16)
        yield SimpleNamespace(address=EngineAddress(uds=path))
