"""Tells what happens to a served model: to a person on the terminal, or as lines of JSON."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nimctl.cli.terminal import bold, print_json_line, print_line, print_note, print_warning
from nimctl.core.units import format_duration
from nimctl.server import (
    AnswersAgain,
    Listening,
    NotReady,
    Phase,
    PhaseReached,
    Ready,
    ReadyAgain,
    Restarting,
    ServeEvent,
    StartTimes,
    Stopping,
)


def tell_json(event: ServeEvent) -> None:
    """One line of JSON on standard output."""
    document: dict[str, Any]
    match event:
        case Listening(url=url):
            document = {"event": "listening", "url": url}
        case PhaseReached(phase=phase):
            document = {"event": "phase", "phase": phase.value}
        case Ready(url=url, times=times):
            document = {"event": "ready", "url": url, **_round(times)}
        case NotReady(cause=cause):
            document = {"event": "not_ready", "cause": cause}
        case AnswersAgain(silent_s=silent_s):
            document = {"event": "answers_again", "silent_s": round(silent_s, 3)}
        case Restarting(cause=cause, attempt=attempt, limit=limit, wait_s=wait_s):
            document = {
                "event": "restarting",
                "cause": cause,
                "attempt": attempt,
                "limit": limit,
                "wait_s": wait_s,
            }
        case ReadyAgain(url=url, times=times, down_s=down_s):
            document = {
                "event": "ready_again",
                "url": url,
                "down_s": round(down_s, 3),
                **_round(times),
            }
        case Stopping(signal_name=name):
            document = {"event": "stopping", "signal": name}
    print_json_line(document)


def _round(times: StartTimes) -> dict[str, float]:
    return {"load_s": round(times.load_s, 3), "first_token_s": round(times.first_token_s, 3)}


def tell_person(engine_log: Path | None) -> Callable[[ServeEvent], None]:
    """Sentences: what is ready on standard output, everything else on standard error.

    Once the model was ready they begin with the time, as the lines of the access log do.

    Args:
        engine_log: None for an engine that runs elsewhere.
    """
    return _Teller(None if engine_log is None else _shorten_home(engine_log)).tell


class _Teller:
    def __init__(self, log: str | None) -> None:
        self._log = log
        self._name = ""
        self._was_ready = False

    def tell(self, event: ServeEvent) -> None:
        if self._was_ready or isinstance(event, Stopping):
            self._tell_serving(event)
        else:
            self._tell_start(event)

    def _tell_start(self, event: ServeEvent) -> None:
        match event:
            case PhaseReached(phase=Phase.LOADING) if self._log is not None:
                print_note(f"loading; the engine's log is {self._log}")
            case PhaseReached(phase=Phase.WARMING):
                seen = "found" if self._log is None else "loaded"
                print_note(f"{seen}; generating the first token")
            case NotReady(cause=cause):
                print_note(f"waiting: {cause}")
            case Ready(url=url, times=times, names=names):
                _print_ready(url, names, times.load_s + times.first_token_s)
                self._name = names[0]
                self._was_ready = True
            case _:
                pass

    def _tell_serving(self, event: ServeEvent) -> None:
        name = self._name
        match event:
            case NotReady(cause=cause):
                _warn(f"not ready: {cause} New requests wait a little, then are answered 503.")
            case AnswersAgain(silent_s=silent_s):
                _note(f"{name} answers again (after {format_duration(silent_s)})")
            case Restarting():
                _warn(f"{event.cause}\n  {self._describe_restart(event)}")
            case ReadyAgain(url=url, down_s=down_s):
                _note(f"{name} is ready again at {url} (after {format_duration(down_s)})")
            case Stopping(signal_name=signal):
                _note(f"{signal}: finishing open requests; once more stops at once")
            case _:
                pass

    def _describe_restart(self, event: Restarting) -> str:
        """What happens now: told last, as the cause may have many lines."""
        return (
            f"starting it again in {format_duration(event.wait_s)} (restart {event.attempt} of "
            f"{event.limit} within {format_duration(event.window_s)}); its log is {self._log}"
        )


def _note(text: str) -> None:
    print_note(f"{time.strftime('%H:%M:%S')} {text}")


def _warn(text: str) -> None:
    print_warning(text, at=time.strftime("%H:%M:%S"))


def _shorten_home(path: Path) -> str:
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)


def _print_ready(url: str, names: tuple[str, ...], seconds: float) -> None:
    shortest = min(names, key=len)
    print_line(f"{bold(names[0])} is ready at {bold(url)} (after {format_duration(seconds)})")
    print_line(
        f"  curl {url}/v1/chat/completions -H 'Content-Type: application/json' -d \\\n"
        f"""    '{{"model": "{shortest}", "messages": [{{"role": "user", "content": "Hello"}}]}}'"""
    )
    print_line("Ctrl-C stops it.")
