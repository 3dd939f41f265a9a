"""`nimctl serve`: choose, fetch, start and watch a model behind one OpenAI-compatible server."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from nimctl.cli import options

Host = Annotated[str | None, typer.Option(metavar="ADDRESS", help="Address to listen on.")]
Port = Annotated[
    str | None, typer.Option(metavar="N", help="Port to listen on; 0 takes a free one.")
]
Uds = Annotated[
    Path | None, typer.Option(metavar="PATH", help="Unix socket to listen on instead of a port.")
]
TlsCert = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Certificate for TLS, in PEM; renewed ones are picked up."),
]
TlsKey = Annotated[Path | None, typer.Option(metavar="FILE", help="Its private key, in PEM.")]
TlsClientCa = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Let in only callers with a certificate signed by these."),
]
MaxConcurrency = Annotated[
    str | None,
    typer.Option(metavar="N", help="Requests in the engine at most; the next wait their turn."),
]
LogFormat = Annotated[str | None, typer.Option(metavar="FORM", help="text or json.")]
ServedNames = Annotated[
    list[str] | None,
    typer.Option("--served-model-name", metavar="NAME", help="Name clients use; may be repeated."),
]
ApiKeyFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="File with the keys callers may present, one a line."),
]
EngineUrl = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Serve what an OpenAI-compatible engine at http://, https:// or unix:PATH offers.",
    ),
]
EngineApiKeyFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="File with the key that such an engine wants.")
]
Detach = Annotated[
    bool, typer.Option("--detach", help="Return once it is ready; `ps`, `logs`, `stop` see to it.")
]
Install = Annotated[
    bool, typer.Option("--install", help="Install the best profile's engine where it is missing.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")]
Json = Annotated[bool, typer.Option("--json", help="Print events (or the plan) as JSON lines.")]


def serve(
    context: typer.Context,
    model: options.Model = None,
    profile: options.Profile = None,
    engine: options.Engine = None,
    engine_path: options.EnginePath = None,
    container: options.Container = None,
    image: options.Image = None,
    shm_size: options.ShmSize = None,
    precision: options.Precision = None,
    goal: options.Goal = None,
    context_length: options.ContextLength = None,
    concurrency: options.Concurrency = None,
    kv_precision: options.KvPrecision = None,
    tensor_parallel: options.TensorParallel = None,
    memory_share: options.MemoryShare = None,
    gpus: options.Gpus = None,
    lora: options.Lora = None,
    allow_cpu: options.AllowCpu = None,
    heal: options.Heal = None,
    max_lora_rank: options.MaxLoraRank = None,
    tool_parser: options.ToolParser = None,
    reasoning_parser: options.ReasoningParser = None,
    chat_template: options.ChatTemplate = None,
    prefix_caching: options.PrefixCaching = None,
    chunked_prefill: options.ChunkedPrefill = None,
    structured_output_backend: options.StructuredOutput = None,
    speculative: options.Speculative = None,
    speculative_tokens: options.SpeculativeTokens = None,
    seed: options.Seed = None,
    trust_remote_code: options.TrustRemoteCode = None,
    host: Host = None,
    port: Port = None,
    uds: Uds = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    tls_client_ca: TlsClientCa = None,
    max_concurrency: MaxConcurrency = None,
    log_format: LogFormat = None,
    served_model_name: ServedNames = None,
    api_key_file: ApiKeyFile = None,
    engine_url: EngineUrl = None,
    engine_api_key_file: EngineApiKeyFile = None,
    offline: options.Offline = None,
    cache_dir: options.CacheDir = None,
    manifest_dir: options.ManifestDir = None,
    hardware: options.Hardware = None,
    detach: Detach = False,
    install: Install = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Serve MODEL: choose its best profile for this machine, fetch it, start it, watch it.

    Arguments after `--` go to the engine as they are. With --engine-url nothing is started, and
    MODEL is one of those that the engine there lists.
    """
    from nimctl.cli import asked, server_actions

    settings = asked.read_command_settings(
        profile=profile,
        engine=engine,
        engine_path=engine_path,
        container=container,
        container_image=image,
        shm_size=shm_size,
        precision=precision,
        goal=goal,
        context_length=context_length,
        concurrency=concurrency,
        kv_precision=kv_precision,
        tensor_parallel=tensor_parallel,
        memory_share=memory_share,
        **asked.split_lora(lora),
        allow_cpu=allow_cpu,
        heal=heal,
        max_lora_rank=max_lora_rank,
        tool_parser=tool_parser,
        reasoning_parser=reasoning_parser,
        chat_template=chat_template,
        prefix_caching=prefix_caching,
        chunked_prefill=chunked_prefill,
        structured_output_backend=structured_output_backend,
        speculative=speculative,
        speculative_tokens=speculative_tokens,
        seed=seed,
        trust_remote_code=trust_remote_code,
        host=host,
        port=port,
        uds=uds,
        tls_cert=tls_cert,
        tls_key=tls_key,
        tls_client_ca=tls_client_ca,
        max_concurrency=max_concurrency,
        log_format=log_format,
        served_model_names=served_model_name,
        api_key_file=api_key_file,
        engine_url=engine_url,
        engine_api_key_file=engine_api_key_file,
        offline=offline,
        cache_dir=cache_dir,
        manifest_dirs=manifest_dir,
    )
    engine_args = tuple(context.args)
    if settings.engine_url is not None:
        from nimctl.cli import outside

        outside.require_nothing_chosen(
            settings,
            {
                "--gpus": gpus,
                "--hardware": hardware,
                "--install": install,
                "arguments after `--`": engine_args,
            },
        )
        if dry_run:
            outside.print_engine(settings, model, json=json)
        elif detach:
            server_actions.start_detached(sys.argv[1:], settings, json=json)
        else:
            outside.serve_outside(settings, model, json=json)
        return
    from nimctl.cli import choosing, containing, facts, missing_engine, serve_events, serving

    manifest = facts.find_model(facts.open_catalog(settings), settings, model)
    facts.require_dry_run(hardware, dry_run=dry_run)
    if json and not (dry_run or detach):
        serve_events.tell_stage("resolving")
    if not dry_run:
        containing.require_container_program(settings)
    machine = facts.read_machine(settings, hardware)
    wish = facts.make_wish(settings, gpus)
    if install and not dry_run:
        machine = missing_engine.install_missing_engine(
            manifest, machine, wish, settings, json=json and not detach
        )
    choice = choosing.choose(manifest, machine, settings, wish)
    if dry_run:
        serving.print_plan(choice, engine_args, json=json)
    elif detach:
        server_actions.start_detached(sys.argv[1:], settings, json=json)
    else:
        serving.serve_choice(
            choice,
            engine_args,
            lambda given_up: choosing.choose(
                manifest, facts.read_machine(settings, None), settings, wish, given_up
            ),
            json=json,
        )
