"""Prints how far `nimctl bench` reports from what the server really did: reported - truth.

Run `python tests/benchmarks/bench_accuracy.py [USERS ...]`. Truth is what the server noted: when
the kernel received a request, and the moment before it handed each token to the kernel.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "bench"))

from fake_stream_engine import FakeEngine, Script

from nimctl.bench import BenchTarget, run_bench
from nimctl.core.percentiles import summarize_values
from nimctl.core.report import BenchLoad, BenchReport

SCRIPT = Script(ttft_s=0.1, itl_s=0.02, tokens=64)
REQUESTS_PER_USER = 4
COLUMNS = (
    ("users", 5),
    ("start", 9),
    ("TTFT mean ms", 14),
    ("TTFT p99 ms", 14),
    ("ITL mean %", 12),
    ("latency p50 ms", 15),
    ("tok/s %", 9),
    ("full-load tok/s", 16),
    ("ideal", 8),
    ("read lag p99", 13),
    ("send lag p99", 13),
    ("CPU", 6),
    ("verdict", 17),
)


def main() -> None:
    """Measure each number of users, staggered and in waves."""
    users = [int(argument) for argument in sys.argv[1:]] or [1, 16, 64]
    engine = FakeEngine()
    try:
        print("".join(f"{name:>{width}}" for name, width in COLUMNS))
        for count in users:
            for burst in (False, True) if count > 1 else (False,):
                print_row(measure(engine, count, burst))
    finally:
        engine.stop()


def measure(engine: FakeEngine, users: int, burst: bool) -> tuple[str, ...]:
    """One run against the schedule of `SCRIPT`, as the cells of one row."""
    load = BenchLoad(concurrency=users, request_count=users * REQUESTS_PER_USER, burst=burst)
    report = run_bench(BenchTarget(url=engine.url, model=str(SCRIPT)), load)
    truth = engine.take_truth()[users:]
    first_ms = summarize_values(((t["first_s"] - t["came_s"]) * 1e3 for t in truth), "ms")
    gap_ms = summarize_values(
        ((t["last_s"] - t["first_s"]) * 1e3 / (SCRIPT.tokens - 1) for t in truth), "ms"
    )
    latency_ms = summarize_values(((t["last_s"] - t["came_s"]) * 1e3 for t in truth), "ms")
    window_s = max(t["last_s"] for t in truth) - min(t["came_s"] for t in truth)
    tokens_per_s = len(truth) * SCRIPT.tokens / window_s
    return (
        str(users),
        "burst" if burst else "staggered",
        f"{report.time_to_first_token.avg - first_ms.avg:+.2f}",
        f"{report.time_to_first_token.p99 - first_ms.p99:+.2f}",
        f"{(report.inter_token_latency.avg / gap_ms.avg - 1) * 100:+.2f}",
        f"{report.request_latency.p50 - latency_ms.p50:+.2f}",
        f"{(report.output_token_throughput.avg / tokens_per_s - 1) * 100:+.2f}",
        *client_cells(report, users),
    )


def client_cells(report: BenchReport, users: int) -> tuple[str, ...]:
    """What the client says of the load it reached and of itself."""
    ideal = users * SCRIPT.tokens / (SCRIPT.ttft_s + (SCRIPT.tokens - 1) * SCRIPT.itl_s)
    reached = report.full_load_output_token_throughput
    return (
        "-" if reached is None else f"{reached.avg:.0f}",
        f"{ideal:.0f}",
        f"{report.client.loop_lag_p99_ms:.2f}",
        f"{report.client.send_lag_p99_ms:.2f}",
        f"{report.client.cpu_share:.0%}",
        report.client.verdict,
    )


def print_row(cells: tuple[str, ...]) -> None:
    """One line of the table."""
    print("".join(f"{cell:>{width}}" for cell, (_, width) in zip(cells, COLUMNS, strict=True)))


if __name__ == "__main__":
    main()
