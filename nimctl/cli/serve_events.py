"""Tells what happens to a served model: to a person on the terminal, or as lines of JSON."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nimctl.cli.healing import NewPlan
from nimctl.cli.start_display import StartDisplay, open_display
from nimctl.cli.started import Started
from nimctl.cli.terminal import (
    bold,
    drop_unknown,
    print_json_line,
    print_line,
    print_note,
    print_warning,
)
from nimctl.core.healing import MOST_NEW_PLANS
from nimctl.core.startup import Phase
from nimctl.core.units import format_duration
from nimctl.server import (
    AnswersAgain,
    Listening,
    NotReady,
    PhaseAdvanced,
    PhaseReached,
    Ready,
    ReadyAgain,
    Restarting,
    ServeEvent,
    StartTimes,
    Stopping,
)


def tell_json(
    expected_s: Mapping[Phase, float], take: Callable[[Ready], Started] | None = None
) -> Callable[[ServeEvent], None]:
    """One line of JSON on standard output for each event.

    Args:
        expected_s: How long each phase took before, where that is known.
        take: Holds the memory of an engine that is ready against what was predicted.
    """

    def tell(event: ServeEvent) -> None:
        document = _event_document(event, expected_s)
        if take is not None and isinstance(event, Ready):
            document["memory"] = _memory_document(take(event))
        print_json_line(drop_unknown(document))

    return tell


def _memory_document(started: Started) -> dict[str, dict[str, int]] | None:
    """Bytes of each part as predicted and as it is; None where nobody tells."""
    return {
        check.part: {"predicted_bytes": check.predicted, "actual_bytes": check.actual}
        for check in started.checks
    } or None


def tell_stage(name: str) -> None:
    """A stage before the engine's start, as the same kind of line."""
    print_json_line({"event": "phase", "phase": name})


def _event_document(event: ServeEvent, expected_s: Mapping[Phase, float]) -> dict[str, Any]:
    document: dict[str, Any]
    match event:
        case Listening(url=url):
            document = {"event": "listening", "url": url}
        case PhaseReached(phase=phase):
            expected = expected_s.get(phase)
            document = {
                "event": "phase",
                "phase": phase.value,
                "expected_s": None if expected is None else round(expected, 3),
            }
        case PhaseAdvanced():
            document = {
                "event": "progress",
                "phase": event.phase.value,
                "done_bytes": event.done_bytes,
                "total_bytes": event.total_bytes,
                "done": event.done,
                "total": event.total,
            }
        case Ready(url=url, times=times):
            phases_s = {phase.value: round(took_s, 3) for phase, took_s in times.phases_s.items()}
            document = {
                "event": "ready",
                "url": url,
                **_round(times),
                "phases_s": phases_s or None,
            }
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
    return document


def tell_new_plan(plan: NewPlan, *, json: bool) -> None:
    """What is tried after a start that failed, and why."""
    if json:
        changes = [
            {"what": one.what, "from": one.before, "to": one.after} for one in plan.differences
        ]
        print_json_line(
            {
                "event": "new_plan",
                "symptom": plan.symptom,
                "cause": plan.cause,
                "changes": changes,
                "attempt": plan.attempt,
                "limit": MOST_NEW_PLANS,
            }
        )
        return
    changed = ", ".join(map(str, plan.differences))
    print_warning(f"the engine did not start: {plan.cause}")
    print_note(
        f"  starting with {changed}, because {plan.cause} (new plan {plan.attempt} of "
        f"{MOST_NEW_PLANS} at most; --no-heal leaves it at the first)"
    )


def tell_learned(sentences: tuple[str, ...], model: str, *, json: bool) -> None:
    """What is other than it would be without earlier starts."""
    for sentence in sentences:
        if json:
            print_json_line({"event": "learned", "text": sentence})
        else:
            print_note(f"learned from an earlier start: {sentence}")
    if sentences and not json:
        print_note(f"  `nimctl evidence forget {model}` starts afresh")


def _round(times: StartTimes) -> dict[str, float]:
    return {"load_s": round(times.load_s, 3), "first_token_s": round(times.first_token_s, 3)}


@contextmanager
def telling_person(
    engine_log: Path | None,
    expected_s: Mapping[Phase, float],
    take: Callable[[Ready], Started] | None = None,
) -> Iterator[Callable[[ServeEvent], None]]:
    """Sentences: what is ready on standard output, everything else on standard error.

    Once the model was ready they begin with the time, as the lines of the access log do.

    Args:
        engine_log: None for an engine that runs elsewhere.
        expected_s: How long each phase took before, where that is known.
        take: Holds the memory of an engine that is ready against what was predicted.
    """
    start = open_display(expected_s)
    try:
        yield _Teller(None if engine_log is None else _shorten_home(engine_log), start, take).tell
    finally:
        start.close()


class _Teller:
    def __init__(
        self, log: str | None, start: StartDisplay, take: Callable[[Ready], Started] | None
    ) -> None:
        self._log = log
        self._start = start
        self._take = take
        self._name = ""
        self._was_ready = False

    def tell(self, event: ServeEvent) -> None:
        if isinstance(event, Stopping):
            self._start.close()
        if self._was_ready or isinstance(event, Stopping):
            self._tell_serving(event)
        else:
            self._tell_start(event)

    def _tell_start(self, event: ServeEvent) -> None:
        match event:
            case PhaseReached(phase=phase) if self._log is None:
                if phase is Phase.WARMING:
                    print_note("found; generating the first token")
            case PhaseReached(phase=phase):
                if phase is Phase.STARTING:
                    print_note(f"the engine's log is {self._log}")
                self._start.enter(phase)
            case PhaseAdvanced():
                self._start.advance(event)
            case NotReady(cause=cause):
                print_note(f"waiting: {cause}")
            case Ready(url=url, times=times, names=names):
                seconds = times.load_s + times.first_token_s
                surprise = self._take(event).surprise if self._take else None
                _print_ready(url, names, seconds, surprise)
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


def _print_ready(url: str, names: tuple[str, ...], seconds: float, surprise: str | None) -> None:
    shortest = min(names, key=len)
    came = f"after {format_duration(seconds)}{f'; {surprise}' if surprise else ''}"
    print_line(f"{bold(names[0])} is ready at {bold(url)} ({came})")
    print_line(
        f"  curl {url}/v1/chat/completions -H 'Content-Type: application/json' -d \\\n"
        f"""    '{{"model": "{shortest}", "messages": [{{"role": "user", "content": "Hello"}}]}}'"""
    )
    print_line("Ctrl-C stops it.")
