"""`nimctl bench`: load on an endpoint, or on a model served for the purpose, every token timed."""

from typing import Annotated

import typer

from nimctl.cli import options

Url = Annotated[
    str | None,
    typer.Option(
        "--url", metavar="URL", help="An OpenAI-compatible server that runs, e.g. http://host:8000."
    ),
]
ServedName = Annotated[
    str | None,
    typer.Option("--model-name", metavar="NAME", help="Name to ask the server at --url for."),
]
Users = Annotated[
    int, typer.Option("--concurrency", "-c", metavar="N", help="Requests in flight at any time.")
]
Requests = Annotated[
    int | None,
    typer.Option("--requests", "-n", metavar="N", help="Requests to measure. [default: 10 a user]"),
]
Duration = Annotated[
    float | None, typer.Option(metavar="SECONDS", help="Send for so long instead of --requests.")
]
InputTokens = Annotated[int, typer.Option(metavar="N", help="About how long each prompt is.")]
OutputTokens = Annotated[int, typer.Option(metavar="N", help="Longest answer.")]
IgnoreEos = Annotated[
    bool, typer.Option("--ignore-eos", help="Make every answer as long as allowed.")
]
Burst = Annotated[bool, typer.Option("--burst", help="Start all users at once.")]
Seed = Annotated[int | None, typer.Option(metavar="N", help="The same seed, the same prompts.")]


def bench(
    model: options.Model = None,
    url: Url = None,
    model_name: ServedName = None,
    concurrency: Users = 1,
    requests: Requests = None,
    duration: Duration = None,
    input_tokens: InputTokens = 128,
    output_tokens: OutputTokens = 128,
    ignore_eos: IgnoreEos = False,
    burst: Burst = False,
    seed: Seed = None,
    profile: options.Profile = None,
    engine: options.Engine = None,
    precision: options.Precision = None,
    allow_cpu: options.AllowCpu = None,
    json: options.Json = False,
) -> None:
    """Measure time to first token, inter-token latency and throughput under concurrent requests.

    Of MODEL, which is served for the purpose and stopped afterwards, or of a server at --url. The
    key for a server that wants one is the setting api_key (NIMCTL_API_KEY). What was measured of a
    MODEL is kept and ranks its profiles from then on: see `nimctl evidence`.
    """
    from nimctl.bench import check_load
    from nimctl.cli import asked, measuring
    from nimctl.cli.terminal import print_json
    from nimctl.core.report import BenchLoad

    load = BenchLoad(
        concurrency=concurrency,
        request_count=requests or (None if duration else 10 * concurrency),
        duration_s=duration,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        ignore_eos=ignore_eos,
        burst=burst,
        seed=seed,
    )
    check_load(load)
    wish = {"profile": profile, "engine": engine, "precision": precision}
    settings = asked.read_command_settings(**wish, allow_cpu=allow_cpu)
    with measuring.open_target(settings, model, url, model_name, wish) as measured:
        report = measuring.measure(measured.target, load)
    if json:
        print_json(measuring.report_document(measured, report))
    else:
        measuring.print_report(measured, report)
    measuring.keep_report(measured, report)
    measuring.require_success(report)
