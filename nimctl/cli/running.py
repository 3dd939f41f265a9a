"""Runs a server and passes on what happens: to its teller, to systemd, to `nimctl ps`, to a log."""

from collections.abc import Callable, Mapping

from nimctl import __version__
from nimctl.cli.access_log import make_access_log
from nimctl.cli.own_log import OwnLog, find_own_log
from nimctl.cli.registry import ServerRecord, registered
from nimctl.cli.terminal import print_note
from nimctl.server import (
    AccessRecord,
    AnswersAgain,
    NotReady,
    OutsideRequest,
    PhaseReached,
    Ready,
    ReadyAgain,
    Restarting,
    ServeEvent,
    ServeRequest,
    Stopping,
    TraceTarget,
    Tracing,
    notify,
    serve_model,
)
from nimctl.settings import Settings
from nimctl.settings.places import user_state_folder


def run_server(
    request: ServeRequest | OutsideRequest,
    record: ServerRecord,
    settings: Settings,
    tell: Callable[[ServeEvent], None],
) -> None:
    """Serve until a signal asks to stop.

    Raises:
        NimctlError: the engine or the address cannot be had.
    """
    tracing = _make_tracing(settings)
    own_log = OwnLog(find_own_log(user_state_folder()))
    tell_access = make_access_log(settings.log_level, settings.log_format)
    with registered(record) as note:

        def on_event(event: ServeEvent) -> None:
            _notify_manager(event, settings.environment)
            note(event)
            tell(event)
            own_log.keep_in_bounds()

        def on_access(access: AccessRecord) -> None:
            tell_access(access)
            own_log.keep_in_bounds()

        serve_model(
            request,
            on_event=on_event,
            on_access=on_access,
            on_note=print_note,
            tracing=tracing,
        )


def _make_tracing(settings: Settings) -> Tracing | None:
    """Spans of requests, where they are asked for."""
    if not settings.otel or settings.otel_traces_exporter == "none":
        return None
    target = TraceTarget(
        service_name=settings.otel_service_name,
        exporter=settings.otel_traces_exporter,
        endpoint=settings.otel_endpoint,
    )
    return Tracing(target, version=__version__)


def _notify_manager(event: ServeEvent, environment: Mapping[str, str]) -> None:
    """Tell systemd how far the service is."""
    match event:
        case Ready(url=url):
            notify(environment, "READY=1", f"STATUS=Ready at {url}")
        case ReadyAgain(url=url):
            notify(environment, f"STATUS=Ready at {url}")
        case NotReady(cause=cause):
            notify(environment, f"STATUS=Not ready: {cause}")
        case AnswersAgain():
            notify(environment, "STATUS=Ready")
        case Restarting(attempt=attempt, limit=limit):
            notify(environment, f"STATUS=The engine failed; restart {attempt} of {limit}")
        case PhaseReached(phase=phase):
            notify(environment, f"STATUS=The engine is {phase.value}")
        case Stopping(signal_name=name):
            notify(environment, "STOPPING=1", f"STATUS={name}: finishing open requests")
        case _:
            pass
