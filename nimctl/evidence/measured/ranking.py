"""A selection ranked by what was measured: its own figures first, then what they tell of others."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from nimctl.core.hardware import Hardware
from nimctl.core.manifest import Manifest
from nimctl.core.names import Goal
from nimctl.core.plan import Plan
from nimctl.core.roofline import FULL_EFFICIENCY, calibrate_device, estimate_speed
from nimctl.core.speed import (
    MEASURING_TERMS,
    SpeedFigure,
    Traffic,
    fit_lengths,
    rank_speed,
    speaks_for,
    traffic_for,
)
from nimctl.core.verdict import Selection, Verdict
from nimctl.core.wish import profile_goal
from nimctl.evidence.measured.records import BenchRecord, fingerprint_machine, name_device


@dataclass(frozen=True, kw_only=True, slots=True)
class _Known:
    """What was measured of one model, and the machine and engines that it is asked for.

    Attributes:
        benches: The newest first.
        versions: Of the engines there are, by name.
    """

    manifest: Manifest
    hardware: Hardware
    fingerprint: str
    versions: Mapping[str, str | None]
    benches: tuple[BenchRecord, ...]


def rank_measured(
    selection: Selection,
    manifest: Manifest,
    hardware: Hardware,
    versions: Mapping[str, str | None],
    benches: Iterable[BenchRecord],
) -> Selection:
    """The same verdicts with measured speeds where there are any, ranked again.

    A bench counts for a profile on the same kind of device, under traffic that speaks for the goal
    (`MEASURING_TERMS`) and with the same key/value precision. On a machine with another
    fingerprint it was measured elsewhere; with another engine version it counts after those with
    this one, and says so. Where a speed is not known at all, the rates that the device reached
    with another profile of the model give a roofline; a CPU's, also where its memory's bandwidth
    gave one.

    Args:
        versions: Of the engines there are, by name.
        benches: The newest first, of any model.
    """
    of_model = {profile.id for profile in manifest.profiles}
    telling = tuple(bench for bench in benches if bench.subject.profile_id in of_model)
    if not telling:
        return selection
    known = _Known(
        manifest=manifest,
        hardware=hardware,
        fingerprint=fingerprint_machine(hardware),
        versions=versions,
        benches=telling,
    )
    goal = profile_goal(selection.wish)
    measured = [_with_measured(verdict, known, goal) for verdict in selection.verdicts]
    asked = _choose_traffic(measured, goal)
    ranked = [_with_estimate(verdict, known, goal, asked) for verdict in measured]
    return replace(selection, verdicts=tuple(sorted(ranked, key=lambda verdict: verdict.rank)))


def _with_measured(verdict: Verdict, known: _Known, goal: Goal) -> Verdict:
    plan = verdict.plan
    figure = _find_figure(plan, known, goal) if plan else None
    return _with_speed(verdict, figure, goal) if figure else verdict


def _find_figure(plan: Plan, known: _Known, goal: Goal) -> SpeedFigure | None:
    """The figure of the bench that tells most about a plan."""
    fitting = [
        bench
        for bench in known.benches
        if bench.subject.profile_id == plan.profile.id
        and bench.subject.kv_precision == plan.kv_precision
        and _is_on_device(bench, plan, known)
        and speaks_for(bench.traffic, plan.device, goal)
    ]
    if not fitting:
        return None
    near = min(_distance(bench, known) for bench in fitting)
    nearest = [bench for bench in fitting if _distance(bench, known) == near]
    newest = {bench.concurrency: bench for bench in reversed(nearest)}
    best = max(newest.values(), key=lambda bench: bench.tokens_per_second)
    return _to_figure(best, known)


def _is_on_device(bench: BenchRecord, plan: Plan, known: _Known) -> bool:
    subject = bench.subject
    same = (subject.device, subject.device_name) == (
        plan.device,
        name_device(plan.gpus, known.hardware),
    )
    return same and (plan.device == "gpu" or subject.threads == plan.threads)


def _distance(bench: BenchRecord, known: _Known) -> tuple[bool, bool]:
    """How far a bench is from this machine and these engines; nearer is less."""
    subject = bench.subject
    return (
        subject.fingerprint != known.fingerprint,
        subject.engine_version != known.versions.get(subject.engine),
    )


def _to_figure(bench: BenchRecord, known: _Known) -> SpeedFigure:
    elsewhere, other_version = _distance(bench, known)
    figure = bench.to_figure("measured elsewhere" if elsewhere else "measured here")
    if not other_version:
        return figure
    subject, now = bench.subject, known.versions.get(bench.subject.engine)
    was = subject.engine_version or "an unknown version"
    return replace(figure, caveat=f"with {subject.engine} {was}, now {now or 'an unknown version'}")


def _with_speed(verdict: Verdict, figure: SpeedFigure, goal: Goal) -> Verdict:
    """The verdict with another speed; throughput counts by GPU, as the judge counts it."""
    compared = fit_lengths(figure, traffic_for(goal))
    if goal == "throughput" and compared.tokens_per_second is not None:
        rate = compared.tokens_per_second / verdict.profile.gpu_count
        compared = replace(compared, tokens_per_second=rate)
    rank = verdict.rank._replace(speed=rank_speed(compared, goal))
    return replace(verdict, speed=figure, rank=rank)


def _choose_traffic(verdicts: list[Verdict], goal: Goal) -> Traffic | None:
    """The traffic to estimate the rest for: that of what was measured, so that they compare."""
    measured = (v.speed.traffic for v in verdicts if v.speed.origin.startswith("measured"))
    return next(measured, None) if goal == "throughput" else traffic_for(goal)


def _with_estimate(verdict: Verdict, known: _Known, goal: Goal, asked: Traffic | None) -> Verdict:
    """A verdict of unknown speed with a roofline of the rates that its device has reached."""
    plan, origin = verdict.plan, verdict.speed.origin
    if plan is None or plan.profile.gpu_count > 1:
        return verdict
    if origin != "unknown" and (plan.device, origin) != ("cpu", "roofline"):
        return verdict
    least = MEASURING_TERMS[plan.device, goal].least_concurrency
    traffic = asked or replace(traffic_for(goal), concurrency=least)
    weights = {p.id: p.artifact.weight_bytes for p in known.manifest.profiles}
    alone = [
        bench
        for bench in known.benches
        if bench.concurrency == 1 and _is_on_device(bench, plan, known)
    ]
    alone.sort(key=lambda bench: bench.subject.engine != plan.profile.engine)
    for bench in alone:
        device = calibrate_device(
            _to_figure(bench, known),
            known.manifest.shape,
            weight_bytes=weights[bench.subject.profile_id],
            name=f"{bench.subject.device_name} as measured with {bench.subject.profile}",
        )
        if device is not None:
            figure = estimate_speed(
                known.manifest.shape,
                weight_bytes=plan.profile.artifact.weight_bytes,
                device=device,
                efficiency=FULL_EFFICIENCY,
                traffic=traffic,
            )
            return _with_speed(verdict, figure, goal)
    return verdict
