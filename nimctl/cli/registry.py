"""Which servers this user runs: each writes a file about itself, believed while it lives."""

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from nimctl.cache.owners import parse_owner, this_process
from nimctl.cli.own_log import find_stderr_file
from nimctl.errors import InputError
from nimctl.server import Listening, Ready, ServeEvent
from nimctl.settings.places import user_state_folder

SCHEMA = "nimctl-server/1"
ServerState = Literal["starting", "ready"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerRecord:
    """One running server, as it told of itself.

    Attributes:
        owner: Its process, named so that no later one is taken for it.
        names: What clients call the model.
        profile: What runs: a profile, or where the engine is that was there already.
        url: Where it listens; None before it does.
        state: How far it had come when it last wrote.
        log: Where its own words go; None where that is a terminal or a pipe.
        engine_log: Where the engine's words go; None for one that runs elsewhere.
        began_s: Seconds since the epoch.
    """

    owner: str
    pid: int
    model: str
    names: tuple[str, ...]
    profile: str
    engine: str
    url: str | None = None
    state: ServerState = "starting"
    log: str | None = None
    engine_log: str | None = None
    began_s: float


@contextlib.contextmanager
def registered(record: ServerRecord) -> Iterator[Callable[[ServeEvent], None]]:
    """Keep a file about this server while a `with` lasts; gives what is told of its events.

    A state folder that cannot be written only means that `nimctl ps` does not know the server.
    """
    folder = _folder()
    path = None if folder is None else folder / f"{record.pid}.json"
    held = record

    def note(event: ServeEvent) -> None:
        nonlocal held
        match event:
            case Listening(url=url):
                held = replace(held, url=url)
            case Ready(names=names):
                held = replace(held, state="ready", names=names)
            case _:
                return
        _write(path, held)

    _write(path, held)
    try:
        yield note
    finally:
        if path is not None:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


def describe_self(
    *, model: str, names: tuple[str, ...], profile: str, engine: str, engine_log: Path | None
) -> ServerRecord:
    """The record of this process, which is about to serve."""
    log = find_stderr_file()
    return ServerRecord(
        owner=str(this_process()),
        pid=os.getpid(),
        model=model,
        names=names,
        profile=profile,
        engine=engine,
        log=None if log is None else str(log),
        engine_log=None if engine_log is None else str(engine_log),
        began_s=time.time(),
    )


def read_servers() -> tuple[ServerRecord, ...]:
    """Every server of this user that lives, the oldest first; files of dead ones are removed."""
    folder = _folder()
    found = []
    for path in sorted(folder.glob("*.json")) if folder is not None else ():
        record = _read(path)
        if record is None:
            continue
        owner = parse_owner(record.owner)
        if owner is not None and owner.lives is not False:
            found.append(record)
        else:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
    return tuple(sorted(found, key=lambda record: record.began_s))


def find_server(pid: int) -> ServerRecord | None:
    """The server with that process id, if it lives."""
    return next((record for record in read_servers() if record.pid == pid), None)


def choose_servers(names: list[str]) -> tuple[ServerRecord, ...]:
    """The servers that names mean: process ids, names of models, or their ends.

    Raises:
        InputError: a name means none of them.
    """
    servers = read_servers()
    chosen: dict[int, ServerRecord] = {}
    for name in names:
        mine = [one for one in servers if _is_meant(one, name)]
        if not mine:
            known = ", ".join(f"{one.names[-1]} (pid {one.pid})" for one in servers)
            raise InputError(
                f"no server {name!r} runs here",
                hint=f"these do: {known}" if known else "`nimctl serve MODEL --detach` starts one",
            )
        chosen |= {one.pid: one for one in mine}
    return tuple(chosen.values())


def _is_meant(record: ServerRecord, name: str) -> bool:
    if name.isdecimal():
        return record.pid == int(name)
    return any(name in (one, one.rpartition("/")[2]) for one in (record.model, *record.names))


def _folder() -> Path | None:
    state = user_state_folder()
    return None if state is None else state / "servers"


def _write(path: Path | None, record: ServerRecord) -> None:
    """Put a whole file in place of the old one, so that no reader meets half of it."""
    if path is None:
        return
    with contextlib.suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = path.with_suffix(".new")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump({"schema": SCHEMA, **asdict(record)}, file)
        new.replace(path)


def _read(path: Path) -> ServerRecord | None:
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if document.pop("schema") != SCHEMA:
            return None
        known = {field.name for field in fields(ServerRecord)}
        values = {name: value for name, value in document.items() if name in known}
        return ServerRecord(**{**values, "names": tuple(values["names"])})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
