"""Turns the first Ctrl-C into a flag, so that a run ends between two steps and not inside one."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def first_interrupt() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets, or another signal that is passed on to whoever handles
    that; the second one interrupts as ever.

    An exception out of nowhere would be lost inside the HTTP parser, which is C and reports what
    happens in its callbacks as bad HTTP. Outside the main thread, or where somebody else handles
    the signal, nothing changes and the event is never set.
    """
    interrupted = threading.Event()
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT)
    if not is_main or before not in (signal.default_int_handler, signal.SIG_IGN):
        yield interrupted
        return

    def on_first(number: int, _frame: FrameType | None) -> None:
        # Scripts start what runs in the background with Ctrl-C ignored: that holds for Ctrl-C only.
        if number != signal.SIGINT or before is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, before)
            interrupted.set()

    signal.signal(signal.SIGINT, on_first)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)
