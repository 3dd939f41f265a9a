"""What `doctor` finds, as a value, and how it shows it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nimctl.cache import Cache, CacheUsage
from nimctl.cache.upkeep import Upkeep
from nimctl.cli.documents import machine_document
from nimctl.cli.facts import (
    Machine,
    describe_engines,
    open_bandwidth_record,
    open_catalog,
    read_machine,
)
from nimctl.cli.hub_login import read_hub_login
from nimctl.cli.known_speeds import find_evidence_path
from nimctl.cli.listing_text import print_system
from nimctl.cli.terminal import bold, print_line, print_wrapped
from nimctl.core.units import format_file_bytes
from nimctl.engines import TRAITS
from nimctl.environments import find_engines
from nimctl.probe import parse_machine, write_snapshot
from nimctl.probe import read_machine as read_raw_machine
from nimctl.settings import SettingLine, Settings, list_settings


@dataclass(frozen=True, kw_only=True, slots=True)
class Advice:
    """Something that is missing, and how to get it."""

    missing: str
    remedy: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Diagnosis:
    """Everything `doctor` shows."""

    machine: Machine
    usage: CacheUsage
    models: int
    settings: tuple[SettingLine, ...]
    advice: tuple[Advice, ...]


def save_snapshot(settings: Settings, path: Path) -> None:
    """Write this machine, with what it was read from and its engines, to a file.

    Raises:
        InputError: the file cannot be written.
    """
    raw = read_raw_machine(open_bandwidth_record(again=True))
    hardware = parse_machine(raw, settings.environment)
    engines = describe_engines(
        find_engines(settings.environment, settings.engines_dir, settings.engine_path)
    )
    write_snapshot(path, hardware, {**raw, "engines": engines})


def diagnose(settings: Settings) -> Diagnosis:
    """Look at everything once."""
    machine = read_machine(settings, None, again=True)
    return Diagnosis(
        machine=machine,
        usage=Upkeep(Cache(settings.cache_dir)).usage(),
        models=len(open_catalog(settings).manifests()),
        settings=list_settings(settings),
        advice=tuple(_advise(machine, settings)),
    )


def _advise(machine: Machine, settings: Settings) -> list[Advice]:
    found = {engine.name for engine in machine.engines}
    advice = []
    for name, traits in TRAITS.items():
        useful = machine.hardware.gpus or "cpu" in traits.devices
        if name not in found and useful:
            advice.append(Advice(missing=f"{traits.title} is missing", remedy=traits.install_hint))
    if machine.hardware.gpus and not settings.hf_token and read_hub_login() is None:
        advice.append(
            Advice(
                missing="no Hugging Face token, so gated models cannot be fetched",
                remedy="set HF_TOKEN, or log in with `hf auth login`",
            )
        )
    return advice


def diagnosis_document(found: Diagnosis) -> dict[str, Any]:
    """The diagnosis as JSON."""
    usage = found.usage
    return machine_document(found.machine) | {
        "cache": {
            "path": str(usage.root),
            "entries": [
                {"uri": str(entry.uri), "path": str(entry.path), "size_bytes": entry.size_bytes}
                for entry in usage.entries
            ],
            "size_bytes": usage.blob_bytes,
            "partial_bytes": usage.partial_bytes,
            "free_bytes": usage.free_bytes,
        },
        "models": found.models,
        "evidence": {
            "path": str(path) if (path := find_evidence_path()) else None,
            "benches": len(found.machine.benches),
        },
        "settings": {
            line.name: {"value": line.value, "origin": line.origin} for line in found.settings
        },
        "missing": [{"what": one.missing, "remedy": one.remedy} for one in found.advice],
    }


def print_diagnosis(found: Diagnosis) -> None:
    """The diagnosis for a person."""
    print_system(found.machine)
    _print_cache(found.usage)
    print_line(bold("CATALOGUE"))
    print_line(f"  {found.models} models; `nimctl list-profiles` shows them\n")
    print_line(bold("EVIDENCE"))
    print_line(f"  {find_evidence_path() or 'no home folder to keep it in'}")
    print_line(f"  benches kept: {len(found.machine.benches)}; `nimctl evidence ls` shows them\n")
    print_line(bold("SETTINGS"))
    name_width = max(len(line.name) for line in found.settings)
    value_width = min(max(len(line.value) for line in found.settings), 40)
    for line in found.settings:
        print_line(f"  {line.name:<{name_width}}  {line.value:<{value_width}}  {line.origin}")
    print_line()
    print_line(bold("MISSING"))
    if not found.advice:
        print_line("  nothing")
    for one in found.advice:
        print_wrapped(f"  {one.missing}: ", one.remedy, indent=len(one.missing) + 4)


def _print_cache(usage: CacheUsage) -> None:
    print_line(bold("CACHE"))
    print_line(f"  {usage.root}")
    kept = f"  {format_file_bytes(usage.blob_bytes)} kept"
    if usage.partial_bytes:
        kept += f", {format_file_bytes(usage.partial_bytes)} of unfinished downloads"
    print_line(f"{kept}, {format_file_bytes(usage.free_bytes)} free on its disk")
    for entry in usage.entries:
        print_line(f"  {format_file_bytes(entry.size_bytes):>10}  {entry.uri}")
    print_line()
