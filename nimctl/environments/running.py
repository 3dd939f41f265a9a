"""Runs one command of an installation to its end: its output into a log, a line now and then."""

import os
import re
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from nimctl.core.units import format_duration

TELL_EVERY_S = 5.0
_GRACE_S = 5.0
_LONGEST_LINE = 90
_UNBUFFERED = {"PYTHONUNBUFFERED": "1"}  # pip would tell what it does when it is done
_LOGIN = re.compile(r"(://)[^/@\s]+@")
# What pip and uv print when something begins; the rest of their output is for the log.
_TELLING = re.compile(
    r"\s*(Collecting|Downloading|Building|Installing|Preparing|Resolved|Prepared|Installed)\b"
)
_SECRET = re.compile(r".*(TOKEN|SECRET|API_?KEY|CREDENTIAL).*", re.IGNORECASE)
_DROPPED = re.compile(r"PYTHON(PATH|HOME|STARTUP)|VIRTUAL_ENV|CONDA_PREFIX")


class CommandFailedError(Exception):
    """A command ended badly; the text is the line of its output that tells why.

    Attributes:
        told: All lines of its output.
    """

    def __init__(self, cause: str, told: Sequence[str] = ()) -> None:
        super().__init__(cause)
        self.told = tuple(told)


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """Where commands run and what they tell.

    Attributes:
        environment: The variables they get, as `clean_environment` makes them.
        log: Where their output goes.
        tell: Hears a line every few seconds.
        lock_descriptor: Inherited by each command.
    """

    environment: Mapping[str, str]
    log: IO[bytes]
    tell: Callable[[str], None]
    lock_descriptor: int


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Our variables without secrets, which foreign build scripts would see, nor our own Python."""
    return {
        name: value
        for name, value in environment.items()
        if not _SECRET.fullmatch(name) and not _DROPPED.fullmatch(name)
    }


def hide_logins(text: str) -> str:
    """`text` without the user and password of any address."""
    return _LOGIN.sub(r"\1****@", text)


def run_command(
    running: Running, command: tuple[str, ...], more_environment: Mapping[str, str] | None = None
) -> None:
    """Run a command to its end.

    Raises:
        CommandFailedError: it cannot be started, or its exit code is not 0.
        KeyboardInterrupt: as it came, after the command and its children were ended.
    """
    running.log.write(f"$ {hide_logins(' '.join(command))}\n".encode())
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**running.environment, **(more_environment or {}), **_UNBUFFERED},
            pass_fds=(running.lock_descriptor,),
            process_group=0,
        )
    except OSError as error:
        raise CommandFailedError(f"{command[0]} cannot be started: {error.strerror}") from error
    with child:
        try:
            lines = _follow(child, running)
        except KeyboardInterrupt:
            _end_group(child)
            raise
    if child.returncode != 0:
        raise CommandFailedError(find_cause(lines, child.returncode), lines)


def _follow(child: subprocess.Popen[bytes], running: Running) -> list[str]:
    """Keep the output until it ends; gives its lines."""
    lines: list[str] = []
    began_s = told_s = time.monotonic()
    latest = ""
    for line in _read_lines(child):
        if line is not None:
            running.log.write(line.encode() + b"\n")
            running.log.flush()
            lines.append(line)
            latest = line.strip() if _TELLING.match(line) else latest
        now_s = time.monotonic()
        if now_s - told_s >= TELL_EVERY_S:
            told_s = now_s
            running.tell(f"  {format_duration(now_s - began_s)}  {_cut(latest)}".rstrip())
    child.wait()
    return lines


def _read_lines(child: subprocess.Popen[bytes]) -> Iterator[str | None]:
    """Each line of the output without logins; None where a while passes without one."""
    if child.stdout is None:
        raise AssertionError("the output of a command is a pipe")
    pending = b""
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        while True:
            if not selector.select(TELL_EVERY_S):
                yield None
                continue
            chunk = os.read(child.stdout.fileno(), 65536)
            *whole, pending = (pending + chunk).split(b"\n")
            for line in whole if chunk else (*whole, pending):
                yield hide_logins(line.decode(errors="replace").rstrip("\r"))
            if not chunk:
                return


def _cut(line: str) -> str:
    return line if len(line) <= _LONGEST_LINE else f"{line[: _LONGEST_LINE - 3]}..."


def _end_group(child: subprocess.Popen[bytes]) -> None:
    os.killpg(child.pid, signal.SIGTERM)
    try:
        child.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)


def find_cause(lines: list[str], code: int) -> str:
    """The line that tells why a command failed: its last complaint, else its last line."""
    told = [line.strip() for line in lines if line.strip()]
    complaints = [line for line in told if re.match(r"(ERROR|error|fatal):", line)]
    if code < 0:
        return f"it was ended by {signal.Signals(-code).name}"
    last = (complaints or told or [f"exit code {code}"])[-1]
    return re.sub(r"^(ERROR|error|fatal):\s*", "", last)


def open_log(path: Path) -> IO[bytes]:
    """The log of an installation, readable by this user only."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    return os.fdopen(descriptor, "wb")
