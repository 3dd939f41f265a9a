"""Programs in processes of their own, forked from one that has imported nimctl: a second sooner.

A fork has its own environment, folder, output and exit code, as any process that a shell starts;
only what Python itself reads before a program begins (`PYTHONPATH`, say) is not read again.
"""

import atexit
import contextlib
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import Any

WARNINGS_ARE_ERRORS = "import warnings; warnings.simplefilter('error')"
"""A prelude."""

_LONGEST_CALL_BYTES = 1 << 17
_LIBRARIES = ("pydantic", "huggingface_hub.constants", "httpx", "platformdirs", "urllib3", "yaml")


class ForkedChild:
    """A program that runs, with the part of `subprocess.Popen` that tests use."""

    def __init__(self, words: Sequence[str], end: socket.socket, out: int, err: int) -> None:
        self._words = list(words)
        self._end = end
        self.stdout = os.fdopen(out, encoding="utf-8")
        self.stderr = os.fdopen(err, encoding="utf-8")
        self.returncode: int | None = None
        self.pid = int(end.recv(64))

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, or minus the number of the signal that ended it."""
        if self.returncode is None:
            self._end.settimeout(timeout)
            try:
                self.returncode = int(self._end.recv(64))
            except TimeoutError:
                raise subprocess.TimeoutExpired(self._words, timeout or 0.0) from None
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """The rest of its output and of its errors, once it has ended."""
        with ThreadPoolExecutor(2) as readers:
            told = [readers.submit(file.read) for file in (self.stdout, self.stderr)]
            try:
                self.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
            out, err = (reading.result() for reading in told)
        return out, err

    def poll(self) -> int | None:
        """Its exit code; None while it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired, BlockingIOError):
            self.wait(0.0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)

    def close(self) -> None:
        """Let go of its output."""
        for file in (self.stdout, self.stderr, self._end):
            file.close()


class ForkedProgram:
    """Starts programs as often as it is asked to."""

    def __init__(self) -> None:
        self._calls, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen([sys.executable, __file__], stdin=theirs)

    def start(
        self, words: Sequence[str], environment: Mapping[str, str], cwd: Path, prelude: str = ""
    ) -> ForkedChild:
        """Start a program: `nimctl`, or a file of Python, and its arguments.

        Args:
            prelude: Python that runs in the new process before the program does.
        """
        call = {
            "words": list(words),
            "environment": dict(environment),
            "cwd": str(cwd),
            "prelude": prelude,
        }
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        (out, their_out), (err, their_err) = os.pipe(), os.pipe()
        passed = [theirs.fileno(), their_out, their_err]
        socket.send_fds(self._calls, [json.dumps(call).encode()], passed)
        theirs.close()
        os.close(their_out)
        os.close(their_err)
        return ForkedChild(words, ours, out, err)

    def run(
        self,
        words: Sequence[str],
        environment: Mapping[str, str],
        cwd: Path,
        *,
        timeout_s: float = 60,
        prelude: str = "",
    ) -> subprocess.CompletedProcess[str]:
        """Run a program to its end.

        Raises:
            TimeoutExpired: it took longer, and was killed.
        """
        with contextlib.closing(self.start(words, environment, cwd, prelude)) as child:
            out, err = child.communicate(timeout_s)
            return subprocess.CompletedProcess(list(words), child.wait(), out, err)

    def close(self) -> None:
        """End the process that forks."""
        self._calls.close()
        self._process.wait()


def _fork_for_calls(calls: socket.socket) -> str:
    """Fork for each call until no more can come; gives its prelude in the program of each call."""
    callers: dict[int, socket.socket] = {}  # by the process that runs for them
    woken, ended = socket.socketpair()
    ended.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(ended.fileno(), warn_on_full_buffer=False)
    while True:
        ready, _, _ = select.select([calls, woken], [], [])
        if woken in ready:
            woken.recv(4096)
            _tell_who_ended(callers)
        if calls not in ready:
            continue
        message, passed, _, _ = socket.recv_fds(calls, _LONGEST_CALL_BYTES, 3)
        if not message:
            os._exit(0)
        caller, *outputs = socket.socket(fileno=passed[0]), *passed[1:]
        if pid := os.fork():
            caller.send(str(pid).encode())
            callers[pid] = caller
            for descriptor in outputs:
                os.close(descriptor)
        else:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for end in (calls, woken, ended, caller, *callers.values()):
                end.close()
            return _become(json.loads(message), *outputs)


def _tell_who_ended(callers: dict[int, socket.socket]) -> None:
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            with callers.pop(ended[0]) as caller, contextlib.suppress(BrokenPipeError):
                # A caller may not have waited so long.
                caller.send(str(os.waitstatus_to_exitcode(ended[1])).encode())


def _become(call: dict[str, Any], out: int, err: int) -> str:
    """Take on what makes this a process of its own; gives the prelude."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, number in ((nothing, 0), (out, 1), (err, 2)):
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w")
    os.environ.clear()
    os.environ.update(call["environment"])
    os.chdir(call["cwd"])
    sys.argv = call["words"]
    return str(call["prelude"])


def _import_everything() -> None:
    import nimctl

    for module in walk_packages(nimctl.__path__, "nimctl."):
        if not module.name.endswith(("__main__", "llama_server")):
            import_module(module.name)
    for library in _LIBRARIES:
        import_module(library)
    import_module("nimctl.sources.http_pools").trusting_context(None)  # certificates read once
    if threading.active_count() > 1:
        raise AssertionError("a process with threads cannot be forked")


def _run_program() -> None:
    if sys.argv[0] == "nimctl":
        runpy.run_module("nimctl", run_name="__main__", alter_sys=True)
    else:
        sys.path.insert(0, str(Path(sys.argv[0]).parent))
        runpy.run_path(sys.argv[0], run_name="__main__")


def _end_at_once(code: object) -> None:
    """End as Python does, but for taking all modules apart: that copies every page of a fork."""
    if not isinstance(code, int | None):
        print(code, file=sys.stderr)
        code = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    gc.collect()  # what was forgotten open warns
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)


if __name__ == "__main__":
    with socket.socket(fileno=os.dup(0)) as _calls:
        _import_everything()
        gc.freeze()  # a collection in a fork would copy every page
        _prelude = _fork_for_calls(_calls)
    exec(_prelude, {})  # noqa: S102 - a test's own words
    try:
        _run_program()
    except SystemExit as _end:
        _end_at_once(_end.code)
    _end_at_once(None)
