"""The kinds of rules most options follow: a value behind an option, a switch, a refusal."""

from typing import Any

from nimctl.core.engine_options import EngineOptions, OptionRule, Written
from nimctl.core.request_fields import Version


def valued(name: str, option: str, since: Version = ()) -> OptionRule:
    """The engine has an option that takes the value as it is."""

    def write(value: Any, _: EngineOptions) -> Written:
        return Written(words=((option, str(value)),))

    return OptionRule(name=name, write=write, since=since)


def switched(name: str, on: str, off: str | None = None) -> OptionRule:
    """The engine has an option that turns it on, and perhaps one that turns it off."""

    def write(value: bool, _: EngineOptions) -> Written:
        word = on if value else off
        return Written(words=((word,),) if word else ())

    return OptionRule(name=name, write=write)


def entered(name: str, key: str, since: Version = ()) -> OptionRule:
    """The engine has a key in its options file that takes the value as it is."""

    def write(value: Any, _: EngineOptions) -> Written:
        return Written(entries={key: value})

    return OptionRule(name=name, write=write, since=since)


def told_elsewhere(name: str, *, needs: str) -> OptionRule:
    """Another option's rule writes this one too, and without that it means nothing."""

    def write(_: Any, options: EngineOptions) -> Written:
        if getattr(options, needs) is None:
            raise ValueError(f"it goes with --{needs.replace('_', '-')}")
        return Written()

    return OptionRule(name=name, write=write)


def ignored(name: str) -> OptionRule:
    """The engine does what it means without being told."""
    return OptionRule(name=name, write=lambda _value, _options: Written())


def unhonoured(name: str, reason: str, since: Version = ()) -> OptionRule:
    """The engine cannot do it."""
    return OptionRule(name=name, reason=reason, since=since)
