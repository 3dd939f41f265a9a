"""What `serve` does after the choice: fetch, start, tell how it goes, and show the plan instead."""

import contextlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from nimctl.cache import Cache, CacheEntry
from nimctl.cli.choosing import (
    Choice,
    choice_document,
    describe_missing,
    explain_choice,
    find_compiled_dir,
    launch_of,
    print_choice,
)
from nimctl.cli.containing import bring_engine_image
from nimctl.cli.gateway_settings import choose_tls, make_gateway_config, read_api_keys
from nimctl.cli.gpu_figures import make_gpu_reader
from nimctl.cli.healing import ChooseAgain, Healing
from nimctl.cli.launch_text import describe_overridden
from nimctl.cli.launching import choose_served_names, make_state_dir
from nimctl.cli.log_files import new_log_file
from nimctl.cli.registry import ServerRecord, describe_self
from nimctl.cli.running import run_server
from nimctl.cli.serve_events import (
    tell_json,
    tell_learned,
    tell_new_plan,
    tell_stage,
    telling_person,
)
from nimctl.cli.served_model import describe_served_model
from nimctl.cli.started import StartEvidence
from nimctl.cli.terminal import bold, print_json, print_line, print_note
from nimctl.cli.weights import fetch_artifact, find_files, is_in_place, list_weight_files
from nimctl.core.units import format_bytes
from nimctl.environments.in_use import hold_engine
from nimctl.errors import EngineError, InputError
from nimctl.server import (
    GatewayConfig,
    Listening,
    NeededFiles,
    Ready,
    RestartLimits,
    ServeEvent,
    ServeRequest,
    WatchLimits,
    choose_idle_token_s,
)
from nimctl.settings import Settings


def print_plan(choice: Choice, engine_args: tuple[str, ...], *, json: bool) -> None:
    """What `serve` would do, without doing it."""
    settings = choice.settings
    if json:
        print_json(choice_document(choice, engine_args))
        return
    print_choice(choice, engine_args, with_origins=True)
    print_line()
    print_line(bold("Gateway"))
    scheme = "http" if choose_tls(settings) is None else "https"
    address = f"{scheme}://{settings.host}:{settings.port}"
    print_line(f"  {address if settings.uds is None else f'unix:{settings.uds}'}")
    print_line(f"  answers to {', '.join(choose_served_names(settings, choice.manifest))}")
    keys = len(read_api_keys(settings))
    print_line(f"  callers need {'a key' if keys else 'no key'}")
    said = {name: origin for name, origin in settings.origins.items() if origin != "default"}
    if said:
        print_line()
        print_line(bold("Set by"))
        width = max(map(len, said))
        for name, origin in said.items():
            print_line(f"  {name:<{width}}  {origin}")


def serve_choice(
    choice: Choice, engine_args: tuple[str, ...], choose_again: ChooseAgain, *, json: bool
) -> None:
    """Fetch the files, start the engine, and serve until a signal asks to stop.

    A start that fails in a known way is tried again with what `choose_again` makes of it.

    Raises:
        NimctlError: the files, the engine or the address cannot be had.
    """
    _require_chat(choice)
    tell_learned(choice.learned, choice.manifest.model, json=json)
    own_arguments = bool(engine_args or choice.settings.engine_args)
    healing = Healing(choice, choose_again, has_own_arguments=own_arguments)
    gateway = make_gateway_config(choice.settings)
    life = _Life(on_ready=healing.keep)
    while True:
        try:
            _serve_once(healing.choice, engine_args, gateway, life, json=json)
            return
        except EngineError as error:
            if life.was_ready or not choice.settings.heal:
                raise
            tell_new_plan(healing.next_plan(error), json=json)
            gateway = replace(gateway, port=life.port or gateway.port)


@dataclass(kw_only=True, slots=True)
class _Life:
    """What has become of a server: whether it was ever ready, and the port that it took."""

    on_ready: Callable[[], None]
    was_ready: bool = False
    port: int | None = None

    def note(self, event: ServeEvent) -> None:
        match event:
            case Listening(url=url) if not url.startswith("unix:"):
                self.port = int(url.rpartition(":")[2])
            case Ready():
                self.was_ready = True
                self.on_ready()
            case _:
                pass


