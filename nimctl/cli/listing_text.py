"""Profiles in NIM's groups, and the catalogue, as a person reads them."""

from math import ceil

from nimctl.cli.facts import Machine
from nimctl.cli.machine_text import render_machine
from nimctl.cli.terminal import bold, dim, print_cut, print_line, print_wrapped
from nimctl.core.manifest import Manifest
from nimctl.core.memory import MemoryBudget
from nimctl.core.plan import Plan
from nimctl.core.selection import find_nearest
from nimctl.core.speed import format_speed
from nimctl.core.units import GIB, format_bytes, format_count
from nimctl.core.verdict import Finding, Fit, Rank, Selection, Verdict, decided_by

ID_DIGITS = 12
"""How much of an id is shown; any unique beginning of an id is accepted."""

_GROUPS = (Fit.RUNNABLE, Fit.OUT_OF_REACH, Fit.LOW_MEMORY, Fit.INCOMPATIBLE)


def print_system(machine: Machine) -> None:
    """The machine, as the head of a listing."""
    source = f" (from {machine.source})" if machine.source else ""
    print_line(bold(f"SYSTEM INFO{source}"))
    for label, text in render_machine(machine):
        print_wrapped(f"  {label}", text, indent=11)
    for note in machine.hardware.notes:
        print_wrapped("  Note", note, indent=11)
    print_line()


def print_groups(manifest: Manifest, selection: Selection) -> None:
    """Every profile in NIM's three groups and the one of files out of reach, with its reason."""
    print_line(bold(f"MODEL PROFILES of {manifest.model}"))
    print_wrapped("", _describe_model(manifest), indent=2)
    listed = [v for v in selection.verdicts if not _is_narrowed_out(v)]
    width = max((len(v.profile.description) for v in listed), default=0)
    for fit in _GROUPS:
        group = [v for v in listed if v.fit_on_machine is fit]
        if fit is Fit.OUT_OF_REACH and not group:
            continue  # NIM's listing has no such group
        plain = [v for v in group if not _waits_for_lora(v)]
        with_lora = [v for v in group if _waits_for_lora(v)]
        print_line(f"- {fit.title}:" + ("" if group else " <None>"))
        for verdict in plain:
            _print_verdict(verdict, selection, width, indent=2)
        if with_lora:
            print_line("  - With LoRA support (asked for with --lora DIR):")
        for verdict in with_lora:
            _print_verdict(verdict, selection, width - 2, indent=4)
    hidden = len(selection.verdicts) - len(listed)
    if hidden:
        print_line(dim(f"({hidden} more profiles are not what was asked for)"))


def _describe_model(manifest: Manifest) -> str:
    shape = manifest.shape
    parts = [
        f"{manifest.kind} model" if manifest.kind != "chat" else "",
        f"{format_parameters(shape.parameters)} parameters",
        f"context {format_count(shape.max_context_length)}",
        f"licence {manifest.licence}",
        "gated: needs a login and an accepted licence" if manifest.gated else "",
    ]
    return ", ".join(part for part in parts if part)


def format_parameters(count: int) -> str:
    """A number of weights as people name models: `8.0 B`, `135 M`, `1.0 T`."""
    if count >= 1e12:
        return f"{count / 1e12:.1f} T"
    return f"{count / 1e9:.1f} B" if count >= 0.9995e9 else f"{count / 1e6:.0f} M"


def _is_narrowed_out(verdict: Verdict) -> bool:
    return any(f.fit is Fit.EXCLUDED and not _is_about_lora(f) for f in verdict.findings)


def _waits_for_lora(verdict: Verdict) -> bool:
    return any(_is_about_lora(finding) for finding in verdict.findings)


def _is_about_lora(finding: Finding) -> bool:
    return finding.check == "lora-unasked"


def _print_verdict(verdict: Verdict, selection: Selection, width: int, *, indent: int) -> None:
    mark = "*" if verdict is selection.chosen else "-"
    profile = verdict.profile
    head = f"{mark} {profile.id[:ID_DIGITS]}  {profile.description:<{width}}  "
    parts = [describe_size(verdict.plan)] if verdict.plan else []
    for finding in verdict.findings:
        if not _is_about_lora(finding):
            in_the_way = finding.fit is verdict.fit_on_machine
            parts.append(_describe_finding(finding) if in_the_way else finding.message)
    print_wrapped(" " * indent + head, "; ".join(parts), indent=indent + len(head))


