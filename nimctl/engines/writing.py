"""What every engine does with a site: its options in the engine's words, and one command line."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePath

from nimctl.core.engine import EngineTraits
from nimctl.core.engine_options import (
    EngineOptions,
    RefusedOptionError,
    as_arguments,
    write_option,
)
from nimctl.core.launch_arguments import DEFAULT, PLAN, Argument, Spelling, compose, tell_origin
from nimctl.core.plan import Launch, Plan, Site
from nimctl.core.startup import LogSigns
from nimctl.core.symptom import Symptom
from nimctl.engines.model_families import choose_parsers
from nimctl.errors import InputError

_NO_SIGNS = LogSigns()


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenOptions:
    """All options of a site in an engine's words.

    Attributes:
        arguments: For its command line.
        entries: For its options file: `(key, value)` as words, the value in JSON.
        env: Variables.
    """

    arguments: tuple[Argument, ...] = ()
    entries: tuple[Argument, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)


def planned(name: str, *values: object, setting: str | None = None) -> Argument:
    """An option that the judge decided, or the setting that told him to."""
    return Argument(words=(name, *map(str, values)), origin=PLAN, setting=setting)


def always(name: str, *values: object, setting: str | None = None) -> Argument:
    """An option that nimctl always writes, unless a setting says otherwise."""
    return Argument(words=(name, *map(str, values)), origin=DEFAULT, setting=setting)


def offline_environment(*silenced: str) -> dict[str, str]:
    """The variables that keep an engine off the network; `silenced` are its own."""
    return dict.fromkeys(("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", *silenced, "DO_NOT_TRACK"), "1")


def listen(site: Site) -> tuple[Argument, ...]:
    """Where the engine shall listen, as vLLM's family of servers takes it."""
    if site.address.uds:
        return (always("--uds", site.address.uds),)
    return (always("--host", site.address.host), always("--port", site.address.port))


def write_options(traits: EngineTraits, plan: Plan, site: Site) -> WrittenOptions:
    """What was asked of the engine, and the parsers its model's family wants.

    Raises:
        InputError: the engine cannot honour an option.
    """
    options, family = _add_parsers(traits, plan, site)
    arguments: list[Argument] = []
    entries: list[Argument] = []
    env: dict[str, str] = {}
    for name, _ in options.list_asked():
        try:
            written = write_option(traits.options, traits.title, site.version, name, options)
        except RefusedOptionError as error:
            raise InputError(str(error), hint="leave it out, or use another --engine") from error
        origin = family if name in ("tool_parser", "reasoning_parser") else PLAN
        arguments += as_arguments(written, name, origin)
        entries += (enter(key, value, origin, name) for key, value in written.entries.items())
        env |= written.env
    return WrittenOptions(arguments=tuple(arguments), entries=tuple(entries), env=env)


def _add_parsers(traits: EngineTraits, plan: Plan, site: Site) -> tuple[EngineOptions, str]:
    """The options with what nobody asked for and the family of the model needs; and its name."""
    options = site.options
    found = choose_parsers(traits.name, site.version, plan.model, plan.architecture)
    if found is None:
        return options, PLAN
    completed = replace(
        options,
        tool_parser=options.tool_parser or found.tools,
        reasoning_parser=options.reasoning_parser or found.reasoning,
    )
    return completed, f"model family {found.family}"


def enter(key: str, value: object, origin: str = DEFAULT, setting: str | None = None) -> Argument:
    """A key of an options file, with dots between levels, and its value."""
    return Argument(words=(key, json.dumps(value)), origin=origin, setting=setting)


def nest(entries: Iterable[Argument]) -> dict[str, object]:
    """Entries as the document an options file holds."""
    document: dict[str, object] = {}
    for entry in entries:
        *outer, last = entry.words[0].split(".")
        node = document
        for key in outer:
            inner = node.setdefault(key, {})
            if not isinstance(inner, dict):
                raise AssertionError(f"{entry.words[0]} lies in a value")
            node = inner
        node[last] = json.loads(entry.words[1])
    return document


def make_launch(
    site: Site,
    arguments: Iterable[Argument],
    *,
    spelling: Spelling,
    symptoms: tuple[Symptom, ...],
    signs: LogSigns = _NO_SIGNS,
    env: Mapping[str, str],
    ready_path: str = "/health",
    options_file: PurePath | None = None,
    entries: Iterable[Argument] = (),
) -> Launch:
    """The process of a site's program with these arguments and then the user's own."""
    composed = compose(arguments, site.native, origins=site.origins, spelling=spelling)
    last = {entry.words[0]: tell_origin(entry, site.origins) for entry in entries}
    told = tuple(last.values())
    # JSON is YAML, so no YAML writer is needed.
    files = {} if options_file is None else {options_file: json.dumps(nest(told), indent=2) + "\n"}
    return Launch(
        argv=(*site.program, *composed.words),
        address=site.address,
        ready_path=ready_path,
        env=env,
        files=files,
        symptoms=symptoms,
        signs=signs,
        arguments=composed.arguments,
        overridden=composed.overridden,
        entries=told,
    )
