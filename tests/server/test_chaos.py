"""Two hundred streams while the engine is killed ten times: all end, and nothing stays behind."""

import asyncio
import json
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
from served_child import WAIT_S, ask, wait_until

STREAMS = 200
KILLS = 10
GROWTH_LIMIT_BYTES = 8 * 1024 * 1024


def make_request():
    """A stream of any length: else all of them would begin and end together."""
    fields = {"stream": True, "fake": {"chunks": random.randrange(5, 80)}}
    body = json.dumps({"model": "fake", "prompt": "x", **fields}).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}"
    return f"{head}\r\nConnection: close\r\n\r\n".encode() + body


async def stream_once(port):
    """One stream on a connection of its own: how it ended."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(make_request())
        answer = await asyncio.wait_for(reader.read(), WAIT_S)
    finally:
        writer.transport.abort()
    status = int(answer.split()[1])
    if status != 200:
        assert b'"error"' in answer
        assert status != 503 or b"retry-after" in answer
        return status
    if answer.endswith(b"0\r\n\r\n"):
        assert b"data: [DONE]" in answer
        return "whole"
    assert b'data: {"error"' in answer[-400:]
    return "error event"


async def stream_until(port, over, ends):
    while not over.is_set():
        ends[await stream_once(port)] += 1


async def storm(child, port):
    """Streams all the time while the engine is killed; how they ended."""
    over, ends = asyncio.Event(), Counter()
    streams = [asyncio.create_task(stream_until(port, over, ends)) for _ in range(STREAMS)]
    for _ in range(KILLS):
        whole = ends["whole"]
        while ends["whole"] < whole + 20:  # it works, and is in the middle of things
            await asyncio.sleep(0.01)
        child.kill_engine()
        await asyncio.to_thread(child.wait_for, "ready_again")
    over.set()
    await asyncio.gather(*streams)
    return ends


def count_files(pid):
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def count_rss_bytes(pid):
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_streams_end_and_nothing_leaks_while_the_engine_is_killed(serve):
    child = serve(
        *("--interval-ms", "10"),
        own=("--restarts", "1000", "--first-wait", "0.05", "--tasks"),
    )
    port = int(child.wait_for("served")["url"].rpartition(":")[2])
    url, pid = f"http://127.0.0.1:{port}", child.process.pid
    asyncio.run(storm(child, port))  # what a first storm takes, code and buffers, it may keep
    wait_until_quiet(url)
    files, tasks, rss_bytes = count_files(pid), count_tasks(child), count_rss_bytes(pid)

    began = time.monotonic()
    ends = asyncio.run(storm(child, port))
    wait_until_quiet(url)
    grown_bytes = count_rss_bytes(pid) - rss_bytes
    print(f"\n{dict(ends)} in {time.monotonic() - began:.1f} s, memory {grown_bytes / 1e6:+.1f} MB")
    assert ends["error event"] >= KILLS * STREAMS / 4
    assert set(ends) <= {"whole", "error event", 502, 503}
    wait_until(lambda: count_files(pid) == files)
    assert count_tasks(child) == tasks
    assert grown_bytes < GROWTH_LIMIT_BYTES
    child.send(signal.SIGTERM)
    assert child.end() == (0, None)
    child.assert_nothing_left()


def wait_until_quiet(url):
    """No request in the engine, and none of its connections waiting for the next."""
    assert ask(url, max_tokens=1).status_code == 200
    time.sleep(5)  # idle connections to the engine are kept for 4 seconds


def count_tasks(child):
    """What the serving process itself says, when it gets SIGUSR1."""
    child.send(signal.SIGUSR1)
    return child.wait_for("tasks")["count"]
