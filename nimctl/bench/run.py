"""Runs one load test, from the first connection to the report."""

import random
import time
from dataclasses import dataclass, field, replace
from functools import partial
from threading import Event

from nimctl.bench.check import check_endpoint
from nimctl.bench.client_check import check_client
from nimctl.bench.drive import Driver, Phase, Progress
from nimctl.bench.interrupt import first_interrupt
from nimctl.bench.load import check_load, start_offsets_s
from nimctl.bench.prompts import make_request
from nimctl.bench.target import BenchTarget, Endpoint, find_endpoint
from nimctl.core.percentiles import percentile
from nimctl.core.report import BenchLoad, BenchReport, Sample, Stop, summarize


@dataclass(slots=True)
class _Notes:
    """What is noted beside the requests."""

    connect_s: tuple[float, ...] = ()
    has_kernel_stamps: bool = False
    has_begun: bool = False
    began_unix_s: float = field(default_factory=time.time)
    began_s: float = 0.0
    began_cpu_s: float = 0.0
    cpu_share: float = 0.0

    def begin(self) -> None:
        """Start the clock: the warm-up is over."""
        self.has_begun = True
        self.began_unix_s = time.time()
        self.began_s = time.monotonic()
        self.began_cpu_s = time.thread_time()

    def end(self) -> None:
        """Stop the clock."""
        if self.has_begun:
            passed_s = time.monotonic() - self.began_s
            self.cpu_share = (time.thread_time() - self.began_cpu_s) / passed_s


def run_bench(
    target: BenchTarget,
    load: BenchLoad,
    on_progress: Progress | None = None,
    stop: Event | None = None,
) -> BenchReport:
    """Put `load` on `target` and report what was measured.

    Ctrl-C (in the main thread) or setting `stop` ends the run early: the report then covers the
    requests that were over by then, and its `stop` says so. A second Ctrl-C is not caught.

    Args:
        on_progress: Called about ten times a second with requests over, requests to do (None:
            unknown) and errors so far, warm-up not counted. The loop waits for it.

    Raises:
        InputError: the target or the load cannot be used.
        EngineError: nobody listens, or the server cannot say what it serves.
    """
    check_load(load)
    seed = _pick_seed() if load.seed is None else load.seed
    load = replace(load, seed=seed)
    model = target.model or check_endpoint(target)
    endpoint = find_endpoint(target)
    notes = _Notes()
    with first_interrupt() as interrupted:
        driver = Driver(
            endpoint=endpoint,
            users=load.concurrency,
            make_request=partial(
                make_request,
                origin=endpoint.origin,
                load=load,
                model=model,
                api_key=target.api_key,
                seed=seed,
            ),
            request_timeout_s=load.request_timeout_s,
            deadline_s=time.monotonic() + load.time_limit_s,
            is_stopped=lambda: interrupted.is_set() or (stop is not None and stop.is_set()),
        )
        try:
            _drive(driver, load, notes, on_progress)
        finally:
            notes.end()
            driver.close()
    return _summarize(driver, notes, endpoint, model, load)


def _summarize(
    driver: Driver, notes: _Notes, endpoint: Endpoint, model: str, load: BenchLoad
) -> BenchReport:
    samples = driver.samples if notes.has_begun else []
    return summarize(
        samples,
        endpoint=endpoint.origin.url,
        model=model,
        load=load,
        started_unix_s=notes.began_unix_s,
        stop=_stop(driver),
        connect_s=notes.connect_s,
        client=check_client(
            samples,
            read_lags_s=driver.read_lags_s,
            cpu_share=notes.cpu_share,
            stamps="kernel" if notes.has_kernel_stamps else "client",
        ),
    )


def _pick_seed() -> int:
    """A new seed for every run: a repeated prompt would be found in the server's prefix cache."""
    return random.SystemRandom().randrange(2**31)


def _drive(driver: Driver, load: BenchLoad, notes: _Notes, on_progress: Progress | None) -> None:
    notes.connect_s = driver.connect()
    notes.has_kernel_stamps = driver.has_kernel_stamps
    warmup_count = load.concurrency if load.warmup_count is None else load.warmup_count
    if warmup_count:
        users = min(warmup_count, load.concurrency)
        driver.run(
            Phase(request_count=warmup_count, duration_s=None, start_offsets_s=(0.0,) * users)
        )
    if driver.was_stopped or driver.ran_out:
        return
    offsets_s = start_offsets_s(load, _typical_latency_s(driver.samples))
    notes.begin()
    driver.run(
        Phase(
            request_count=load.request_count,
            duration_s=load.duration_s,
            start_offsets_s=offsets_s,
            on_progress=on_progress,
        )
    )


def _typical_latency_s(samples: list[Sample]) -> float | None:
    latencies_s = sorted(s.end_s - s.sent_s for s in samples if s.error is None)
    return percentile(latencies_s, 50) if latencies_s else None


def _stop(driver: Driver) -> Stop:
    if driver.was_stopped:
        return Stop.INTERRUPTED
    return Stop.TIME_LIMIT if driver.ran_out else Stop.FINISHED
