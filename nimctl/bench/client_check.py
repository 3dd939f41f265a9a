"""Whether the client kept up with the server, or shaped the figures itself."""

from collections.abc import Iterable, Sequence

from nimctl.core.percentiles import percentile
from nimctl.core.report import ClientCheck, Sample, Stamps

SATURATED_CPU_SHARE = 0.9
TOLERATED_LAG_SHARE = 0.05
TOLERATED_LAG_S = 0.002


def check_client(
    samples: Sequence[Sample], *, read_lags_s: Sequence[float], cpu_share: float, stamps: Stamps
) -> ClientCheck:
    """Judge the client of a run.

    It counts as saturated if it used nearly a whole core (it has one thread) or if its sends
    lagged (p99) by more than a twentieth of the median latency; where the kernel does not stamp
    what comes, also if its reads lagged by more than a twentieth of the median time to first
    token. 2 ms are always tolerated.

    Args:
        read_lags_s: Of every read, from the arrival of its bytes to the reading.
        cpu_share: CPU time of the client's thread by time passed.
    """
    read_lag_s = _p99(read_lags_s)
    send_lag_s = _p99(
        s.sent_s - s.intended_s - s.connect_s for s in samples if s.intended_s is not None
    )
    reasons = []
    if cpu_share > SATURATED_CPU_SHARE:
        reasons.append(f"the client used {cpu_share:.0%} of a core")
    tolerated_s = _tolerated_lag_s(s.time_to_first_token_s for s in samples)
    if stamps == "client" and read_lag_s > tolerated_s:
        reasons.append(_lag_reason("read answers", read_lag_s, tolerated_s))
    tolerated_s = _tolerated_lag_s(s.request_latency_s for s in samples)
    if send_lag_s > tolerated_s:
        reasons.append(_lag_reason("sent requests", send_lag_s, tolerated_s))
    return ClientCheck(
        verdict="client saturated" if reasons else "client ok",
        loop_lag_p99_ms=read_lag_s * 1000,
        send_lag_p99_ms=send_lag_s * 1000,
        cpu_share=cpu_share,
        stamps=stamps,
        reasons=tuple(reasons),
    )


def _p99(values: Iterable[float]) -> float:
    ordered = sorted(values)
    return percentile(ordered, 99) if ordered else 0.0


def _tolerated_lag_s(latencies_s: Iterable[float | None]) -> float:
    ordered = sorted(latency for latency in latencies_s if latency is not None)
    typical_s = percentile(ordered, 50) if ordered else 0.0
    return max(TOLERATED_LAG_S, TOLERATED_LAG_SHARE * typical_s)


def _lag_reason(what: str, lag_s: float, tolerated_s: float) -> str:
    return f"the client {what} {lag_s * 1e3:.1f} ms late (p99; tolerated {tolerated_s * 1e3:.1f})"
