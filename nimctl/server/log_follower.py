"""Reads what an engine prints while it prints it, over the rotation of its log."""

import os
import re
from pathlib import Path

_LINE_END = re.compile(rb"[\r\n]")
_MOST_BYTES = 4 * 1024 * 1024
"""Read at once; what is more of it waits for the next look."""


class LogFollower:
    """The lines that come to a log from now on; a progress bar's every state is a line."""

    def __init__(self, path: Path) -> None:
        """Follow `path`, which may not be there yet."""
        self._path = path
        self._rest = b""
        self._inode, self._read_to = 0, 0
        facts = self._stat(path)
        if facts is not None:
            self._inode, self._read_to = facts.st_ino, facts.st_size

    def read_lines(self) -> list[str]:
        """The whole lines that were printed since the last call."""
        facts = self._stat(self._path)
        if facts is None:  # it is being set aside
            return []
        if facts.st_ino != self._inode:
            older = self._path.with_name(f"{self._path.name}.1")
            aside = self._stat(older)
            if aside is not None and aside.st_ino == self._inode:
                self._rest += self._read(older)
            self._inode, self._read_to = facts.st_ino, 0
        elif facts.st_size < self._read_to:  # begun anew, as the disk is full
            self._read_to = 0
        *lines, self._rest = _LINE_END.split(self._rest + self._read(self._path))
        return [line.decode("utf-8", "replace") for line in lines if line.strip()]

    def _read(self, path: Path) -> bytes:
        try:
            with path.open("rb") as log:
                log.seek(self._read_to)
                data = log.read(_MOST_BYTES)
        except OSError:
            return b""
        self._read_to += len(data)
        return data

    @staticmethod
    def _stat(path: Path) -> os.stat_result | None:
        try:
            return path.stat()
        except OSError:
            return None
