"""Reads every layer of settings and lets the strongest speaking one decide each key."""

import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from nimctl.errors import InputError
from nimctl.settings.key import Key
from nimctl.settings.places import user_config_folder
from nimctl.settings.record import Settings
from nimctl.settings.table import KEY_BY_NAME, KEY_BY_VARIABLE, KEY_NAME_BY_TAG, KEYS
from nimctl.settings.values import suggest

PROJECT_FILE = "nimctl.yaml"
USER_FILE = "config.yaml"


def read_settings(
    flags: Mapping[str, object],
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    user_file: Path | None = None,
) -> Settings:
    """Read all layers: flags > environment > project file > user file > defaults.

    Args:
        flags: Values of command-line options by key; None and empty lists mean not given.
        environment: None reads this process's own.
        cwd: Where relative paths and the search for the project file start; None is the current
            folder.
        user_file: None is `config.yaml` in the user's configuration folder.

    Raises:
        InputError: a key nobody knows, a value that cannot be used, a secret in an unsafe file,
            or a file that cannot be read; the message lists the faults of all layers.
    """
    environment = MappingProxyType(dict(os.environ if environment is None else environment))
    cwd = _current_folder() if cwd is None else cwd.absolute()
    project_file = find_project_file(cwd)
    user_file = _default_user_file() if user_file is None else user_file.absolute()
    layers = [_read_flags(flags, cwd), _read_environment(environment, cwd)]
    if project_file is not None:
        layers.append(_read_file(project_file, is_project=True))
    if user_file is not None:
        layers.append(_read_file(user_file, is_project=False))
    _refuse([fault for layer in layers for fault in layer.faults])
    said = {key.name: _strongest(key, layers) for key in KEYS}
    return Settings(
        **{name: value for name, (value, _) in said.items()},
        origins=MappingProxyType({name: origin for name, (_, origin) in said.items()}),
        notes=tuple(note for layer in layers for note in layer.notes),
        files=tuple(layer.file for layer in layers if layer.file is not None),
        environment=environment,
    )


def find_project_file(cwd: Path) -> Path | None:
    """The `nimctl.yaml` of `cwd` or its nearest parent, up to the home folder or the root."""
    last: tuple[Path, ...] = ()
    with suppress(RuntimeError):  # a container's user may have no home folder
        last = (Path.home(), Path.home().resolve())
    for folder in (cwd, *cwd.parents):
        try:
            if (folder / PROJECT_FILE).is_file():
                return folder / PROJECT_FILE
        except PermissionError:  # a folder this user may not look into holds no project of theirs
            pass
        if folder in last:
            break
    return None


def _current_folder() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise InputError("the current folder no longer exists") from None


def _default_user_file() -> Path | None:
    folder = user_config_folder()
    return None if folder is None else folder / USER_FILE


