"""What an engine calls the fields that NIM's clients send, and the function that renames them."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Version = tuple[int, ...]
"""An engine's version, e.g. (0, 20); compared from the left."""


class RefusedFieldError(Exception):
    """A field that the engine cannot honour as it was asked; `field` is its name."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True, kw_only=True, slots=True)
class FieldRule:
    """What becomes of one field of a request.

    Attributes:
        name: As NIM's clients write it, inside `nvext` or at the top level.
        place: Where the engine looks for it, from the outside in; empty: it cannot honour it.
        convert: From the client's value to the engine's; raises ValueError for a bad one.
        reason: Why it is refused, or what to use instead: a sentence without its full stop.
        since: The first version the rule holds for; a later rule of the same name replaces it.
    """

    name: str
    place: tuple[str, ...] = ()
    convert: Callable[[Any], Any] | None = None
    reason: str = ""
    since: Version = ()

    @property
    def is_plain(self) -> bool:
        """The engine calls it as the client does."""
        return self.place == (self.name,) and self.convert is None


def same(*names: str) -> tuple[FieldRule, ...]:
    """Rules of fields that the engine calls as NIM does."""
    return tuple(FieldRule(name=name, place=(name,)) for name in names)


def refused(reason: str, *names: str) -> tuple[FieldRule, ...]:
    """Rules of fields that the engine cannot honour, for one reason."""
    return tuple(FieldRule(name=name, reason=reason) for name in names)


def rules_of_version(rules: Iterable[FieldRule], version: Version | None) -> dict[str, FieldRule]:
    """The rules by name that hold for a version; the newest ones where it is not known."""
    return {rule.name: rule for rule in rules if version is None or rule.since <= version}


def read_version(text: str | None) -> Version | None:
    """The numbers a version such as `0.20.1rc1+cu129` begins with; None without any."""
    numbers = re.match(r"\d+(\.\d+)*", text or "")
    return None if numbers is None else tuple(map(int, numbers[0].split(".")))


def translate_fields(
    document: Mapping[str, Any],
    extension: Mapping[str, Any],
    rules: Mapping[str, FieldRule],
    engine: str,
) -> dict[str, Any] | None:
    """The request as the engine wants it; None where it is that already.

    Args:
        document: The body without `nvext`; its own fields win over those of the same name there.
        extension: What was in `nvext`. A null asks for nothing, there as in a renamed field.
        engine: The engine's name, for messages.

    Raises:
        RefusedFieldError: a field that the engine cannot honour, does not know, or is told twice.
    """
    known = document.keys() & rules.keys()
    if not extension and all(rules[name].is_plain for name in known):
        return None
    translated = {name: value for name, value in document.items() if name not in known}
    for name, value in {**extension, **document}.items():
        if name in translated or value is None:
            continue
        rule = rules.get(name)
        if rule is None:
            raise RefusedFieldError(name, f"{engine} takes no {name} here.")
        if not rule.place:
            raise RefusedFieldError(name, f"{engine} cannot honour {name}: {rule.reason}.")
        _put(translated, rule, _convert(rule, value))
    return translated


def _convert(rule: FieldRule, value: Any) -> Any:
    if rule.convert is None:
        return value
    try:
        return rule.convert(value)
    except ValueError as error:
        raise RefusedFieldError(rule.name, f"{rule.name} {error}.") from error


def _put(document: dict[str, Any], rule: FieldRule, value: Any) -> None:
    *outer, last = rule.place
    node = document
    for key in outer:
        inner = node.get(key, {})
        if not isinstance(inner, dict):
            raise RefusedFieldError(rule.name, f"{rule.name} goes into {key}, which is no object.")
        node[key] = node = dict(inner)
    if last in node:
        path = ".".join(rule.place)
        message = f"{rule.name} asks for what another field asks for too: both mean {path}."
        raise RefusedFieldError(rule.name, message)
    node[last] = value
