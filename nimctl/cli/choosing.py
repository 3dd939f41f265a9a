"""A choice made: the profile, what decided, and the process that would run it."""

import shlex
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nimctl.cache import Cache
from nimctl.cli.adapters import find_adapters
from nimctl.cli.containing import contain_launch, keep_image_profiles
from nimctl.cli.documents import selection_document
from nimctl.cli.facts import Machine, judge
from nimctl.cli.known_starts import recall_concessions
from nimctl.cli.launch_text import launch_document, print_arguments, print_overridden
from nimctl.cli.launching import choose_served_names, make_launch, make_state_dir
from nimctl.cli.left_out import count_left_out
from nimctl.cli.listing_text import ID_DIGITS, print_budget
from nimctl.cli.missing_engine import MissingEngine, find_missing_engine
from nimctl.cli.terminal import bold, drop_unknown, print_line, print_wrapped
from nimctl.cli.weights import describe_files, find_weights_dir
from nimctl.core.compile_cache import list_cache_variables, name_compile_cache
from nimctl.core.engine import InstalledEngine
from nimctl.core.hardware import Hardware
from nimctl.core.healing import (
    Concession,
    Concessions,
    compare_plans,
    hold_back,
    limit_wish,
    pass_over,
)
from nimctl.core.manifest import Manifest
from nimctl.core.plan import Launch, Plan
from nimctl.core.selection import require_choice
from nimctl.core.speed import format_speed
from nimctl.core.units import format_count
from nimctl.core.verdict import Selection, Verdict, explain_first
from nimctl.core.wish import Wish
from nimctl.engines import TRAITS
from nimctl.errors import NothingFitsError
from nimctl.settings import Settings


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """The profile that runs, and everything known about it before its files are fetched.

    Attributes:
        hardware: The machine it was chosen for.
        given_up: What profiles do without, as they did not start otherwise.
        learned: One sentence for each thing that earlier starts changed.
        missing: An engine that is not here and would run a better one.
    """

    manifest: Manifest
    selection: Selection
    verdict: Verdict
    plan: Plan
    installed: InstalledEngine
    settings: Settings
    hardware: Hardware
    given_up: Concessions = field(default_factory=dict)
    learned: tuple[str, ...] = ()
    missing: MissingEngine | None = None


def choose(
    manifest: Manifest,
    machine: Machine,
    settings: Settings,
    wish: Wish,
    given_up: Concessions | None = None,
) -> Choice:
    """The one profile that would run.

    Args:
        given_up: What profiles do without; None for what earlier starts taught, if the settings
            want to know of it.

    Raises:
        NothingFitsError: none can.
    """
    manifest = keep_image_profiles(manifest, settings)
    selection = judge(manifest, machine, wish, settings)
    known = _recall(selection, machine, settings) if given_up is None else given_up
    selection = pass_over(selection, known)
    missing = find_missing_engine(manifest, machine, wish, settings, selection)
    try:
        verdict = require_choice(selection)
    except NothingFitsError as error:
        install = (
            f"`{missing.command}` brings an engine that can; `serve --install` does too"
            if missing
            else error.hint
        )
        raise NothingFitsError(error.message + count_left_out(manifest), hint=install) from error
    if verdict.plan is None:
        raise AssertionError("a chosen verdict has a plan")
    concession = known.get(verdict.profile.id, Concession())
    plan = _concede(verdict.plan, concession, manifest, machine, settings, wish)
    conceded = replace(verdict, plan=plan)
    verdicts = (conceded, *(one for one in selection.verdicts if one is not verdict))
    engine = verdict.profile.engine
    find_adapters(settings, TRAITS[engine])  # those that cannot be loaded are told before a fetch
    return Choice(
        manifest=manifest,
        selection=replace(selection, verdicts=verdicts),
        verdict=conceded,
        plan=plan,
        installed=next(found for found in machine.engines if found.name == engine),
        settings=settings,
        hardware=machine.hardware,
        given_up=known,
        learned=() if given_up is not None else _tell_learned(selection, known, verdict.plan, plan),
        missing=missing,
    )


def _recall(selection: Selection, machine: Machine, settings: Settings) -> Concessions:
    if not settings.heal or machine.source is not None:
        return {}
    return recall_concessions(selection, machine.hardware, machine.engines)


def _concede(
    plan: Plan,
    concession: Concession,
    manifest: Manifest,
    machine: Machine,
    settings: Settings,
    wish: Wish,
) -> Plan:
    """The plan of the same profile that does without; the same plan where that leads nowhere."""
    if not concession.gives_up_something:
        return plan
    smaller = replace(machine, hardware=hold_back(machine.hardware, concession.spare_bytes))
    limited = limit_wish(wish, plan, concession)
    chosen = judge(manifest, smaller, limited, settings).chosen
    found = plan if chosen is None or chosen.plan is None else chosen.plan
    return replace(found, eager=concession.eager)


def _tell_learned(
    selection: Selection, known: Concessions, plan: Plan, conceded: Plan
) -> tuple[str, ...]:
    """One sentence for each thing that is other than it would be without earlier starts."""
    told = [
        f"{verdict.profile.description} is passed over, because {known[verdict.profile.id].cause}"
        for verdict in selection.verdicts
        if any(finding.check == "start-failed" for finding in verdict.findings)
        and len(verdict.findings) == 1
    ]
    differences = compare_plans(plan, conceded)
    if differences:
        changes = ", ".join(map(str, differences))
        told.append(f"{changes}, because {known[plan.profile.id].cause}")
    return tuple(told)


