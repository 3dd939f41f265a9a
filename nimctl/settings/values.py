"""How what a person wrote for a setting becomes a value: one small function per kind of value.

Each takes what was written (text, a list, a mapping, or the plain value of a flag) and the folder
that relative paths start from, and raises ValueError in words that can follow the key's name.
"""

import math
import os
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

from nimctl.core.engine_address import EngineAddress, parse_engine_url
from nimctl.core.units import parse_bytes

Convert = Callable[[object, Path], object]

LEAST_RATE = 1024
_TRUE = ("1", "true", "yes", "on")
_FALSE = ("0", "false", "no", "off")


class Secret:
    """A token or key that prints as `set` or `not set`; only `reveal` gives it away."""

    __slots__ = ("_value",)

    def __init__(self, value: str | None = None) -> None:
        self._value = value

    def reveal(self) -> str | None:
        """The secret itself, None when not set; for request headers and child environments only."""
        return self._value

    def __bool__(self) -> bool:
        return self._value is not None

    def __repr__(self) -> str:
        return "set" if self else "not set"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)


def text(written: object, _base: Path) -> str:
    """One line of text."""
    return _one(written)


def profile(written: object, _base: Path) -> str | None:
    """A profile's name; NIM's `default`, or nothing, leaves the choice to nimctl."""
    name = str(written).strip()
    return None if name.lower() in ("", "default") else _one(written)


def secret(written: object, _base: Path) -> Secret:
    """A token or key, of printable characters; no fault quotes it."""
    try:
        return Secret(_one(written))
    except ValueError:
        raise ValueError("wants one line of printable text in quotes") from None


def path(written: object, base: Path) -> Path:
    """A file or folder; `~` is the home folder."""
    try:
        return base / Path(_one(written)).expanduser()
    except RuntimeError:
        raise ValueError("starts with ~, and this user has no home folder") from None


def paths(written: object, base: Path) -> tuple[Path, ...]:
    """A list of folders, or text that separates them like PATH does."""
    return tuple(path(item, base) for item in _many(written, os.pathsep))


def names(written: object, _base: Path) -> tuple[str, ...]:
    """A list of names, or text that separates them by commas."""
    return tuple(_one(item) for item in _many(written, ","))


def pairs(written: object, base: Path) -> tuple[tuple[str, Path], ...]:
    """A list of `name=path`, or text that separates them by commas; no name twice."""
    found: dict[str, Path] = {}
    for item in _many(written, ","):
        name, equals, place = item.partition("=")
        if not (name.strip() and equals and place.strip()):
            raise ValueError(f"{item!r} is not NAME=PATH")
        if name.strip() in found:
            raise ValueError(f"the name {name.strip()} is given twice")
        found[name.strip()] = path(place, base)
    return tuple(found.items())


def speculation(written: object, base: Path) -> str:
    """`ngram`, `mtp`, or the place of a draft model."""
    word = _one(written)
    return word if word in ("ngram", "mtp") else str(path(word, base))


def arguments(written: object, _base: Path) -> tuple[str, ...]:
    """A list of command-line arguments, or text to split as a shell does."""
    if isinstance(written, Sequence) and not isinstance(written, str):
        return tuple(str(item) for item in written)
    try:
        return tuple(shlex.split(_one(written)))
    except ValueError as error:
        raise ValueError(f"cannot be split like a shell does: {error}") from None


def tags(written: object, _base: Path) -> Mapping[str, str]:
    """NIM's profile tags, `name=value,name=value`."""
    if isinstance(written, Mapping):
        return MappingProxyType({str(name): _one(value) for name, value in written.items()})
    pairs = {}
    for item in _many(written, ","):
        name, equals, value = item.partition("=")
        if not (name.strip() and equals and value.strip()):
            raise ValueError(f"{item!r} is not name=value")
        pairs[name.strip()] = value.strip()
    return MappingProxyType(pairs)


def truth(written: object, _base: Path) -> bool:
    """1/0, true/false, yes/no, on/off."""
    word = _one(written).lower()
    if word not in _TRUE + _FALSE:
        raise ValueError(f"{_one(written)!r} is neither true nor false")
    return word in _TRUE


def seconds(written: object, _base: Path) -> float:
    """A time in seconds, 0 or more."""
    digits = _one(written)
    try:
        number = float(digits)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number >= 0):
        raise ValueError(f"{digits!r} is not a number of seconds")
    return number


