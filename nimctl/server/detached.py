"""Starts this program once more, apart from the terminal, and tells whether it lives."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path


class DetachedProcess:
    """A child in a session of its own, which outlives this process."""

    def __init__(
        self, arguments: Sequence[str], *, log_path: Path, environment: Mapping[str, str]
    ) -> None:
        """Start `nimctl` with `arguments`; all it says goes to `log_path`, which is made.

        Raises:
            OSError: the log cannot be written.
        """
        log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "nimctl", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(environment),
                start_new_session=True,
            )
        finally:
            os.close(log)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def poll(self) -> int | None:
        """Its exit code; None while it lives."""
        return self._process.poll()

    def stop(self) -> int:
        """Ask it to end, as a signal does, and wait until it has."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        return self._process.wait()
