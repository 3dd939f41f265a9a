"""Runs several jobs at once and hands all they tell to the one thread that waits for them."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import TypeVar

from nimctl.cache.progress import OnProgress, Progress

T = TypeVar("T")
LEAVE_S = 1.0
"""How long the workers get to notice the end; after that they die with the process."""


def run_all(
    jobs: Sequence[Callable[[OnProgress], T]],
    *,
    threads: int,
    assistants: Sequence[Callable[[OnProgress], None]],
    on_end: Callable[[], None],
    on_progress: OnProgress,
) -> tuple[T, ...]:
    """The results of `jobs`, in order.

    Args:
        threads: How many jobs run at once.
        assistants: What runs beside them, each in a thread of its own, until the end.
        on_end: Tells jobs and assistants to end; called when this returns or raises.

    Raises:
        BaseException: the first failure of a job; the others are told to stop.
    """
    futures: list[Future[T]] = [Future() for _ in jobs]
    waiting: SimpleQueue[tuple[Callable[[OnProgress], T], Future[T]]] = SimpleQueue()
    ended = Event()
    told: SimpleQueue[Progress | Future[T]] = SimpleQueue()
    for pair in zip(jobs, futures, strict=True):
        waiting.put(pair)

    def work() -> None:
        while not ended.is_set():
            try:
                job, future = waiting.get_nowait()
            except Empty:
                return
            try:
                future.set_result(job(told.put))
            except BaseException as error:  # noqa: BLE001 - raised again in the waiting thread
                future.set_exception(error)
            told.put(future)

    workers = [Thread(target=work, daemon=True) for _ in range(min(threads, len(jobs)))]
    workers += [Thread(target=one, args=(told.put,), daemon=True) for one in assistants]
    try:
        for worker in workers:
            worker.start()
        unfinished = len(jobs)
        while unfinished:
            news = told.get()
            if isinstance(news, Future):
                news.result()
                unfinished -= 1
            else:
                on_progress(news)
    finally:
        ended.set()
        on_end()
        end_s = time.monotonic() + LEAVE_S
        for worker in workers:
            if worker.is_alive():  # Ctrl-C may come before all have begun
                worker.join(max(0.0, end_s - time.monotonic()))
    return tuple(future.result() for future in futures)
