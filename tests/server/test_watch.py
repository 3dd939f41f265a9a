"""When a watched engine counts as ready, silent, stuck or hung, around a server that plays it."""

import asyncio
import contextlib
import time

import pytest

from nimctl.core.engine_address import EngineAddress
from nimctl.server.gateway import EngineActivity, new_event_loop
from nimctl.server.gateway.engine_call import by_completion
from nimctl.server.watch import EngineWatch, WatchLimits, choose_idle_token_s

# Quick, and far enough apart for a machine with other work.
LIMITS = {
    "look_every_s": 0.02,
    "ask_after_s": 0.02,
    "silent_s": 0.2,
    "idle_token_every_s": 60.0,
    "busy_token_every_s": 60.0,
    "idle_token_limit_s": 0.2,
    "busy_limit_s": 60.0,
    "token_retry_s": 0.02,
    "hung_s": 0.0,
}
NEVER = None
TOKEN = (200, '{"choices": [{"text": "a"}]}')


class Played:
    """An engine that answers as it is told: path -> (status, body), or never."""

    def __init__(self, path, **limits):
        self.path = path
        self.answers = {"/health": (200, "{}"), "/v1/completions": TOKEN}
        self.asked = []
        self.running = self.answered_bytes = 0
        self.cpu_s = 0.0
        self.causes = []
        self.told = asyncio.Event()
        self.limits = WatchLimits(**{**LIMITS, **limits})

    def activity(self):
        return EngineActivity(running=self.running, answered_bytes=self.answered_bytes)

    def tell(self, cause):
        self.causes.append(cause)
        self.told.set()

    async def next_cause(self):
        await asyncio.wait_for(self.told.wait(), 10)
        self.told.clear()
        return self.causes[-1]

    async def answer(self, reader, writer):
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split()[1].decode()
            self.asked.append(path)
            if self.answers[path] is NEVER:
                await reader.read()
                return
            status, body = self.answers[path]
            writer.write(
                f"HTTP/1.1 {status} x\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()
            )
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    @contextlib.asynccontextmanager
    async def watched(self):
        self.server = await asyncio.start_unix_server(self.answer, self.path)
        self.watch = EngineWatch(
            EngineAddress(uds=self.path),
            health_path="/health",
            question=by_completion("fake"),
            activity=self.activity,
            cpu_s=lambda: self.cpu_s,
            limits=self.limits,
            on_cause=self.tell,
        )
        self.hung = asyncio.ensure_future(self.watch.until_hung())
        try:
            yield
        finally:
            self.hung.cancel()
            self.server.close()
            while others := asyncio.all_tasks() - {asyncio.current_task()}:
                await asyncio.wait(others)

    async def until_asked(self, path, times=1):
        async with asyncio.timeout(10):
            while self.asked.count(path) < times:
                await asyncio.sleep(0.005)


@pytest.fixture
def play(tmp_path):
    """Run a coroutine with a watched engine."""

    def run(scene, **limits):
        async def whole():
            engine = Played(str(tmp_path / "engine.sock"), **limits)
            async with engine.watched():
                await scene(engine)

        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(whole())

    return run


def test_an_engine_that_answers_is_ready(play):
    async def scene(engine):
        await engine.until_asked("/health", 20)
        assert engine.causes == []
        assert "/v1/completions" not in engine.asked

    play(scene)


def test_silence_and_the_end_of_it(play):
    async def scene(engine):
        engine.answers["/health"] = NEVER
        assert "has not answered since" in await engine.next_cause()
        engine.answers["/health"] = (200, "{}")
        assert await engine.next_cause() == ""

    play(scene, health_timeout_s=0.3)


def test_bytes_for_clients_are_life_whatever_the_health_path_says(play):
    async def scene(engine):
        engine.answers["/health"] = NEVER
        engine.running = 1
        for _ in range(60):
            engine.answered_bytes += 1
            await asyncio.sleep(0.01)
        assert engine.causes == []
        assert await engine.next_cause() != ""
        engine.answered_bytes += 1
        assert await engine.next_cause() == ""

    play(scene)


def test_an_engine_too_full_for_its_health_path_is_busy_while_it_computes(play):
    async def scene(engine):
        engine.answers["/health"] = NEVER
        engine.running = 8
        for _ in range(60):
            engine.cpu_s += 0.005
            await asyncio.sleep(0.01)
        assert engine.causes == []
        assert "has not answered since" in await engine.next_cause()  # it computes no more

    play(scene)


