"""What `bench` measures, how it shows the report, and what it keeps of it."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import typer

from nimctl import __version__
from nimctl.bench import BenchTarget, run_bench
from nimctl.cli.choosing import Choice, choose
from nimctl.cli.facts import find_model, make_wish, open_catalog, read_machine
from nimctl.cli.known_speeds import open_evidence
from nimctl.cli.launching import read_options
from nimctl.cli.start_changes import StartChanges
from nimctl.cli.terminal import bold, is_terminal, print_line, print_note, print_warning
from nimctl.core.hardware import Hardware
from nimctl.core.names import GOALS
from nimctl.core.percentiles import Percentiles
from nimctl.core.report import BenchLoad, BenchReport, Scalar, Stop, report_to_json
from nimctl.core.speed import speaks_for
from nimctl.core.units import format_duration
from nimctl.errors import EngineError, InputError, InterruptedByUserError
from nimctl.server import ChildFailedError, served_by_child
from nimctl.settings import Settings


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What is measured: a server, and what it runs where we chose that ourselves.

    Attributes:
        choice: None for a server that somebody else started.
        hardware: The machine that the choice was made for.
        start: What the start of the choice changed of it.
    """

    target: BenchTarget
    choice: Choice | None = None
    hardware: Hardware | None = None
    start: StartChanges = field(default_factory=StartChanges)


@contextlib.contextmanager
def open_target(
    settings: Settings,
    model: str | None,
    url: str | None,
    model_name: str | None,
    wish: Mapping[str, str | None],
) -> Iterator[Measured]:
    """The server at `url`, or `model` served by a child process until the end.

    Raises:
        InputError: both or neither was named.
        NothingFitsError: no profile of the model can run here as asked.
        typer.Exit: the child could not serve; it has told why.
    """
    if url is not None:
        if model is not None:
            raise InputError("MODEL and --url cannot be measured at once", hint="give one of them")
        target = BenchTarget(url=url, model=model_name, api_key=settings.api_key.reveal())
        yield Measured(target=target)
        return
    name = model or settings.model
    if name is None:
        raise InputError("nothing to measure", hint="name a MODEL, or give --url")
    if settings.engine_url is not None:
        raise InputError(
            f"{name} would not be measured: engine_url is set by {settings.origins['engine_url']}",
            hint="measure what runs there with --url",
        )
    # Chosen here and told to the child, so that what is kept is what ran.
    machine = read_machine(settings, None)
    manifest = find_model(open_catalog(settings), settings, name)
    choice = choose(manifest, machine, settings, make_wish(settings, None))
    told = {**wish, "profile": choice.verdict.profile.id}
    options = [part for key, value in told.items() if value for part in (f"--{key}", value)]
    start = StartChanges()
    try:
        with served_by_child(
            (name, "--port", "0", *options), settings.environment, start.take
        ) as child_url:
            yield Measured(
                target=BenchTarget(url=child_url, api_key=settings.api_key.reveal()),
                choice=choice,
                hardware=machine.hardware,
                start=start,
            )
    except ChildFailedError as error:
        raise typer.Exit(error.exit_code) from error


def measure(target: BenchTarget, load: BenchLoad) -> BenchReport:
    """Run the load, telling how far it is."""
    told = 0

    def tell(done: int, total: int | None, errors: int) -> None:
        nonlocal told
        tenth = done * 10 // total if total else 0
        if is_terminal() or tenth > told:
            told = tenth
            failed = f", {errors} failed" if errors else ""
            text = f"{done} of {total} requests{failed}" if total else f"{done} requests{failed}"
            typer.echo(f"\r{text}" if is_terminal() else text, err=True, nl=not is_terminal())

    report = run_bench(target, load, on_progress=tell)
    if is_terminal():
        typer.echo("\r\x1b[K", err=True, nl=False)
    return report


_LATENCIES = (
    ("time to first token", "time_to_first_token"),
    ("inter-token latency", "inter_token_latency"),
    ("request latency", "request_latency"),
    ("tokens/s per user", "output_token_throughput_per_user"),
    ("prompt tokens", "input_sequence_length"),
    ("answer tokens", "output_sequence_length"),
)
_COLUMNS = ("avg", "p50", "p90", "p95", "p99", "max")


