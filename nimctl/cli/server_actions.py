"""What is done with servers that run: listed, read, stopped, started apart from the terminal."""

import os
import signal
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from nimctl.cli.log_files import new_log_file
from nimctl.cli.own_log import SERVER_LOGS
from nimctl.cli.registry import ServerRecord, choose_servers, find_server, read_servers
from nimctl.cli.terminal import print_json, print_line, print_note
from nimctl.core.units import format_duration
from nimctl.errors import EngineError, InputError, InterruptedByUserError, NimctlError
from nimctl.server import DetachedProcess
from nimctl.settings import Settings

_POLL_S = 0.1
_ASK_S = 1.0
_LAST_WORDS = ("error: ", "hint:  ")


def print_servers(*, json: bool) -> None:
    """Every server of this user, with its state as it answers now."""
    servers = [(record, _ask_state(record)) for record in read_servers()]
    if json:
        print_json({"servers": [_document(record, state) for record, state in servers]})
        return
    if not servers:
        print_note("no server runs; `nimctl serve MODEL --detach` starts one")
        return
    rows = [("PID", "MODEL", "STATE", "SINCE", "ADDRESS", "PROFILE")]
    rows += [
        (
            str(record.pid),
            record.model,
            state,
            format_duration(time.time() - record.began_s),
            record.url or "-",
            record.profile,
        )
        for record, state in servers
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        print_line("  ".join(cells).rstrip())


def print_log(name: str, *, follow: bool, of_engine: bool, lines: int) -> None:
    """The last lines of a server's log, or of its engine's.

    Raises:
        InputError: there is no such server, or what it says goes to a terminal.
    """
    record = _choose_one(name)
    path = record.engine_log if of_engine else record.log
    if path is None and of_engine:
        raise InputError(f"the engine of {record.names[-1]} runs elsewhere, and has its own log")
    if path is None:
        raise InputError(
            f"what {record.names[-1]} says goes to where it was started, not to a file",
            hint="`--engine` shows its engine's log; with --detach there is one of the server too",
        )
    try:
        for line in _read_lines(Path(path), record if follow else None, lines):
            print_line(line)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error


def _read_lines(path: Path, followed: ServerRecord | None, most: int) -> Iterator[str]:
    log: TextIO = path.open(encoding="utf-8", errors="replace")
    try:
        yield from (line.rstrip("\n") for line in deque(log, maxlen=most))
        rest = ""
        while followed is not None:
            ended = find_server(followed.pid) is None
            newer = _open_newer(log, path)
            rest += log.read()
            if newer is not None:
                log.close()
                log = newer
            *whole, rest = rest.split("\n")
            yield from whole
            if ended:
                return
            time.sleep(_POLL_S)
    finally:
        log.close()


def _open_newer(log: TextIO, path: Path) -> TextIO | None:
    """The log that was begun in place of one that grew too long; None where it is the same."""
    try:
        if os.path.samestat(os.fstat(log.fileno()), path.stat()):
            return None
        return path.open(encoding="utf-8", errors="replace")
    except FileNotFoundError:  # the old one was just set aside
        return None


def stop_servers(names: list[str], *, everything: bool, now: bool, json: bool) -> None:
    """Ask servers to end, and wait until they have.

    Args:
        now: Cut open requests.

    Raises:
        InputError: no server was named, or there is none of that name.
    """
    if not names and not everything:
        raise InputError("no server was named", hint="`nimctl ps` shows them; --all means all")
    servers = read_servers() if everything else choose_servers(names)
    for record in servers:
        _signal(record, signal.SIGTERM)
        if now:  # another signal, as two of one kind may count as one
            _signal(record, signal.SIGINT)
    for record in servers:
        while find_server(record.pid) is not None:
            time.sleep(_POLL_S)
        if not json:
            print_line(f"stopped {record.names[-1]} (pid {record.pid})")
    if json:
        print_json({"stopped": [{"pid": one.pid, "model": one.model} for one in servers]})


def start_detached(arguments: list[str], settings: Settings, *, json: bool) -> None:
    """Serve in a process of its own, and return once it is ready.

    Args:
        arguments: Of this program's command line.

    Raises:
        NimctlError: it ended instead; the message is its own, as is the exit code.
    """
    log_path = new_log_file(SERVER_LOGS, ".log")
    own, dashes, of_engine = _split(arguments, "--")
    alike = [one for one in own if one not in ("--detach", "--json")]
    child = DetachedProcess(
        [*alike, *dashes, *of_engine], log_path=log_path, environment=settings.environment
    )
    try:
        record = _wait_until_ready(child, log_path)
    except KeyboardInterrupt:
        child.stop()
        raise InterruptedByUserError("stopped before the model was ready") from None
    if record is None:
        raise _explain_end(log_path, child.poll())
    if json:
        print_json(_document(record, record.state))
        return
    name = record.names[-1]
    print_line(f"{record.model} is ready at {record.url} (pid {record.pid})")
    print_line(f"  nimctl logs {name} shows what it says; nimctl stop {name} ends it")


def _split(words: list[str], at: str) -> tuple[list[str], list[str], list[str]]:
    place = words.index(at) if at in words else len(words)
    return words[:place], words[place : place + 1], words[place + 1 :]


def _wait_until_ready(child: DetachedProcess, log_path: Path) -> ServerRecord | None:
    """Its record once it is ready; None when it ended before. What it says meanwhile is shown."""
    with log_path.open(encoding="utf-8", errors="replace") as log:
        while True:
            has_ended = child.poll() is not None
            record = find_server(child.pid)
            is_ready = record is not None and record.state == "ready"
            for line in log:
                if not is_ready and not line.startswith(_LAST_WORDS):
                    print_note(line.rstrip("\n"))
            if has_ended or is_ready:
                return None if has_ended else record
            time.sleep(_POLL_S)


def _explain_end(log_path: Path, exit_code: int | None) -> NimctlError:
    """The failure it told, of the kind that has its exit code."""
    said = log_path.read_text(errors="replace").partition("error: ")[2]
    message, _, hint = said.partition("hint:  ")
    kind = next((one for one in _list_kinds() if one.exit_code == exit_code), EngineError)
    return kind(
        message.strip() or f"the server ended with exit code {exit_code}",
        hint=hint.strip() or f"all it said is in {log_path}",
    )


def _list_kinds(above: type[NimctlError] = NimctlError) -> Iterator[type[NimctlError]]:
    for kind in above.__subclasses__():
        yield kind
        yield from _list_kinds(kind)


def _choose_one(name: str) -> ServerRecord:
    chosen = choose_servers([name])
    if len(chosen) > 1:
        pids = ", ".join(str(one.pid) for one in chosen)
        raise InputError(
            f"{name} is served {len(chosen)} times", hint=f"name one by its pid: {pids}"
        )
    return chosen[0]


def _signal(record: ServerRecord, number: signal.Signals) -> None:
    # It was alive a moment ago, by its start time too; another process cannot have its pid yet.
    try:
        os.kill(record.pid, number)
    except ProcessLookupError:
        return
    except PermissionError as error:
        raise InputError(f"the server with pid {record.pid} belongs to somebody else") from error


def _ask_state(record: ServerRecord) -> str:
    """`starting`, `ready`, `not ready`, or `silent` where nobody answers in time."""
    if record.url is None or record.state == "starting":
        return record.state
    import httpx

    uds = record.url.removeprefix("unix:") if record.url.startswith("unix:") else None
    base = "http://localhost" if uds else record.url
    # Nothing secret is asked, and a server's own certificate may name only its public address.
    transport = httpx.HTTPTransport(uds=uds, verify=False)
    try:
        with httpx.Client(transport=transport, timeout=_ASK_S) as client:
            answer = client.get(f"{base}/v1/health/ready")
    except httpx.TransportError:
        return "silent"
    return "ready" if answer.status_code == 200 else "not ready"


def _document(record: ServerRecord, state: str) -> dict[str, Any]:
    return {
        "pid": record.pid,
        "model": record.model,
        "names": list(record.names),
        "profile": record.profile,
        "engine": record.engine,
        "url": record.url,
        "state": state,
        "log": record.log,
        "engine_log": record.engine_log,
        "began_s": record.began_s,
    }