def test_where_nobody_tells_what_it_computes_a_full_engine_gets_its_time(play):
    async def scene(engine):
        engine.answers["/health"] = NEVER
        engine.running, engine.cpu_s = 8, None
        await asyncio.sleep(0.5)
        assert engine.causes == []
        assert "has not answered since" in await engine.next_cause()

    play(scene, busy_limit_s=1.0)


def test_computing_without_requests_is_no_sign_of_life(play):
    async def scene(engine):
        engine.answers["/health"] = NEVER
        for _ in range(60):
            engine.cpu_s += 0.01
            await asyncio.sleep(0.01)
        assert len(engine.causes) == 1

    play(scene)


def test_a_bad_answer_counts_at_once(play):
    async def scene(engine):
        engine.answers["/health"] = (503, "")
        assert await engine.next_cause() == "The engine says HTTP 503 at /health."

    play(scene, silent_s=60.0)


def test_nobody_listening_counts_at_once(play):
    async def scene(engine):
        engine.server.close()
        assert await engine.next_cause() == "The engine does not listen any more."

    play(scene, silent_s=60.0)


def test_an_alarm_asks_without_waiting_for_the_next_look(play):
    async def scene(engine):
        engine.answers["/health"] = (500, "")
        await asyncio.sleep(0)
        engine.watch.alarm()
        await engine.until_asked("/health")

    play(scene, look_every_s=60.0)


@pytest.mark.parametrize(("running", "every"), [(0, "idle"), (1, "busy")])
def test_a_token_is_asked_for_when_clients_got_none(play, running, every):
    async def scene(engine):
        engine.running = running
        await engine.until_asked("/v1/completions", 3)
        assert engine.causes == []

    play(scene, **{f"{every}_token_every_s": 0.05})


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (NEVER, "The engine answers, and has generated nothing since"),
        ((500, "dead"), "The engine cannot generate a token: HTTP 500: dead."),
        ((200, "[]"), "The engine cannot generate a token: an answer without choices."),
        ((503, "full"), "The engine cannot generate a token: HTTP 503: full."),
    ],
)
def test_an_idle_engine_that_does_not_generate(play, answer, cause):
    async def scene(engine):
        engine.answers["/v1/completions"] = answer
        assert (await engine.next_cause()).startswith(cause)
        engine.answered_bytes += 1
        assert await engine.next_cause() == ""

    play(scene, idle_token_every_s=0.05)


def test_an_engine_too_full_for_one_more_request_is_alive(play):
    async def scene(engine):
        engine.running = 256
        engine.answers["/v1/completions"] = (429, "too many")
        await engine.until_asked("/v1/completions", 3)
        assert engine.causes == []

    play(scene, busy_token_every_s=0.05)


def test_a_long_prompt_gets_more_time_than_an_idle_engine(play):
    async def scene(engine):
        engine.running = 1
        engine.answers["/v1/completions"] = NEVER
        await engine.until_asked("/v1/completions")
        for _ in range(60):
            engine.cpu_s += 0.005
            await asyncio.sleep(0.01)
        assert engine.causes == []
        engine.running = 0
        assert "has generated nothing" in await engine.next_cause()

    play(scene, busy_token_every_s=0.05)


def test_requests_are_no_excuse_for_an_engine_that_stands_still(play):
    async def scene(engine):
        engine.running = 1
        engine.answers["/v1/completions"] = NEVER
        assert "has generated nothing" in await engine.next_cause()

    play(scene, busy_token_every_s=0.05)


def test_an_engine_silent_for_long_hangs(play):
    async def scene(engine):
        engine.answers["/health"] = NEVER
        assert "has not answered since" in await asyncio.wait_for(engine.hung, 10)

    play(scene, hung_s=0.2)


def test_time_in_which_nimctl_itself_stood_still_is_no_silence(play):
    async def scene(engine):
        await engine.until_asked("/health", 2)
        time.sleep(1)
        await engine.until_asked("/health", 4)
        assert engine.causes == []

    play(scene, hung_s=0.5)


def test_an_idle_engine_is_asked_rarely_only_where_it_costs_a_prompt():
    assert choose_idle_token_s(1) == 300
    assert choose_idle_token_s(4) == choose_idle_token_s(None) == 30
