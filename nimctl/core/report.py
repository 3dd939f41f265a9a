"""What a load test asked, what each request measured, and the one report made of them.

Figures have AIPerf's names and formulas (release 0.13), so that two files can be laid side by side;
where a definition is narrower here, its docstring says so.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Any, Literal, NamedTuple

from nimctl.core.percentiles import Percentiles, summarize_values

SCHEMA = "nimctl-bench/1"
TokensOrigin = Literal["usage", "chunks"]
Stamps = Literal["kernel", "client"]


class Stop(StrEnum):
    """Why no more requests were sent."""

    FINISHED = "finished"
    INTERRUPTED = "interrupted"
    TIME_LIMIT = "time limit"


class Failure(StrEnum):
    """Why a request is no success; `CUT_OFF` is the client's own doing and counts as no error."""

    REFUSED = "refused"
    RESET = "reset"
    CLOSED = "closed early"
    TIMEOUT = "timeout"
    HTTP = "http status"
    CONTENT_TYPE = "content type"
    PROTOCOL = "protocol"
    STREAM = "error in stream"
    UNFINISHED = "no finish reason"
    EMPTY = "empty answer"
    CUT_OFF = "cut off"


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchLoad:
    """The load to put on an endpoint.

    Attributes:
        concurrency: Requests in flight at any time; each waits for its answer (a closed loop).
        request_count: Requests to measure; None sends until `duration_s` is over.
        duration_s: No request starts later than this; those in flight are waited for.
        warmup_count: Requests before the clock starts, not counted; None is one for each user.
        burst: All users start at once instead of one after the other.
        input_tokens: Words of each prompt, about one token a word.
        shared_prefix_tokens: How many of them begin every prompt alike; 0 defeats prefix caches.
        output_tokens: `max_tokens` of each request.
        ignore_eos: Ask the engine to go on to `output_tokens`; not every server knows the field.
        seed: The same seed gives the same prompts; None picks one, and the report names it.
        request_timeout_s: From the start of a request to the end of its answer.
        time_limit_s: For everything, warm-up and waiting for the last answer included.
    """

    api: Literal["chat", "completions"] = "chat"
    concurrency: int = 1
    request_count: int | None = None
    duration_s: float | None = None
    warmup_count: int | None = None
    burst: bool = False
    input_tokens: int = 128
    shared_prefix_tokens: int = 0
    output_tokens: int = 128
    ignore_eos: bool = False
    temperature: float | None = None
    seed: int | None = None
    request_timeout_s: float = 300.0
    time_limit_s: float = 1800.0


class Arrival(NamedTuple):
    """Tokens that came in one read of the socket, at `at_s` in monotonic seconds.

    `tokens` is a fraction where the server gives only the total of its answer.
    """

    at_s: float
    tokens: float


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleError:
    """Why one request failed, in a kind and a sentence."""

    kind: Failure
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One request as it was measured; all times are monotonic seconds.

    Attributes:
        intended_s: When a user was free to send it; None where nobody waited.
        connect_s: What opening a connection for this request took; 0 on one already open.
        sent_s: Before the first byte was handed to the kernel, after connecting.
        first_byte_s: First byte of the answer, be it only a header.
        arrivals: Content, reasoning and tool call tokens as they came: several events in one read
            are one arrival, never gaps of zero.
        end_s: End of the answer, or of the attempt.
        prompt_tokens: What the server says the prompt was; None where it does not say.
        output_tokens: The server's `usage`, else one for each of its `chunks` with content.
    """

    index: int
    intended_s: float | None = None
    connect_s: float = 0.0
    sent_s: float
    first_byte_s: float | None = None
    arrivals: tuple[Arrival, ...] = ()
    end_s: float
    prompt_tokens: int | None = None
    output_tokens: int = 0
    tokens_origin: TokensOrigin | None = None
    status: int | None = None
    error: SampleError | None = None

    @property
    def time_to_first_token_s(self) -> float | None:
        """From sent to the first token: AIPerf's `time_to_first_token` without connecting."""
        return self.arrivals[0].at_s - self.sent_s if self.arrivals else None

    @property
    def request_latency_s(self) -> float | None:
        """From sent to the last token (not to the usage report or `[DONE]` after it), as AIPerf."""
        return self.arrivals[-1].at_s - self.sent_s if self.arrivals else None

    @property
    def inter_token_latency_s(self) -> float | None:
        """(request latency - time to first token) / (output tokens - tokens of the first arrival).

        AIPerf's `inter_token_latency`, which takes off the tokens of the first *event*. The first
        read is the same where events come singly, and right where several come together: none of
        its tokens took any of the time after it. None if nothing came after the first arrival.
        """
        if len(self.arrivals) < 2 or self.output_tokens <= self.arrivals[0].tokens:
            return None
        duration_s = self.arrivals[-1].at_s - self.arrivals[0].at_s
        return duration_s / (self.output_tokens - self.arrivals[0].tokens)