def report_document(measured: Measured, report: BenchReport) -> dict[str, Any]:
    """The report as JSON, with what the start of our own choice changed."""
    own = {} if measured.choice is None else {"start": measured.start.document()}
    return report_to_json(report) | own


def print_report(measured: Measured, report: BenchReport) -> None:
    """The report as a table."""
    load = report.load
    print_line(
        f"{bold(report.model)} at {report.endpoint}: {load.concurrency} at once, "
        f"{load.input_tokens} tokens in, {load.output_tokens} out, seed {load.seed}"
    )
    print_line()
    print_line(f"{'':<22}" + "".join(f"{column:>10}" for column in _COLUMNS) + "  unit")
    for label, name in _LATENCIES:
        figure: Percentiles | None = getattr(report, name)
        if figure is not None:
            cells = "".join(f"{getattr(figure, column):>10.1f}" for column in _COLUMNS)
            print_line(f"{label:<22}{cells}  {figure.unit}")
    print_line()
    _print_totals(report)
    measured.start.print()


def _print_totals(report: BenchReport) -> None:
    full_load = report.full_load_output_token_throughput
    rows: list[tuple[str, Scalar | None]] = [
        ("output throughput", report.output_token_throughput),
        ("  at full load", full_load),
        ("request throughput", report.request_throughput),
        ("requests", report.request_count),
        ("failed", report.error_request_count),
    ]
    for label, scalar in rows:
        if scalar is not None:
            digits = 0 if scalar.unit == "requests" else 2
            print_line(f"{label:<22}{scalar.avg:>10.{digits}f}  {scalar.unit}")
    print_line(f"{'duration':<22}{format_duration(report.benchmark_duration.avg):>10}")
    print_line(f"{'tokens counted by':<22}{report.tokens or 'nobody':>10}")
    for error in report.errors:
        status = f" {error.status}" if error.status else ""
        print_warning(f"{error.count} x {error.kind.value}{status}, e.g. {error.example}")
    if report.client.verdict != "client ok":
        print_warning(
            f"the client itself was the bottleneck ({'; '.join(report.client.reasons)}); "
            "the figures are too low"
        )
    if report.stop.value != "finished":
        print_warning(f"stopped early ({report.stop.value}): the figures cover what was over")


def keep_report(measured: Measured, report: BenchReport) -> None:
    """Keep what is evidence of a profile's speed here, and say what it will count for."""
    choice, hardware = measured.choice, measured.hardware
    if choice is None or hardware is None:
        return
    from nimctl.evidence.measured import find_unfit, make_subject, record_report

    unfit = find_unfit(report)
    if choice.settings.engine_args:
        unfit = "own engine arguments were set"
    elif read_options(choice.settings).changes_speed:
        unfit = "prefix caching, chunked prefill or speculation was asked for"
    elif measured.start.changed:
        unfit = f"the plan changed while it started ({measured.start.changed}); measure once more"
    if unfit is not None:
        print_note(f"not kept as evidence: {unfit}")
        return
    subject = make_subject(
        choice.plan,
        hardware,
        engine_version=choice.installed.version,
        at_unix_s=report.started_unix_s,
        nimctl_version=__version__,
    )
    record = record_report(subject, report)
    try:
        number = open_evidence().record_bench(record)
    except InputError as error:
        print_warning(f"not kept as evidence: {error.message}")
        return
    goals = [goal for goal in GOALS if speaks_for(record.traffic, choice.plan.device, goal)]
    print_note(f"kept as bench {number}; it counts for {' and '.join(goals) or 'no goal'}")


def require_success(report: BenchReport) -> None:
    """Fail where nothing was measured, or where the user stopped the run.

    Raises:
        EngineError: no request succeeded.
        InterruptedByUserError: Ctrl-C; the report covers what was over by then.
    """
    if report.stop is Stop.INTERRUPTED:
        raise InterruptedByUserError("the bench was stopped early")
    if not report.request_count.avg:
        raise EngineError("no request succeeded", hint="see the errors above")
