"""Reads YAML into plain values, each with its line; aliases, double keys and depth are faults.

A YAML tag (`!workspace`, `!name`, `!!int`) changes nothing: the value below it is read as it is
written, so NIM's manifests need no loader of their own and no tag can run code.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from nimctl.errors import ManifestError

KeyPath = tuple[str | int, ...]
"""The keys and list indexes that lead to a value."""

_MAX_DEPTH = 32
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None, "~": None, "": None}
_INTEGER = re.compile(r"[-+]?(0|[1-9](?:_?[0-9]){0,30})")
_FLOAT = re.compile(r"[-+]?[0-9]{1,30}\.[0-9]{0,30}([eE][-+]?[0-9]{1,3})?")


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Fault:
    """One thing wrong with a file, and on which line."""

    line: int
    message: str


class DocumentError(ValueError):
    """The text cannot be read to its end, so no value of it is known."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.fault = Fault(line=line, message=message)


def refuse(origin: str, faults: Iterable[Fault]) -> ManifestError:
    """The error that names all faults of a file as `file:line: fault`."""
    return ManifestError("\n".join(f"{origin}:{f.line}: {f.message}" for f in sorted(faults)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """What a YAML text says.

    Attributes:
        value: Mappings, lists, text, numbers, truth values and None.
        lines: The line of each value by its path; a value under a key is on the key's line.
        faults: What was left out of `value`.
    """

    value: Any
    lines: dict[KeyPath, int]
    faults: tuple[Fault, ...]

    def line_of(self, path: KeyPath) -> int:
        """The line of the value at `path`, or of the nearest one around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def read_document(text: str) -> Document:
    """Read one YAML document.

    The parser's events are read, not its finished objects: they carry lines and doubles, hold no
    memory per nesting level (libyaml's own composing crashes on deep nesting), and are eight
    times faster to come by.

    Raises:
        DocumentError: not YAML, empty, several documents, or nested too deeply.
    """
    try:
        reader = _Reader(yaml.parse(text, Loader=_LOADER))
        value = reader.read_stream()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = f"not valid YAML: {error.problem or error.context}"
        raise DocumentError(mark.line + 1 if mark else 1, message) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise DocumentError(line, f"not valid YAML: {error.reason}") from None
    return Document(value=value, lines=reader.lines, faults=tuple(reader.faults))


class _Reader:
    """Turns a stream of YAML events into one value."""

    def __init__(self, events: Iterator[yaml.Event]) -> None:
        self.lines: dict[KeyPath, int] = {}
        self.faults: list[Fault] = []
        self._events = events

    def read_stream(self) -> Any:
        next(self._events)
        if not isinstance(next(self._events), yaml.DocumentStartEvent):
            raise DocumentError(1, "the file is empty")
        value = self._read(next(self._events), ())
        next(self._events)
        following = next(self._events)
        if isinstance(following, yaml.DocumentStartEvent):
            raise DocumentError(_line(following), "a second document starts; one is expected")
        return value

    def _read(self, event: yaml.Event, path: KeyPath) -> Any:
        self.lines.setdefault(path, _line(event))
        if len(path) > _MAX_DEPTH:
            raise DocumentError(_line(event), f"nested deeper than {_MAX_DEPTH} levels")
        if isinstance(event, yaml.MappingStartEvent):
            return self._read_mapping(path)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._read_sequence(path)
        if isinstance(event, yaml.ScalarEvent):
            return _resolve(event.value) if event.implicit[0] else event.value
        self._fault(event, "an alias (*name) is not read; write the value out")
        return None

    def _read_mapping(self, path: KeyPath) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                self._fault(event, "a key must be plain text")
                self._read(event, (*path, "?"))
                self._read(next(self._events), (*path, "?"))
                continue
            key = (*path, event.value)
            if event.value in mapping:
                first = self.lines[key]
                self._fault(event, f"the key {event.value!r} stands twice, first on line {first}")
                self._read(next(self._events), (*path, "?"))
                continue
            self.lines[key] = _line(event)
            mapping[event.value] = self._read(next(self._events), key)
        return mapping

    def _read_sequence(self, path: KeyPath) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._read(event, (*path, len(items))))
        return items

    def _fault(self, event: yaml.Event, message: str) -> None:
        self.faults.append(Fault(line=_line(event), message=message))


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


def _resolve(text: str) -> str | int | float | bool | None:
    """An unquoted scalar; only decimal numbers count as numbers, dates and `yes` stay text."""
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text
