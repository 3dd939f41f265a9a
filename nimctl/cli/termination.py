"""SIGTERM, as systemd, `docker stop` and CI systems send it, ends a command as Ctrl-C does."""

import signal
from types import FrameType

from nimctl.errors import InterruptedByUserError, NimctlError, TerminatedError


class Termination:
    """Hears SIGTERM from its making on, unless whoever started this process wants it ignored.

    What Ctrl-C does happens then; how it ended is told apart by the exit code. A container's first
    process would not end at all of a signal that it has no handler for. While a server serves, it
    has handlers of its own.
    """

    def __init__(self) -> None:
        self._came = False
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, self._interrupt)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self._came = True
        on_interrupt = signal.getsignal(signal.SIGINT)
        # A shell lets what it starts in the background ignore Ctrl-C; this is meant for it alone.
        if not callable(on_interrupt):
            on_interrupt = signal.default_int_handler
        on_interrupt(number, frame)

    def explain(self, error: NimctlError) -> NimctlError:
        """The failure that ended the command, as SIGTERM's where it was that."""
        if self._came and isinstance(error, InterruptedByUserError):
            return TerminatedError(error.message, hint=error.hint)
        return error

    def choose_exit_code(self, exit_code: str | int | None) -> str | int | None:
        """The same for a command that ended without a word."""
        was_interrupted = self._came and exit_code == InterruptedByUserError.exit_code
        return TerminatedError.exit_code if was_interrupted else exit_code