def url(written: object, _base: Path) -> str:
    """The address of a web service, without its last slash; no fault quotes it."""
    address = _one(written).rstrip("/")
    try:
        parts = urlsplit(address)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ValueError("is not an http:// or https:// address")
    if "@" in parts.netloc:
        raise ValueError("must not hold a user name or password")
    return address


def engine_url(written: object, _base: Path) -> EngineAddress:
    """Where an engine listens; no fault quotes it."""
    return parse_engine_url(_one(written))


def rate(written: object, _base: Path) -> int:
    """Bytes a second: `50MB/s`, `1.5 GB`, `800k`, or a plain number of bytes."""
    words = _one(written)
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?(?:/s|ps)?", words.lower(), re.ASCII)
    if found is None:
        raise ValueError(f"{words!r} is not a rate, e.g. 50MB/s")
    step = 1024 if found[3] else 1000
    bytes_per_s = int(float(found[1]) * step ** " kmgt".index(found[2] or " "))
    if bytes_per_s < LEAST_RATE:
        raise ValueError(f"{words!r} is under {LEAST_RATE} bytes a second")
    return bytes_per_s


def size(written: object, _base: Path) -> int:
    """Bytes: `64MiB`, `1.5 GB`, `100m`, or a plain number of them."""
    number = parse_bytes(_one(written))
    if number < 1:
        raise ValueError("is no size of anything")
    return number


def share(written: object, _base: Path) -> float:
    """A part of a whole, above 0 and up to 1; NIM's `..._PERCENT` variables are that too."""
    words = _one(written)
    try:
        number = float(words)
    except ValueError:
        number = 0.0
    if not 0.01 <= number <= 1:
        raise ValueError(f"{words!r} is no share between 0.01 and 1, e.g. 0.85")
    return number


def docker_size(written: object, _base: Path) -> str:
    """A size in the words of docker and podman: `16g` is 16 GiB, a plain number is bytes."""
    words = _one(written).lower()
    if not re.fullmatch(r"[1-9]\d*(b|[kmgt]i?b?)?", words, re.ASCII):
        raise ValueError(f"{words!r} is not a size, e.g. 16g or 512m")
    return words.replace("ib", "b")


def mirrors(written: object, _base: Path) -> tuple[str, ...]:
    """A list of `PREFIX=ADDRESS` or `ADDRESS`, or text that separates them by commas."""
    found = tuple(_one(item) for item in _many(written, ","))
    for item in found:
        prefix, equals, address = item.rpartition("=")
        if "://" not in address or (equals and "://" not in prefix):
            raise ValueError(f"{item!r} is not ADDRESS or PREFIX=ADDRESS, e.g. hf://=https://host")
        if "@" in urlsplit(address).netloc:
            raise ValueError("must not hold a user name or password")
    return found


def whole_number(least: int, most: int | None = None) -> Convert:
    """A converter to whole numbers of a range, both ends included."""
    allowed = f"of {least} or more" if most is None else f"from {least} to {most}"

    def convert(written: object, _base: Path) -> int:
        digits = _one(written)
        number = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 20 else -1
        if number < least or (most is not None and number > most):
            raise ValueError(f"{digits!r} is not a whole number {allowed}")
        return number

    return convert


def choice(*known: str, aliases: Mapping[str, str] = MappingProxyType({})) -> Convert:
    """A converter to one of the known lower-case words; `aliases` maps other spellings to them."""
    words = {**{word: word for word in known}, **aliases}

    def convert(written: object, _base: Path) -> str:
        word = _one(written)
        if word.lower() not in words:
            raise ValueError(
                f"{word!r} is not one of {', '.join(known)}{suggest(word.lower(), words)}"
            )
        return words[word.lower()]

    return convert


def suggest(word: str, known: Mapping[str, str]) -> str:
    """`; did you mean ...?` with what the nearest known spelling stands for, or nothing."""
    from difflib import get_close_matches

    nearest = get_close_matches(word, known, n=1)
    return f"; did you mean {known[nearest[0]]}?" if nearest else ""


def _one(written: object) -> str:
    if written is None or (
        isinstance(written, Sequence | Mapping) and not isinstance(written, str)
    ):
        raise ValueError("wants one value")
    value = str(written).strip()
    if not value:
        raise ValueError("is empty")
    if not value.isprintable():
        raise ValueError("holds a line break or another control character")
    return value


def _many(written: object, separator: str) -> tuple[str, ...]:
    if isinstance(written, Sequence) and not isinstance(written, str):
        return tuple(str(item) for item in written)
    return tuple(part.strip() for part in _one(written).split(separator) if part.strip())
