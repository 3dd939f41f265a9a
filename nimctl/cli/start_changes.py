"""What a server that was started for a bench changed so that it starts, as it told."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nimctl.cli.terminal import print_line, print_note


@dataclass(kw_only=True, slots=True)
class StartChanges:
    """What differs from the plan that was chosen, and why.

    Attributes:
        learned: What earlier starts changed, a sentence each; the choice knows of it.
        new_plans: What this start changed: `new_plan` events of `serve --json`.
    """

    learned: list[str] = field(default_factory=list)
    new_plans: list[Mapping[str, Any]] = field(default_factory=list)

    def take(self, event: Mapping[str, Any]) -> None:
        """Note an event of the server, and tell it where a person would want to know."""
        match event:
            case {"event": "phase", "phase": str() as phase}:
                print_note(f"the model is {phase}")
            case {"event": "learned", "text": str() as text}:
                self.learned.append(text)
            case {"event": "new_plan"}:
                self.new_plans.append(event)
                print_note(f"the engine did not start; it is started {_describe(event)}")
            case _:
                pass

    @property
    def changed(self) -> str:
        """What this start changed, in one clause; empty where it changed nothing."""
        return ", then ".join(map(_name_changes, self.new_plans))

    def print(self) -> None:
        """What belongs to the figures of a report."""
        for sentence in self.learned:
            print_line(f"learned from an earlier start: {sentence}")
        for event in self.new_plans:
            print_line(f"started {_describe(event)}")

    def document(self) -> dict[str, Any]:
        """The same as JSON."""
        told = ("symptom", "cause", "changes", "attempt")
        plans = [{name: event[name] for name in told} for event in self.new_plans]
        return {"learned": list(self.learned), "new_plans": plans}


def _describe(event: Mapping[str, Any]) -> str:
    return f"with {_name_changes(event)}, because {event['cause']}"


def _name_changes(event: Mapping[str, Any]) -> str:
    return ", ".join(f"{one['what']} {one['from']} -> {one['to']}" for one in event["changes"])