def _serve_once(
    choice: Choice,
    engine_args: tuple[str, ...],
    gateway: GatewayConfig,
    life: _Life,
    *,
    json: bool,
) -> None:
    """Serve one choice until a signal asks to stop, or its engine ends."""
    settings = choice.settings
    print_note(_describe_choice(choice))
    if choice.missing is not None:
        print_note(f"better: {describe_missing(choice.missing)}, or add --install")
    bring_engine_image(choice.installed.name, settings)
    artifact = choice.verdict.profile.artifact
    if json and not is_in_place(artifact) and find_files(artifact, settings) is None:
        tell_stage("downloading")
    entry = fetch_artifact(artifact, settings)
    with (
        hold_engine(choice.installed, settings.engines_dir),
        _lease(entry, choice),
        _compiled_dir(choice) as compiled_dir,
        _state_dir(settings) as state_dir,
    ):
        launch = launch_of(choice, entry.path, state_dir, engine_args, compiled_dir=compiled_dir)
        for one in launch.overridden:
            print_note(describe_overridden(one))
        model = describe_served_model(choice, entry, launch)
        weights = list_weight_files(entry.path, artifact)
        request = ServeRequest(
            launch=launch,
            model=model,
            gateway=gateway,
            environment=settings.environment,
            log_path=new_log_file("logs", f"-{choice.manifest.short_name}.log"),
            state_dir=state_dir,
            start_timeout_s=settings.start_timeout_s,
            weights={str(path.resolve()): size for path, size in weights.items()},
            files=_list_needed_files(choice, entry, weights),
            watch=WatchLimits(
                hung_s=settings.hang_timeout_s,
                idle_token_every_s=choose_idle_token_s(model.sequences),
            ),
            read_gpus=make_gpu_reader(choice.plan.gpus),
            restarts=RestartLimits(
                count=settings.restart_limit, window_s=settings.restart_window_s
            ),
        )
        started = StartEvidence(choice, launch, engine_args)
        with _telling(request, started, json=json) as tell:

            def on_event(event: ServeEvent) -> None:
                tell(event)
                life.note(event)

            run_server(request, _describe_server(choice, request), settings, on_event)


def _telling(
    request: ServeRequest, started: StartEvidence, *, json: bool
) -> contextlib.AbstractContextManager[Callable[[ServeEvent], None]]:
    if json:
        return contextlib.nullcontext(tell_json(started.expected_s, started.take))
    return telling_person(request.log_path, started.expected_s, started.take)


def _list_needed_files(
    choice: Choice, entry: CacheEntry, weights: Mapping[Path, int]
) -> NeededFiles:
    """What the engine opens at every start, and how to get it back."""
    manifest, config = choice.manifest, entry.path / "config.json"
    sizes = {str(path): size for path, size in weights.items()}
    if config.is_file():
        sizes[str(config)] = config.stat().st_size
    address = manifest.origin if "://" in manifest.origin else manifest.model
    hint = f"`nimctl download {address}` fetches them again"
    is_own = choice.verdict.profile.artifact.source.scheme == "file"
    return NeededFiles(sizes=sizes, hint="put them back, then start again" if is_own else hint)


def _describe_server(choice: Choice, request: ServeRequest) -> ServerRecord:
    return describe_self(
        model=choice.manifest.model,
        names=request.model.names,
        profile=choice.verdict.profile.description,
        engine=choice.installed.name,
        engine_log=request.log_path,
    )


def _require_chat(choice: Choice) -> None:
    if choice.manifest.kind != "chat":
        raise InputError(
            f"{choice.manifest.model} is a model for {choice.manifest.kind}, "
            "and nimctl serves only models that generate text so far"
        )


def _describe_choice(choice: Choice) -> str:
    profile, plan = choice.verdict.profile, choice.plan
    where = ", ".join(f"GPU {gpu.index}" for gpu in plan.gpus) or "the CPU"
    return (
        f"{choice.manifest.model} runs as {profile.description} on {where}: "
        f"needs {format_bytes(plan.budget.needed)} of {format_bytes(plan.free_bytes)} free; "
        f"{explain_choice(choice.selection)}"
    )


def _lease(entry: CacheEntry, choice: Choice) -> contextlib.AbstractContextManager[None]:
    """Keep the files from being removed from the cache while they are served."""
    what = f"nimctl serve {choice.manifest.model}"
    return Cache(choice.settings.cache_dir).lease(entry.path, entry.files, what)


@contextlib.contextmanager
def _compiled_dir(choice: Choice) -> Iterator[Path | None]:
    """Where the engine finds what it compiled before; kept from being removed meanwhile."""
    wanted = find_compiled_dir(choice)
    if wanted is None:
        yield None
        return
    cache = Cache(choice.settings.cache_dir)
    folder = cache.open_compiled(wanted.name)
    if folder is None:
        print_note(f"what the engine compiles is not kept: {wanted} is not ours alone to write")
        yield None
        return
    with cache.lease(folder, (), f"nimctl serve {choice.manifest.model}"):
        yield folder


@contextlib.contextmanager
def _state_dir(settings: Settings) -> Iterator[Path]:
    folder = make_state_dir(settings.environment)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
