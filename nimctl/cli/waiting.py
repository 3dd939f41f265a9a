"""Watches another process while this one waits for what it brings."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

from nimctl.cache import FetchRequest, OnProgress, Progress, Waiting
from nimctl.cache.layout import Layout
from nimctl.cache.others import OtherFetch, OtherWatch

LOOK_EVERY_S = 1.0


@contextmanager
def watch_other(
    layout: Layout,
    request: FetchRequest,
    tell: OnProgress,
    tell_other: Callable[[OtherFetch], None],
) -> Iterator[OnProgress]:
    """Takes events for `tell`; while the last one was `Waiting`, `tell_other` hears every second
    how far the other process is, in a thread of its own.
    """
    waiting, ended = Event(), Event()
    watch = OtherWatch(layout, request)

    def look() -> None:
        while not ended.wait(LOOK_EVERY_S):
            if waiting.is_set():
                other = watch.look()
                if other is not None and waiting.is_set():
                    tell_other(other)

    watcher: Thread | None = None

    def take(event: Progress) -> None:
        nonlocal watcher
        if isinstance(event, Waiting) and watcher is None:
            watcher = Thread(target=look, daemon=True)
            watcher.start()
        (waiting.set if isinstance(event, Waiting) else waiting.clear)()
        tell(event)

    try:
        yield take
    finally:
        ended.set()
        if watcher is not None:
            watcher.join()