def describe_size(plan: Plan) -> str:
    """What a plan takes and gives: `[requires >=18 GB/gpu] 131,072 tokens`."""
    per = "/gpu" if plan.device == "gpu" else ""
    times = f"{plan.sequences} x " if plan.sequences > 1 else ""
    return (
        f"[requires >={ceil(plan.budget.needed / GIB)} GB{per}] "
        f"{times}{format_count(plan.context_length)} tokens"
    )


def _describe_finding(finding: Finding) -> str:
    if finding.hint is None or finding.check == "engine":
        return finding.message
    return f"{finding.message}: {finding.hint}"


def print_explanation(selection: Selection) -> None:
    """Every profile, best first, with all its objections, its rank, and what set it behind."""
    print_line(bold(f"EVERY PROFILE of {selection.model}, best first"))
    before: Verdict | None = None
    for place, verdict in enumerate(selection.verdicts, start=1):
        profile = verdict.profile
        print_line(f"{place:>3}. {profile.description}  {profile.id[:ID_DIGITS]}")
        print_line(f"     {verdict.fit.title.lower()}")
        if verdict.plan:
            print_wrapped("     size", describe_size(verdict.plan), indent=14)
            print_wrapped("     speed", format_speed(verdict.speed), indent=14)
        for finding in verdict.findings:
            print_wrapped(f"     {finding.check}", _describe_finding(finding), indent=24)
        rank = ", ".join(f"{k} {v}" for k, v in verdict.rank._asdict().items() if k in _COUNTED)
        print_wrapped("     rank", rank, indent=14)
        if before is not None:
            decision = decided_by(before, verdict)
            print_wrapped("     behind", f"{decision.field}: {decision.sentence}", indent=14)
        before = verdict
    print_line()


_COUNTED = tuple(name for name in Rank._fields if name not in ("fit", "description"))


def print_catalogue(models: tuple[tuple[Manifest, Selection], ...]) -> None:
    """One line a model: its size, and its best profile here or what is in the way."""
    width = max((len(manifest.model) for manifest, _ in models), default=5)
    print_line(bold(f"{'MODEL':<{width}}  {'SIZE':>7}  BEST PROFILE HERE"))
    for manifest, selection in models:
        size = format_parameters(manifest.shape.parameters)
        print_cut(f"{manifest.model:<{width}}  {size:>7}  {_describe_best(selection)}")
    print_line()
    print_line("nimctl list-profiles MODEL shows every profile and its reason.")


def _describe_best(selection: Selection) -> str:
    chosen = selection.chosen
    if chosen is not None and chosen.plan is not None:
        return f"{chosen.profile.description:<24} {describe_size(chosen.plan)}"
    nearest = find_nearest(selection)
    if nearest is None or not nearest.findings:
        return "none"
    worst = max(nearest.findings, key=lambda finding: finding.fit)
    return f"none: {worst.message}"


def _describe_band(budget: MemoryBudget) -> str:
    """Between what the need may lie, and what was measured of it."""
    low, high = map(format_bytes, (budget.low, budget.high))
    if budget.measured is not None:
        return f"measured here: {format_bytes(budget.measured)}, predicted {low} to {high}"
    by = ", by what it held here with another context" if budget.calibrated_by else ""
    return f"between {low} and {high}{by}"


def print_budget(plan: Plan) -> None:
    """The memory a plan takes on each device, part by part."""
    budget = plan.budget
    where = "each GPU" if len(plan.gpus) > 1 else "the GPU" if plan.gpus else "this machine"
    print_line(bold(f"Memory of {where}"))
    parts = (
        ("weights", budget.weights),
        ("KV cache", budget.kv_cache),
        ("activations", budget.activations),
        ("CUDA graphs", budget.graphs),
        ("communication", budget.communication),
        ("process", budget.context),
        ("LoRA", budget.lora),
    )
    for label, size_bytes in parts:
        if size_bytes:
            print_line(f"  {label:<14}{format_bytes(size_bytes):>10}")
    print_line(f"  {'needed':<14}{format_bytes(budget.needed):>10}  ({_describe_band(budget)})")
    print_line(
        f"  {'free':<14}{format_bytes(plan.free_bytes):>10}"
        f"  ({format_bytes(budget.margin)} of it is left alone)"
    )
