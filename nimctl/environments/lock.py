"""One installation at a time in a folder of engines; another one is waited for."""

import fcntl
import os
import time
from collections.abc import Callable
from errno import EAGAIN, EWOULDBLOCK
from pathlib import Path
from types import TracebackType

_POLL_S = 0.2


class InstallLock:
    """A lock for as long as a `with` lasts.

    A child that inherits the descriptor keeps it locked after we were killed, so that nobody
    removes the folder it still writes into.
    """

    def __init__(self, path: Path, tell: Callable[[str], None]) -> None:
        """Prepare a lock on `path`; `tell` hears when another holder is waited for."""
        self._path = path
        self._tell = tell
        self.descriptor = -1

    def __enter__(self) -> "InstallLock":
        self.descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        told = False
        while not self._try():
            if not told:
                self._tell("another nimctl is installing an engine here; waiting for it")
                told = True
            time.sleep(_POLL_S)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self.descriptor)

    def _try(self) -> bool:
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (EAGAIN, EWOULDBLOCK):
                return False
            raise
        return True