def preview_launch(choice: Choice, engine_args: tuple[str, ...] = ()) -> Launch:
    """The process as `serve` would start it, without fetching or keeping anything."""
    state_dir = make_state_dir(choice.settings.environment)
    state_dir.rmdir()
    return launch_of(
        choice,
        find_weights_dir(choice.verdict.profile.artifact, choice.settings),
        state_dir,
        engine_args,
        compiled_dir=find_compiled_dir(choice),
    )


def find_compiled_dir(choice: Choice) -> Path | None:
    """Where the engine of a choice keeps what it compiles; None where it compiles nothing."""
    traits = TRAITS[choice.installed.name]
    name = name_compile_cache(traits, choice.installed, choice.plan, choice.hardware.host)
    return None if name is None else Cache(choice.settings.cache_dir).compiled_path(name)


def launch_of(
    choice: Choice,
    weights_dir: Path,
    state_dir: Path,
    engine_args: tuple[str, ...],
    *,
    compiled_dir: Path | None = None,
) -> Launch:
    """The process for a choice whose files are in `weights_dir`.

    Args:
        compiled_dir: Where it keeps what it compiles, unless the user's own variables say.
    """
    launch = make_launch(
        choice.plan,
        choice.installed,
        weights_dir=weights_dir,
        state_dir=state_dir,
        served_names=choose_served_names(choice.settings, choice.manifest),
        settings=choice.settings,
        engine_args=engine_args,
    )
    if compiled_dir is not None:
        variables = list_cache_variables(
            TRAITS[choice.installed.name], choice.plan, compiled_dir, choice.settings.environment
        )
        launch = replace(launch, env={**launch.env, **variables})
    return contain_launch(
        launch,
        choice.plan,
        choice.settings,
        state_dir=state_dir,
        read_only=(weights_dir, *_list_adapter_folders(choice)),
        writable=() if compiled_dir is None else (compiled_dir,),
    )


def _list_adapter_folders(choice: Choice) -> tuple[Path, ...]:
    adapters = find_adapters(choice.settings, TRAITS[choice.installed.name])
    return tuple(Path(one.path) for one in adapters)


def explain_choice(selection: Selection) -> str:
    """What decided between the chosen profile and the next one."""
    decision, second = explain_first(selection), selection.runner_up
    if decision is None:
        return "no profile can run here as asked"
    return (
        f"before {second.profile.description}: {decision.sentence}" if second else decision.sentence
    )


def _describe_passed_over(choice: Choice) -> tuple[tuple[str, str], ...]:
    """Profiles that would run if their files could be brought, or their engine were here."""
    rows = []
    better = choice.selection.passed_over
    if better is not None:
        reason = "; ".join(f"{finding.message}: {finding.hint}" for finding in better.findings)
        rows.append(("better", f"{better.profile.description}, but {reason}"))
    if choice.missing is not None:
        rows.append(("better", describe_missing(choice.missing)))
    return tuple(rows)


def describe_missing(missing: MissingEngine) -> str:
    """A better profile, and the command that brings its engine."""
    profile = missing.verdict.profile.description
    return f"{profile}, but {missing.recipe.title} is not installed: {missing.command}"


def choice_document(choice: Choice, engine_args: tuple[str, ...] = ()) -> dict[str, Any]:
    """A choice as JSON."""
    launch = preview_launch(choice, engine_args)
    return selection_document(choice.selection) | {
        "reason": explain_choice(choice.selection),
        "learned": list(choice.learned),
        "missing_engine": _missing_document(choice.missing),
        "engine": drop_unknown(
            {
                "name": choice.installed.name,
                "version": choice.installed.version,
                "origin": choice.installed.origin,
            }
        ),
        "command": list(launch.argv),
        "environment": dict(launch.env),
        **launch_document(launch),
    }


def _missing_document(missing: MissingEngine | None) -> dict[str, str] | None:
    if missing is None:
        return None
    return {
        "name": missing.recipe.engine,
        "profile_id": missing.verdict.profile.id,
        "command": missing.command,
    }


def print_choice(
    choice: Choice, engine_args: tuple[str, ...] = (), *, with_origins: bool = False
) -> None:
    """A choice for a person: profile, reason, memory, command; and who set each argument of it."""
    profile, plan = choice.verdict.profile, choice.plan
    print_line(f"{bold(profile.description)}  ({profile.id[:ID_DIGITS]})")
    gpus = ", ".join(f"({gpu.index}) {gpu.name}" for gpu in plan.gpus)
    size = f"{format_count(plan.context_length)} tokens"
    if plan.sequences > 1:
        size += f", {plan.sequences} sequences at once"
    rows = (
        ("model", choice.manifest.model),
        ("engine", f"{choice.installed.name} {choice.installed.version or ''}".strip()),
        ("runs on", gpus or f"CPU, {plan.threads} thread{'s' if plan.threads > 1 else ''}"),
        ("context", size),
        ("files", describe_files(profile.artifact, choice.settings)),
        ("speed", format_speed(choice.verdict.speed)),
        ("why", explain_choice(choice.selection)),
    )
    learned = tuple(("learned", sentence) for sentence in choice.learned)
    for label, text in (*rows, *_describe_passed_over(choice), *learned):
        print_wrapped(f"  {label}", text, indent=12)
    print_line()
    print_budget(plan)
    print_line()
    launch = preview_launch(choice, engine_args)
    print_line(bold("Command"))
    for name, value in launch.env.items():
        print_line(f"  {name}={shlex.quote(value)} \\")
    print_line(f"  {shlex.join(launch.argv)}")
    print_overridden(launch)
    if with_origins:
        print_arguments(launch)
