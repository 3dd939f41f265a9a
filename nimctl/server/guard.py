"""Starts an engine so that it cannot outlive nimctl, and keeps what it prints within bounds.

Run as a file: `python guard.py --log FILE [--log-bytes N] [--cleanup DIR] [--afterwards COMMAND] --
PROGRAM ARGUMENT...`, where COMMAND is a list in JSON, run when the program has ended.
The guard starts the program in a process group of its own and holds one end of a pipe (its standard
input) whose other end nimctl holds. When nimctl is gone the pipe closes, SIGKILL included, and the
guard ends the whole group. When the program ends first, the guard ends with the same exit code, or
with 128 + N after signal N. SIGTERM to the guard ends the group too, SIGINT without grace.

Standard library only, and nothing else of nimctl: the guard lives as long as the engine, and should
cost little.
"""

import argparse
import contextlib
import ctypes
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

GRACE_S = 10.0
# The log in use and `LOGS_KEPT` older ones (FILE.1 is the youngest) take this many bytes each.
LOG_BYTES = 8 * 1024 * 1024
LOGS_KEPT = 2
# Begins the lines the guard itself writes; the last one in a log is where the engine's life began.
START_MARK = "--- nimctl starts the engine, "

AFTERWARDS_S = 20.0
_READ_BYTES = 64 * 1024
_PIPE_BYTES = 1024 * 1024
_POLL_S = 0.05
_LAST_WORDS_S = 1.0
_F_SETPIPE_SZ = 1031
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


class RotatingLog:
    """A log that grows to a limit, is then set aside, and begins anew; the oldest are dropped.

    A disk that is full loses lines, and never stops whoever prints them.
    """

    def __init__(self, path: str, *, limit_bytes: int = LOG_BYTES, kept: int = LOGS_KEPT) -> None:
        """Append to `path`.

        Raises:
            OSError: it cannot be opened.
        """
        self._path = path
        self._limit_bytes = limit_bytes
        self._kept = kept
        self._lost_bytes = 0
        self._open()

    def _open(self) -> None:
        self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size_bytes = os.fstat(self._fd).st_size

    def write(self, data: bytes) -> None:
        """Append `data`, as far as the disk takes it."""
        while len(data) > (room := self._limit_bytes - self._size_bytes):
            end = data.rfind(b"\n", 0, max(room, 0)) + 1  # a line stays in one file
            if not (end or self._size_bytes):  # unless it is longer than that
                end = room
            self._append(data[:end])
            self._rotate()
            data = data[end:]
        self._append(data)

    def _append(self, data: bytes) -> None:
        if not data:
            return
        try:
            if self._lost_bytes:
                note = f"\n--- nimctl: {self._lost_bytes} bytes are missing, the disk was full\n"
                os.write(self._fd, note.encode())
                self._lost_bytes = 0
            written = os.write(self._fd, data)
        except OSError:
            written = 0
        self._size_bytes += written
        if written < len(data):
            self._lost_bytes += len(data) - written
            with contextlib.suppress(OSError):
                os.utime(self._fd)  # whoever waits for a sign of life looks at the time

    def _rotate(self) -> None:
        try:
            set_aside(self._path, self._kept)
            os.close(self._fd)
            self._open()
        except OSError:  # the folder is gone or closed to us: begin the same file anew
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, 0)
            self._size_bytes = 0


def set_aside(path: str, kept: int) -> None:
    """Rename a log to `path.1`, and the `kept` older ones one number up; the oldest is dropped.

    Raises:
        OSError: it cannot be renamed.
    """
    for number in range(kept, 1, -1):
        with contextlib.suppress(FileNotFoundError):
            Path(f"{path}.{number - 1}").rename(f"{path}.{number}")
    Path(path).rename(f"{path}.1")


def main(arguments: list[str]) -> int:
    """Run the program after `--` until it ends, or until nimctl does; returns its exit code."""
    separator = arguments.index("--")
    parser = argparse.ArgumentParser()
    parser.add_argument("--log", required=True)
    parser.add_argument("--log-bytes", type=int, default=LOG_BYTES)
    parser.add_argument("--cleanup", help="a folder to remove at the end")
    parser.add_argument("--afterwards", type=json.loads, help="a command to run at the end")
    options = parser.parse_args(arguments[:separator])
    log = RotatingLog(options.log, limit_bytes=options.log_bytes)
    log.write(f"{START_MARK}{time.strftime('%Y-%m-%d %H:%M:%S')} ---\n".encode())
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    try:
        return _Guard(log).run(arguments[separator + 1 :])
    finally:
        if options.afterwards:
            _run_afterwards(options.afterwards)
        if options.cleanup:
            shutil.rmtree(options.cleanup, ignore_errors=True)