@dataclass(kw_only=True, slots=True)
class _Layer:
    """What one layer says, what is wrong with it, and what of it has no effect."""

    base: Path
    file: Path | None = None
    said: dict[str, tuple[Any, str]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def say(self, key: Key, written: object, origin: str) -> None:
        """Take a value for `key` from `origin`; of two in one layer the first wins."""
        try:
            value = None if _means_none(key, written) else key.convert(written, self.base)
        except ValueError as error:
            names_key = origin == f"flag {key.flag}"
            self.object_to(origin, str(error) if names_key else f"{key.name}: {error}")
            return
        first_value, first_origin = self.said.setdefault(key.name, (value, origin))
        if first_value != value:
            self.notes.append(f"{key.name}: {first_origin} wins over {origin}, which differs")

    def object_to(self, origin: str, fault: str) -> None:
        """Keep a fault; one of a file names the whole path."""
        place = origin if self.file is None else f"{self.base / origin}"
        self.faults.append(f"{place}: {fault}")

    def fill_from_tags(self) -> None:
        """Let NIM's tags speak for the keys that this layer left open."""
        tags, origin = self.said.get("tags_selector", ({}, ""))
        for tag, written in tags.items():
            if tag in KEY_NAME_BY_TAG:
                self.say(KEY_BY_NAME[KEY_NAME_BY_TAG[tag]], written, origin)
            else:
                self.notes.append(f"{origin}: the tag {tag} has no effect in nimctl")


def _means_none(key: Key, written: object) -> bool:
    """Whether YAML's null takes back what a weaker layer says; keys that need a value refuse it."""
    return written is None and key.default is None and key.default_from is None


def _read_flags(flags: Mapping[str, object], cwd: Path) -> _Layer:
    layer = _Layer(base=cwd)
    for name, written in flags.items():
        key = KEY_BY_NAME[name]
        if written not in (None, (), []):
            layer.say(key, written, f"flag {key.flag}")
    layer.fill_from_tags()
    return layer


def _read_environment(environment: Mapping[str, str], cwd: Path) -> _Layer:
    layer = _Layer(base=cwd)
    links = _service_links(environment)
    for variable, key in KEY_BY_VARIABLE.items():
        written = environment.get(variable)
        if written is None:
            continue
        if variable in links:
            layer.notes.append(f"environment {variable} is a Kubernetes service link: ignored")
        elif not written.strip():
            layer.notes.append(f"environment {variable} is empty: ignored")
        else:
            layer.say(key, written, f"environment {variable}")
    layer.fill_from_tags()
    for variable in sorted(environment.keys() - KEY_BY_VARIABLE.keys() - links):
        if variable.startswith("NIMCTL_"):
            layer.object_to(f"environment {variable}", f"no such setting{_nearest(variable)}")
        elif variable.startswith("NIM_"):
            layer.notes.append(f"environment {variable} has no effect in nimctl")
    return layer


def _service_links(environment: Mapping[str, str]) -> set[str]:
    """The variables Kubernetes makes up for each Service of a namespace.

    A Service called `nimctl` puts `NIMCTL_SERVICE_HOST` and `NIMCTL_PORT=tcp://10.0.0.1:8000` into
    every pod (kubernetes.io, "Service", environment variables); nobody meant them as settings.
    """
    suffix = "_SERVICE_HOST"
    services = [name.removesuffix(suffix) for name in environment if name.endswith(suffix)]
    made_up = tuple(f"{service}_{part}_" for service in services for part in ("SERVICE", "PORT"))
    ports = tuple(f"{service}_PORT" for service in services)
    return {
        name
        for name, value in environment.items()
        if name.startswith(made_up) or (name in ports and "://" in value)
    }


def _read_file(file: Path, *, is_project: bool) -> _Layer:
    from nimctl.settings.document import DocumentError, Entry, parse_entries

    layer = _Layer(base=file.parent)
    try:
        content = file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return layer
    except OSError as error:
        layer.faults.append(f"{file}: cannot be read: {error.strerror}")
        return layer
    layer.file = file
    try:
        entries: Sequence[Entry] = parse_entries(content)
    except DocumentError as error:
        layer.object_to(f"{file.name}:{error.line}", str(error))
        return layer
    lines: dict[str, int] = {}
    for entry in entries:
        origin = f"{file.name}:{entry.line}"
        key = KEY_BY_NAME.get(entry.name)
        if key is None:
            layer.object_to(origin, f"{entry.name}: no such setting{_nearest(entry.name)}")
        elif entry.name in lines:
            layer.object_to(origin, f"{entry.name}: already set on line {lines[entry.name]}")
        elif key.secret and (danger := _danger_to_secrets(file, key, is_project=is_project)):
            layer.object_to(origin, f"{entry.name}: {danger}")
        elif key.guides_secret and is_project:
            layer.object_to(
                origin,
                f"{entry.name}: it decides where a token is sent, which a project file may not; "
                f"use the environment variable {key.environment[0]}",
            )
        elif key.lets_code_in and is_project:
            layer.object_to(
                origin,
                f"{entry.name}: it decides whose code is let in, which a project file may not; "
                f"use the environment variable {key.environment[0]}",
            )
        elif key.names_programs and is_project:
            layer.object_to(
                origin,
                f"{entry.name}: it decides which programs run, which a project file may not; "
                f"use the environment variable {key.environment[0]}",
            )
        elif entry.fault is not None:
            layer.object_to(origin, f"{entry.name}: {entry.fault}")
        else:
            layer.say(key, entry.written, origin)
        lines.setdefault(entry.name, entry.line)
    layer.fill_from_tags()
    return layer


def _danger_to_secrets(file: Path, key: Key, *, is_project: bool) -> str | None:
    if is_project:
        return (
            "a secret has no place in a project file, which is often committed; "
            f"use the environment variable {key.environment[0]}"
        )
    if os.name == "posix" and file.stat().st_mode & 0o077:
        return f"other users may read this file; run: chmod 600 {shlex.quote(str(file))}"
    return None


def _nearest(name: str) -> str:
    """A suggestion for a key of a file, or for a variable, that does not exist."""
    if name.startswith("NIMCTL_"):
        known = {key.name.upper(): key.environment[0] for key in KEYS}
        known |= {v.removeprefix("NIMCTL_"): v for v in KEY_BY_VARIABLE if v.startswith("NIMCTL_")}
        return suggest(name.removeprefix("NIMCTL_"), known)
    known = {variable.lower(): key.name for variable, key in KEY_BY_VARIABLE.items()}
    return suggest(name.lower().replace("-", "_"), known | {key.name: key.name for key in KEYS})


def _strongest(key: Key, layers: Iterable[_Layer]) -> tuple[Any, str]:
    for layer in layers:
        if key.name in layer.said:
            return layer.said[key.name]
    return (key.default if key.default_from is None else key.default_from()), "default"


def _refuse(faults: Sequence[str]) -> None:
    if len(faults) == 1:
        raise InputError(faults[0])
    if faults:
        raise InputError("\n  ".join((f"{len(faults)} settings cannot be used:", *faults)))