@dataclass(frozen=True, kw_only=True, slots=True)
class Scalar:
    """One figure of the whole run; `avg` because AIPerf's files call it so."""

    unit: str
    avg: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ErrorCount:
    """How often requests failed in one way, with the first message as the example."""

    kind: Failure
    status: int | None
    count: int
    example: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ClientCheck:
    """Whether the client itself could have been the bottleneck.

    Attributes:
        loop_lag_p99_ms: From bytes' arrival to their reading; without kernel stamps, at most.
        send_lag_p99_ms: From a user being free to its next request leaving, without connecting.
        cpu_share: CPU time of the client by time passed; 1.0 is one core.
        stamps: Who wrote down when bytes came: the `kernel`, or the `client` after reading.
        reasons: Why it counts as saturated, one sentence each.
    """

    verdict: Literal["client ok", "client saturated"]
    loop_lag_p99_ms: float
    send_lag_p99_ms: float
    cpu_share: float
    stamps: Stamps
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchReport:
    """What a load test found; latencies cover the requests that succeeded, and only those.

    Attributes:
        started_unix_s: When the first counted request could start, seconds since 1970.
        tokens: Where output tokens were counted: `usage` (the server's own figure), `chunks`
            (events with content, too few where one carries several), `mixed`; None without any.
        cut_off_count: Requests in flight when the run was stopped; in no other figure.
        benchmark_duration: First request sent to last answer ended, failures included.
        output_token_throughput: Tokens of successful requests / benchmark duration.
        full_load_output_token_throughput: The same between the first and the last moment with
            `concurrency` requests in flight, so without ramp and tail; None if that never was.
        output_token_throughput_per_user: 1 / inter-token latency, by request.
        inter_chunk_latency: Time between reads that brought tokens, over all requests.
    """

    endpoint: str
    model: str
    load: BenchLoad
    started_unix_s: float
    stop: Stop
    tokens: Literal["usage", "chunks", "mixed"] | None
    client: ClientCheck
    errors: tuple[ErrorCount, ...]
    cut_off_count: int
    request_count: Scalar
    error_request_count: Scalar
    benchmark_duration: Scalar
    request_throughput: Scalar
    output_token_throughput: Scalar
    full_load_output_token_throughput: Scalar | None
    time_to_first_token: Percentiles | None
    inter_token_latency: Percentiles | None
    inter_chunk_latency: Percentiles | None
    request_latency: Percentiles | None
    output_token_throughput_per_user: Percentiles | None
    input_sequence_length: Percentiles | None
    output_sequence_length: Percentiles | None
    connect_time: Percentiles | None

    @property
    def is_interrupted(self) -> bool:
        """Whether the run ended before its time."""
        return self.stop is Stop.INTERRUPTED


def summarize(
    samples: Sequence[Sample],
    *,
    endpoint: str,
    model: str,
    load: BenchLoad,
    started_unix_s: float,
    stop: Stop,
    client: ClientCheck,
    connect_s: Sequence[float] = (),
) -> BenchReport:
    """The report of a run from its counted requests, in any order."""
    good = [s for s in samples if s.error is None]
    failed = [s for s in samples if s.error is not None and s.error.kind is not Failure.CUT_OFF]
    over = good + failed
    duration_s = max(s.end_s for s in over) - min(s.sent_s for s in over) if over else 0.0
    latencies = [s.inter_token_latency_s for s in good]
    return BenchReport(
        endpoint=endpoint,
        model=model,
        load=load,
        started_unix_s=started_unix_s,
        stop=stop,
        tokens=_tokens_origin(good),
        client=client,
        errors=_count_errors(failed),
        cut_off_count=len(samples) - len(over),
        request_count=Scalar(unit="requests", avg=len(good)),
        error_request_count=Scalar(unit="requests", avg=len(failed)),
        benchmark_duration=Scalar(unit="sec", avg=duration_s),
        request_throughput=_rate(len(good), duration_s, "requests/sec"),
        output_token_throughput=_rate(sum(s.output_tokens for s in good), duration_s, "tokens/sec"),
        full_load_output_token_throughput=_full_load_throughput(samples, load.concurrency),
        time_to_first_token=_in_ms(s.time_to_first_token_s for s in good),
        inter_token_latency=_in_ms(latencies),
        inter_chunk_latency=_in_ms(
            later.at_s - earlier.at_s for s in good for earlier, later in pairwise(s.arrivals)
        ),
        request_latency=_in_ms(s.request_latency_s for s in good),
        output_token_throughput_per_user=summarize_values(
            (1 / latency for latency in latencies if latency), "tokens/sec/user"
        ),
        input_sequence_length=summarize_values((s.prompt_tokens for s in good), "tokens"),
        output_sequence_length=summarize_values((s.output_tokens for s in good), "tokens"),
        connect_time=_in_ms(connect_s),
    )


