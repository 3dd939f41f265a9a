"""What may not be removed because somebody said so."""

import json
import os
import platform
import pwd
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from nimctl.cache.layout import Layout, read_text, walk_files


@dataclass(frozen=True, kw_only=True, slots=True)
class Pin:
    """Who said so, and when, in seconds since 1970."""

    by: str
    at_s: float


def write_pin(layout: Layout, key: str) -> None:
    """Keep an entry from being removed.

    Raises:
        OSError: the cache may not be written.
    """
    pin = Pin(by=f"{_name_user()} on {platform.node()}", at_s=round(time.time(), 3))
    layout.write_text(layout.pins / f"{key}.json", json.dumps(asdict(pin)) + "\n")


def delete_pin(layout: Layout, key: str) -> None:
    """Let an entry be removed again.

    Raises:
        OSError: the cache may not be written.
    """
    path = layout.pins / f"{key}.json"
    if layout.holds(path):
        path.unlink(missing_ok=True)


def read_pins(layout: Layout) -> Mapping[str, Pin]:
    """The pins by the key of their entry; one that cannot be read holds all the same."""
    pins = {}
    for path in walk_files(layout.pins):
        if path.suffix == ".json":
            key = str(path.relative_to(layout.pins)).removesuffix(".json")
            pins[key] = _parse_pin(read_text(path))
    return pins


def _parse_pin(text: str | None) -> Pin:
    try:
        return Pin(**json.loads(text or ""))
    except (ValueError, TypeError):
        return Pin(by="somebody", at_s=0.0)


def _name_user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"user {os.geteuid()}"
