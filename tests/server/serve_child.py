"""Serves the fake engine through the real supervisor and gateway; prints events as JSON lines.

python tests/server/serve_child.py FOLDER [--port N] [--timeout S] ... -- FAKE ENGINE OPTIONS
"""

import argparse
import asyncio
import gc
import json
import os
import shutil
import signal
import sys
from pathlib import Path

from nimctl.core.engine_address import EngineAddress
from nimctl.core.plan import Launch
from nimctl.core.startup import DeviceSigns, LogSigns, Phase, PhaseSign
from nimctl.core.symptom import Symptom
from nimctl.errors import NimctlError
from nimctl.server import (
    AnswersAgain,
    GatewayConfig,
    Listening,
    NeededFiles,
    NotReady,
    PhaseAdvanced,
    PhaseReached,
    Ready,
    ReadyAgain,
    Restarting,
    RestartLimits,
    ServedModel,
    ServeRequest,
    Stopping,
    WatchLimits,
    serve_model,
)

SIGNS = LogSigns(
    devices=DeviceSigns(failed=r"no driver: (?P<detail>.+)", on_gpu="on GPU 0", on_host="no GPU"),
    phases=(
        PhaseSign(phase=Phase.LOADING, pattern=r"loading (?P<done>\d+)/(?P<total>\d+)"),
        PhaseSign(phase=Phase.COMPILING, pattern="compiling"),
    ),
)
FELL = Symptom(code="fell", cause="it uses no GPU", hint="buy one")
FAKE_ENGINE = Path(__file__).parents[1] / "fake_engine.py"


def tell(event):
    match event:
        case Listening(url=url):
            line = {"event": "listening", "url": url}
        case PhaseReached(phase=phase):
            line = {"event": phase.value}
        case PhaseAdvanced(phase=phase, done=done, total=total):
            line = {"event": "progress", "phase": phase.value, "done": done, "total": total}
        case Ready(url=url, times=times, memory=memory):
            phases = {phase.value: took_s for phase, took_s in times.phases_s.items()}
            host = memory.host and (memory.host.now, memory.host.peak)
            line = {"event": "served", "url": url, "phases_s": phases, "memory": host}
        case NotReady(cause=cause):
            line = {"event": "not_ready", "cause": cause}
        case AnswersAgain():
            line = {"event": "answers_again"}
        case Restarting(cause=cause, attempt=attempt, wait_s=wait_s):
            line = {"event": "restarting", "cause": cause, "attempt": attempt, "wait_s": wait_s}
        case ReadyAgain(down_s=down_s):
            line = {"event": "ready_again", "down_s": down_s}
        case Stopping(signal_name=name):
            line = {"event": "stopping", "signal": name}
    print(json.dumps(line), flush=True)


def tell_tasks(*_):
    gc.collect()
    tasks = [task for task in gc.get_objects() if isinstance(task, asyncio.Task)]
    alive = sum(not task.done() for task in tasks)
    print(json.dumps({"event": "tasks", "count": alive}), flush=True)


def main():
    own, fake = sys.argv[1:], []
    if "--" in own:
        cut = own.index("--")
        own, fake = own[:cut], own[cut + 1 :]
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--timeout", type=float, default=30)
    parser.add_argument("--drain", type=float, default=20)
    parser.add_argument("--hold", type=float, default=5)
    parser.add_argument("--code", help="Python code to run instead of the fake engine")
    parser.add_argument("--restarts", type=int, default=0)
    parser.add_argument("--first-wait", type=float, default=0.05)
    parser.add_argument("--watch", type=json.loads, default={}, help="WatchLimits as JSON")
    parser.add_argument("--needs", type=Path, action="append", default=[], help="a file")
    parser.add_argument("--must-use-gpu", action="store_true")
    parser.add_argument("--first-words", type=int, default=1, help="of the first question")
    parser.add_argument("--tasks", action="store_true", help="SIGUSR1 tells how many there are")
    options = parser.parse_args(own)
    if options.tasks:
        signal.signal(signal.SIGUSR1, tell_tasks)
    state = options.folder / "state"
    state.mkdir()
    socket = str(state / "engine.sock")
    program = (sys.executable, str(FAKE_ENGINE), "--uds", socket, *fake)
    if options.code:
        program = (sys.executable, "-c", options.code)
    symptom = Symptom(code="sick", pattern=r"I am (?P<detail>\w+)", cause="it is sick", hint="rest")
    request = ServeRequest(
        launch=Launch(
            argv=program,
            address=EngineAddress(uds=socket),
            ready_path="/health",
            symptoms=(symptom,),
            signs=SIGNS,
            fell_to_cpu=FELL if options.must_use_gpu else None,
            first_words=options.first_words,
        ),
        model=ServedModel(names=("fake",), created=0),
        gateway=GatewayConfig(
            port=options.port, drain_timeout_s=options.drain, hold_s=options.hold
        ),
        environment=dict(os.environ),
        log_path=options.folder / "engine.log",
        state_dir=state,
        start_timeout_s=options.timeout,
        files=NeededFiles(
            sizes={str(path): path.stat().st_size for path in options.needs}, hint="put it back"
        ),
        watch=WatchLimits(**options.watch),
        restarts=RestartLimits(
            count=options.restarts, first_wait_s=options.first_wait, longest_wait_s=1
        ),
    )
    try:
        serve_model(request, on_event=tell)
    except NimctlError as error:
        print(json.dumps({"event": "error", "message": error.message, "hint": error.hint}))
        sys.exit(error.exit_code)
    finally:
        shutil.rmtree(state, ignore_errors=True)


if __name__ == "__main__":
    main()