def _in_ms(values_s: Iterable[float | None]) -> Percentiles | None:
    return summarize_values((v if v is None else v * 1000 for v in values_s), "ms")


def _rate(amount: float, duration_s: float, unit: str) -> Scalar:
    return Scalar(unit=unit, avg=amount / duration_s if duration_s > 0 else 0.0)


def _tokens_origin(good: Sequence[Sample]) -> Literal["usage", "chunks", "mixed"] | None:
    origins = {s.tokens_origin for s in good if s.tokens_origin is not None}
    if len(origins) > 1:
        return "mixed"
    return origins.pop() if origins else None


def _count_errors(failed: Sequence[Sample]) -> tuple[ErrorCount, ...]:
    messages: dict[tuple[Failure, int | None], list[str]] = {}
    for sample in failed:
        if sample.error is not None:
            key = (sample.error.kind, sample.status)
            messages.setdefault(key, []).append(sample.error.message)
    return tuple(
        ErrorCount(kind=kind, status=status, count=len(texts), example=texts[0])
        for (kind, status), texts in sorted(messages.items(), key=lambda item: -len(item[1]))
    )


def full_load_window_s(samples: Sequence[Sample], concurrency: int) -> tuple[float, float] | None:
    """First and last moment with `concurrency` requests in flight; None if there is none."""
    steps = sorted([(s.sent_s, 1) for s in samples] + [(s.end_s, -1) for s in samples])
    in_flight, first_s, last_s = 0, None, None
    for at_s, step in steps:
        if step < 0 and in_flight == concurrency:
            last_s = at_s
        in_flight += step
        if in_flight == concurrency and first_s is None:
            first_s = at_s
    return None if first_s is None or last_s is None or first_s == last_s else (first_s, last_s)


def _full_load_throughput(samples: Sequence[Sample], concurrency: int) -> Scalar | None:
    window_s = full_load_window_s(samples, concurrency)
    if window_s is None:
        return None
    tokens = sum(
        arrival.tokens
        for sample in samples
        if sample.error is None or sample.error.kind is Failure.CUT_OFF
        for arrival in sample.arrivals
        if window_s[0] < arrival.at_s <= window_s[1]
    )
    return _rate(tokens, window_s[1] - window_s[0], "tokens/sec")


def report_to_json(report: BenchReport) -> dict[str, Any]:
    """A plain dictionary, figures at the top under AIPerf's names, that reads back equal."""
    return {"schema": SCHEMA, **asdict(report)}


def report_from_json(document: Mapping[str, Any]) -> BenchReport:
    """Read what `report_to_json` wrote; what `bench` adds of the server's start is left out.

    Raises:
        ValueError: another schema, a missing key, or an unknown key; the message names it.
    """
    if document.get("schema") != SCHEMA:
        raise ValueError(f"schema is {document.get('schema')!r}, expected {SCHEMA!r}")
    try:
        fields = {key: document[key] for key in document.keys() - {"schema", "start"}}
        for name, value in fields.items():
            if isinstance(value, dict) and "unit" in value:
                fields[name] = Percentiles(**value) if "p50" in value else Scalar(**value)
        fields["load"] = BenchLoad(**fields["load"])
        client = fields["client"]
        fields["client"] = ClientCheck(**{**client, "reasons": tuple(client["reasons"])})
        fields["errors"] = tuple(
            ErrorCount(**{**error, "kind": Failure(error["kind"])}) for error in fields["errors"]
        )
        return BenchReport(**{**fields, "stop": Stop(fields["stop"])})
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"not a bench report: {error}") from error