def _run_afterwards(command: list[str]) -> None:
    """Remove what the program left elsewhere; mostly it has left nothing, so no word is heard."""
    quiet = subprocess.DEVNULL
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(
            command, stdin=quiet, stdout=quiet, stderr=quiet, timeout=AFTERWARDS_S, check=False
        )


class _Guard:
    def __init__(self, log: RotatingLog) -> None:
        self._log = log
        self._hurried = False
        self._selector = selectors.DefaultSelector()
        self._signals, wakeup = os.pipe()
        os.set_blocking(self._signals, False)
        os.set_blocking(wakeup, False)
        signal.set_wakeup_fd(wakeup)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: None)
        self._selector.register(self._signals, selectors.EVENT_READ)

    def run(self, command: list[str]) -> int:
        output, engine_output = os.pipe()
        _enlarge_pipe(output)
        try:
            self._engine = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=engine_output,
                stderr=engine_output,
                process_group=0,
                preexec_fn=_die_with_guard,  # noqa: PLW1509 - the guard has a single thread
            )
        except OSError as error:
            self._log.write(f"error: cannot start {command[0]}: {error.strerror}\n".encode())
            return 127
        os.close(engine_output)
        os.set_blocking(output, False)
        self._output = output
        self._selector.register(output, selectors.EVENT_READ)
        self._selector.register(sys.stdin, selectors.EVENT_READ)
        self._wait()
        self._end_group()
        self._copy_output(until_s=time.monotonic() + _LAST_WORDS_S)
        code = self._engine.returncode
        return 128 - code if code < 0 else code

    def _wait(self) -> None:
        """Until the engine has ended, nimctl has, or a signal says to stop."""
        while True:
            ready = self._select(None)
            if sys.stdin.fileno() in ready and not os.read(sys.stdin.fileno(), 4096):
                return
            if self._read_signals(ready) or self._has_ended():
                return

    def _select(self, timeout_s: float | None) -> set[int]:
        """What is ready to be read; a part of what the engine printed is copied on the way."""
        ready = {key.fd for key, _ in self._selector.select(timeout_s)}
        if self._output in ready and not self._copy_output_once():
            self._selector.unregister(self._output)
        return ready

    def _copy_output_once(self) -> bool:
        """Copy a piece of the output; False after its end."""
        try:
            data = os.read(self._output, _READ_BYTES)
        except BlockingIOError:
            return True
        self._log.write(data)
        return bool(data)

    def _copy_output(self, *, until_s: float) -> None:
        """Copy what is left of the output."""
        while self._output in self._selector.get_map() and time.monotonic() < until_s:
            if self._output not in self._select(0):
                return

    def _read_signals(self, ready: set[int]) -> bool:
        """Whether a signal asked to stop."""
        if self._signals not in ready:
            return False
        numbers = set(os.read(self._signals, 64))
        self._hurried = self._hurried or signal.SIGINT in numbers
        return bool(numbers - {signal.SIGCHLD})

    def _has_ended(self) -> bool:
        """Whether the engine has; processes of its that were left to the guard are buried too."""
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                ended = None
            if ended is None or ended.si_pid == self._engine.pid:
                return self._engine.poll() is not None
            os.waitpid(ended.si_pid, 0)

    def _end_group(self) -> None:
        """SIGTERM to the engine's group; SIGKILL to what is left when the engine has ended, the
        grace time is over, or SIGINT came.
        """
        self._selector.unregister(sys.stdin)
        _signal_group(self._engine.pid, signal.SIGTERM)
        _signal_group(self._engine.pid, signal.SIGCONT)  # what stands still hears nothing
        deadline_s = time.monotonic() + GRACE_S
        while not (self._hurried or self._has_ended()) and time.monotonic() < deadline_s:
            self._read_signals(self._select(_POLL_S))
        _signal_group(self._engine.pid, signal.SIGKILL)
        self._engine.wait()
        # Those that left the group were adopted by the guard, and theirs are with their end.
        while children := _list_children():
            for pid in children:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


def _signal_group(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _list_children() -> list[int]:
    """Processes whose parent is the guard (Linux only)."""
    try:
        text = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    except OSError:
        return []
    return [int(pid) for pid in text.split()]


def _enlarge_pipe(fd: int) -> None:
    """Room for a burst of lines; the usual 64 KiB where the system gives no more."""
    import fcntl

    with contextlib.suppress(OSError):
        fcntl.fcntl(fd, _F_SETPIPE_SZ, _PIPE_BYTES)


def _die_with_guard() -> None:
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
