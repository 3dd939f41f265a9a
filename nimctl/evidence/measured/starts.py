"""What earlier starts tell of the next one: how long its phases take, and how much it will hold."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from statistics import median_low

from nimctl.core.hardware import Hardware
from nimctl.core.memory import MemoryBudget
from nimctl.core.memory_check import WHOLE
from nimctl.core.plan import Plan
from nimctl.core.units import format_bytes
from nimctl.core.verdict import Finding, Fit, Selection, Verdict
from nimctl.evidence.measured.records import (
    MemoryRecord,
    StartRecord,
    Subject,
    fingerprint_machine,
    name_device,
)

_NEWEST = 3
"""So many starts tell: the first compiles, and is not like the others."""

_REST_OF_BAND = 0.25
"""The part of a band that is left on each side once a start with another context was measured."""


def expect_phases(starts: Iterable[StartRecord], subject: Subject) -> dict[str, float]:
    """Seconds each phase is expected to take, by its name: the lower median of the newest starts.

    Only starts of this profile on this kind of machine count; those with this version of the
    engine, or where there is none, with others.

    Args:
        starts: The newest first.
        subject: What is about to be started.
    """
    here = [
        start
        for start in starts
        if _what_runs(start.subject) == _what_runs(subject)
        and start.subject.threads == subject.threads
    ]
    same = [one for one in here if one.subject.engine_version == subject.engine_version]
    newest = (same or here)[:_NEWEST]
    phases = {name for start in newest for name in start.phases_s}
    return {
        name: median_low([s.phases_s[name] for s in newest if name in s.phases_s])
        for name in phases
    }


def _what_runs(subject: Subject) -> tuple[str, str, str, str]:
    return subject.profile_id, subject.fingerprint, subject.device, subject.device_name


def use_memory(
    selection: Selection,
    hardware: Hardware,
    versions: Mapping[str, str | None],
    memory: Iterable[MemoryRecord],
    *,
    takes_as_planned: Callable[[Plan], bool],
) -> Selection:
    """The same verdicts with what their engines held here before; what does not fit is no choice.

    Args:
        versions: Of the engines there are, by name.
        memory: The newest first, of any model.
        takes_as_planned: Whether a plan's engine takes what was planned and no more; one that takes
            a share of the device holds more where more is free, and tells nothing of its need.
    """
    fingerprint = fingerprint_machine(hardware)
    held = [
        record
        for record in memory
        if record.part == WHOLE and record.subject.fingerprint == fingerprint
    ]
    if not held:
        return selection
    known = [
        _with_memory(verdict, hardware, versions, held)
        if verdict.plan is not None and takes_as_planned(verdict.plan)
        else verdict
        for verdict in selection.verdicts
    ]
    return replace(selection, verdicts=tuple(sorted(known, key=lambda verdict: verdict.rank)))


def _with_memory(
    verdict: Verdict,
    hardware: Hardware,
    versions: Mapping[str, str | None],
    held: list[MemoryRecord],
) -> Verdict:
    plan = verdict.plan
    if plan is None:
        return verdict
    engine = plan.profile.engine
    mine = [
        record
        for record in held
        if record.subject.profile_id == plan.profile.id
        and record.subject.engine_version == versions.get(engine)
        and (record.subject.device, record.subject.device_name)
        == (plan.device, name_device(plan.gpus, hardware))
        and record.subject.kv_precision == plan.kv_precision
    ]
    if not mine:
        return verdict
    as_planned = [record.actual_bytes for record in mine if _has_room_of(record.subject, plan)]
    if not as_planned:
        return replace(verdict, plan=replace(plan, budget=_calibrate(plan.budget, mine)))
    measured = max(as_planned[:_NEWEST])
    plan = replace(plan, budget=replace(plan.budget, measured=measured))
    if measured <= plan.free_bytes:
        return replace(verdict, plan=plan)
    finding = Finding(
        check="memory-measured",
        fit=Fit.LOW_MEMORY,
        message=f"it held {format_bytes(measured)} when it ran here, and "
        f"{format_bytes(plan.free_bytes)} are free",
        need=format_bytes(measured),
        have=format_bytes(plan.free_bytes),
        hint="free memory, or use a smaller --context-length or --concurrency",
    )
    rank = verdict.rank._replace(fit=max(Fit(verdict.rank.fit), finding.fit))
    return replace(verdict, plan=None, findings=(*verdict.findings, finding), rank=rank)


def _has_room_of(subject: Subject, plan: Plan) -> bool:
    room = (plan.context_length, plan.sequences)
    return (subject.context_length, subject.sequences) == room


def _calibrate(budget: MemoryBudget, held: list[MemoryRecord]) -> MemoryBudget:
    """A narrower band around what the formula says and by how much it was off here."""
    off = [record.actual_bytes - record.predicted_bytes for record in held[:_NEWEST]]
    rest = int((budget.high - budget.low) * _REST_OF_BAND)
    return replace(
        budget,
        low=max(budget.needed + min(off) - rest, budget.weights),
        high=budget.needed + max(off) + rest,
        calibrated_by=len(off),
    )
