"""The arithmetic of a bench report: what each figure means, on requests made up for it."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nimctl.core.percentiles import percentile, summarize_values
from nimctl.core.report import (
    Arrival,
    BenchLoad,
    BenchReport,
    ClientCheck,
    Failure,
    Sample,
    SampleError,
    Stop,
    full_load_window_s,
    report_from_json,
    report_to_json,
    summarize,
)

VALUES = st.lists(st.floats(min_value=0, max_value=1e9), min_size=1, max_size=200)
CLIENT = ClientCheck(
    verdict="client ok", loop_lag_p99_ms=0.1, send_lag_p99_ms=0.2, cpu_share=0.05, stamps="kernel"
)


def make_sample(
    *,
    sent_s: float = 0.0,
    gaps_s: tuple[float, ...] = (0.1, 0.02, 0.02),
    error: Failure | None = None,
) -> Sample:
    """One token an arrival, the first `gaps_s[0]` after sent."""
    stamps = [sent_s + sum(gaps_s[: i + 1]) for i in range(len(gaps_s))]
    return Sample(
        index=0,
        sent_s=sent_s,
        arrivals=tuple(Arrival(at_s, 1.0) for at_s in stamps),
        end_s=stamps[-1] if stamps else sent_s,
        prompt_tokens=7,
        output_tokens=len(stamps),
        tokens_origin="usage",
        status=200,
        error=None if error is None else SampleError(kind=error, message=f"it was {error}"),
    )


def make_report(samples: list[Sample], concurrency: int = 1) -> BenchReport:
    return summarize(
        samples,
        endpoint="http://localhost:8000",
        model="m",
        load=BenchLoad(concurrency=concurrency, request_count=1),
        started_unix_s=1.0,
        stop=Stop.FINISHED,
        client=CLIENT,
    )


@given(VALUES)
def test_percentiles_are_ordered_and_inside_the_data(values: list[float]) -> None:
    figure = summarize_values(values, "ms")
    assert figure is not None
    ordered = [figure.min, figure.p50, figure.p90, figure.p95, figure.p99, figure.max]
    assert ordered == sorted(ordered)
    assert (figure.min, figure.max) == (min(values), max(values))
    assert figure.min <= figure.avg <= figure.max
    assert figure.count == len(values)


@given(VALUES, st.floats(min_value=0, max_value=100), st.floats(min_value=0, max_value=100))
def test_a_higher_percentile_is_never_lower(values: list[float], one: float, two: float) -> None:
    ordered = sorted(values)
    low, high = sorted((one, two))
    assert percentile(ordered, low) <= percentile(ordered, high)


@given(VALUES)
def test_half_of_the_data_lies_on_each_side_of_the_median(values: list[float]) -> None:
    median = percentile(sorted(values), 50)
    assert sum(value <= median for value in values) * 2 >= len(values)
    assert sum(value >= median for value in values) * 2 >= len(values)


def test_a_percentile_interpolates_between_the_nearest_ranks() -> None:
    assert percentile([10, 20, 30, 40], 50) == 25
    assert percentile([10, 20, 30, 40], 90) == pytest.approx(37)
    assert percentile([10], 99) == 10


def test_nothing_known_is_no_figure() -> None:
    assert summarize_values([None, None], "ms") is None
    assert make_report([]).time_to_first_token is None
    assert make_report([]).request_throughput.avg == 0


def test_a_request_has_the_three_latencies_of_its_definition() -> None:
    sample = make_sample(sent_s=5.0, gaps_s=(0.1, 0.02, 0.02, 0.02))
    assert sample.time_to_first_token_s == pytest.approx(0.1)
    assert sample.request_latency_s == pytest.approx(0.16)
    assert sample.inter_token_latency_s == pytest.approx(0.02)


def test_events_read_together_are_no_zero_gaps() -> None:
    """Twelve tokens, 10 ms each, four to a read: the first read is at 130 ms, the last at 210."""
    arrivals = tuple(Arrival(at_s, 4.0) for at_s in (0.13, 0.17, 0.21))
    sample = Sample(index=0, sent_s=0.0, end_s=0.21, arrivals=arrivals, output_tokens=12)
    assert sample.inter_token_latency_s == pytest.approx(0.01)
    report = make_report([sample])
    assert report.inter_chunk_latency is not None
    assert report.inter_chunk_latency.min == pytest.approx(40)


def test_an_answer_in_one_read_has_no_inter_token_latency() -> None:
    sample = Sample(index=0, sent_s=0.0, end_s=0.1, arrivals=(Arrival(0.1, 9.0),), output_tokens=9)
    assert sample.inter_token_latency_s is None
    assert make_report([sample]).inter_token_latency is None


def test_errors_are_counted_by_kind_and_stay_out_of_every_latency() -> None:
    slow_failures = [make_sample(gaps_s=(9.0,), error=Failure.STREAM) for _ in range(2)]
    report = make_report([make_sample(), *slow_failures, make_sample(error=Failure.TIMEOUT)])
    assert (report.request_count.avg, report.error_request_count.avg) == (1, 3)
    assert report.time_to_first_token is not None
    assert report.time_to_first_token.max == pytest.approx(100)
    assert [(e.kind, e.count) for e in report.errors] == [
        (Failure.STREAM, 2),
        (Failure.TIMEOUT, 1),
    ]
    assert report.errors[0].example == "it was error in stream"


def test_what_the_end_of_the_run_cut_off_is_neither_success_nor_error() -> None:
    report = make_report([make_sample(), make_sample(sent_s=0.1, error=Failure.CUT_OFF)])
    assert (report.request_count.avg, report.error_request_count.avg) == (1, 0)
    assert report.cut_off_count == 1
    assert report.benchmark_duration.avg == pytest.approx(0.14)


def test_throughput_is_over_the_whole_run() -> None:
    report = make_report([make_sample(sent_s=0.0), make_sample(sent_s=0.86)])
    assert report.benchmark_duration.avg == pytest.approx(1.0)
    assert report.request_throughput.avg == pytest.approx(2)
    assert report.output_token_throughput.avg == pytest.approx(6)


def test_full_load_leaves_out_ramp_and_tail() -> None:
    """Two users of a second each, half a second apart: both are busy from 0.5 s to 1.0 s."""
    gaps_s = (0.1,) * 10
    samples = [make_sample(sent_s=0.0, gaps_s=gaps_s), make_sample(sent_s=0.5, gaps_s=gaps_s)]
    first_s, last_s = full_load_window_s(samples, 2) or (math.nan, math.nan)
    assert (first_s, last_s) == pytest.approx((0.5, 1.0))
    figure = make_report(samples, concurrency=2).full_load_output_token_throughput
    assert figure is not None
    assert figure.avg == pytest.approx(20, abs=4)
    assert make_report(samples, concurrency=3).full_load_output_token_throughput is None


def test_token_counts_say_where_they_are_from() -> None:
    by_chunk = Sample(
        index=1, sent_s=0.0, end_s=1.0, output_tokens=1, tokens_origin="chunks",
        arrivals=(Arrival(1.0, 1.0),),
    )  # fmt: skip
    assert make_report([make_sample()]).tokens == "usage"
    assert make_report([by_chunk]).tokens == "chunks"
    assert make_report([make_sample(), by_chunk]).tokens == "mixed"
    assert make_report([make_sample(error=Failure.EMPTY)]).tokens is None


@given(st.lists(st.sampled_from([None, *Failure]), max_size=8))
def test_a_report_survives_its_json(errors: list[Failure | None]) -> None:
    report = make_report([make_sample(sent_s=i, error=e) for i, e in enumerate(errors)])
    document = json.loads(json.dumps(report_to_json(report) | {"start": {"learned": []}}))
    assert report_from_json(document) == report
    assert document["schema"] == "nimctl-bench/1"


def test_figures_stand_under_the_names_aiperf_gives_them() -> None:
    document = report_to_json(make_report([make_sample()]))
    assert document["time_to_first_token"]["unit"] == "ms"
    assert {"avg", "min", "max", "p50", "p90", "p95", "p99"} <= set(document["request_latency"])
    assert document["output_token_throughput"]["unit"] == "tokens/sec"


def test_another_schema_is_refused() -> None:
    with pytest.raises(ValueError, match="nimctl-bench/1"):
        report_from_json({"schema": "nimctl-bench/9"})
    with pytest.raises(ValueError, match="not a bench report"):
        report_from_json({"schema": "nimctl-bench/1", "errors": []})
