"""The judge: every profile of a model against one machine and one wish, ranked."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cache

from nimctl.core.case import Case
from nimctl.core.checks import CHECKS
from nimctl.core.engine import EngineTraits, InstalledEngine
from nimctl.core.gpu_table import find_gpu_model
from nimctl.core.hardware import Gpu, Hardware
from nimctl.core.manifest import Manifest, Profile, Shape, find_profile
from nimctl.core.names import GOALS, EngineName, Goal
from nimctl.core.placement import (
    AMPLE_CONTEXT,
    Needs,
    Place,
    allow_share,
    count_threads,
    find_gpus,
    list_places,
    list_usable_gpus,
    make_plan,
)
from nimctl.core.plan import Plan
from nimctl.core.roofline import estimate_on_cpu, estimate_on_gpus
from nimctl.core.speed import (
    SpeedFigure,
    Traffic,
    rank_speed,
    traffic_for,
    unknown_speed,
)
from nimctl.core.supply import Supply
from nimctl.core.units import format_count
from nimctl.core.verdict import Finding, Fit, Rank, Selection, Verdict
from nimctl.core.wish import Wish, format_change, profile_goal
from nimctl.errors import InputError, NothingFitsError

ENGINE_ORDER = ("tensorrt_llm", "vllm", "sglang", "llama.cpp")
"""Which engine is preferred on GPUs where several can run: the most specialised first."""

CPU_ENGINE_ORDER = ("llama.cpp", "vllm", "tensorrt_llm")
"""The same on a CPU: one request at a time is 2.5 times as fast on llama.cpp (SmolLM2, 2 cores),
which also starts in seconds.
"""

_GGUF = ("q8_0", "q6_k", "q5_k_m", "q4_k_m", "q4_1", "q4_0")
PRECISION_ORDER: dict[tuple[int, int] | None, tuple[str, ...]] = {
    (10, 0): ("fp8", "nvfp4", "mxfp4", "bf16", "fp16", "int8", "int4", *_GGUF),
    (8, 9): ("fp8", "mxfp4", "bf16", "fp16", "int8", "int4", "nvfp4", *_GGUF),
    (8, 0): ("bf16", "fp16", "int8", "mxfp4", "fp8", "int4", "nvfp4", *_GGUF),
    (0, 0): ("fp16", "int8", "int4", *_GGUF),
    None: ("q4_k_m", "q5_k_m", "q6_k", "q8_0", "q4_1", "q4_0"),
}
"""Which precision is preferred on one engine, by the oldest compute capability of a row.

Precisions the tensor cores compute in come first; NIM 2.0.12 picks fp8 over nvfp4 on Blackwell.
Where they do not compute in it, a precision only saves memory and stands behind bf16. A CPU (None)
generates as fast as it reads the weights: the smallest file that keeps nearly all quality first.
"""


LOSSY = {"nvfp4", "int4", "q4_k_m", "q4_1", "q4_0", "q5_k_m"}
"""Precisions below 8 bits that a model was squeezed into after training.

mxfp4 is none of them: the models published in it were trained for it.
"""

FULL = {"bf16", "fp16", "mxfp4"}
"""Precisions a model was trained in."""

_NOT_THE_MACHINE = (Fit.EXCLUDED, Fit.OUT_OF_REACH)
"""What a profile lacks in these is no matter of the machine: it has a plan all the same."""

Forecast = Callable[[Shape, Profile, str, Traffic], SpeedFigure | None]
"""Measured or predicted speed of a profile on a GPU of a short name; None where nobody knows.

Of the profile it reads engine, precision and tensor parallelism.
"""


def know_nothing(shape: Shape, profile: Profile, gpu: str, traffic: Traffic) -> SpeedFigure | None:
    """The forecast of somebody without any figures."""
    del shape, profile, gpu, traffic
    return None


def select(
    manifest: Manifest,
    hardware: Hardware,
    wish: Wish,
    *,
    engines: Mapping[str, EngineTraits],
    installed: Iterable[InstalledEngine],
    forecast: Forecast = know_nothing,
    supply: Supply | None = None,
) -> Selection:
    """Judge every profile of `manifest`, best first.

    Args:
        engines: Traits by engine name.
        installed: The engines this machine has.
        forecast: Figures that are better than the roofline.
        supply: What is known of bringing the files; None where that is not to be judged.

    Raises:
        InputError: the wish names a profile the model does not have, or a GPU there is not.
    """
    asked_id = find_profile(manifest, wish.profile).id if wish.profile else None
    _check_gpus_exist(hardware, wish)
    engines = {name: allow_share(traits, wish.memory_share) for name, traits in engines.items()}
    found = {engine.name: engine for engine in installed}
    usable_gpus = list_usable_gpus(hardware, wish)

    @cache
    def find_places(engine: EngineName, needs: Needs) -> tuple[Place, ...]:
        return list_places(needs, engines[engine], found.get(engine), hardware.host, usable_gpus)

    def put(profile: Profile, place: Place | None) -> Case:
        return Case(
            manifest=manifest,
            profile=profile,
            traits=engines[profile.engine],
            installed=found.get(profile.engine),
            hardware=hardware,
            asked_id=asked_id,
            usable_gpus=usable_gpus,
            wish=wish,
            supply=supply,
            place=place,
        )

    def settle(profile: Profile) -> Case:
        """The case at its place: the fastest that holds it, else the one with the most memory."""
        places = find_places(profile.engine, _read_needs(profile))
        cases = []
        for place in places:
            case = put(profile, place)
            if case.size is not None:
                return case
            cases.append(case)
        return max(cases, key=_free_bytes) if cases else put(profile, None)

    foresee, precisions = _ask_once(forecast), order_precisions(usable_gpus)
    verdicts = [_judge(settle(profile), foresee, precisions) for profile in manifest.profiles]
    ranked = sorted(verdicts, key=lambda verdict: verdict.rank)
    return Selection(model=manifest.model, wish=wish, verdicts=tuple(ranked))


def _ask_once(forecast: Forecast) -> Forecast:
    """The same forecast for one shape and traffic, asked once for all profiles it reads alike."""
    told: dict[tuple[EngineName, str, int, str], SpeedFigure | None] = {}

    def recall(shape: Shape, profile: Profile, gpu: str, traffic: Traffic) -> SpeedFigure | None:
        alike = (profile.engine, profile.precision, profile.tensor_parallel, gpu)
        if alike not in told:
            told[alike] = forecast(shape, profile, gpu, traffic)
        return told[alike]

    return recall


def _check_gpus_exist(hardware: Hardware, wish: Wish) -> None:
    found = {name: len(find_gpus(hardware, name)) for name in wish.gpus or ()}
    missing = [str(name) for name, count in found.items() if not count]
    several = [str(name) for name, count in found.items() if count > 1]
    there = ", ".join(map(_name_gpu, hardware.gpus))
    if missing:
        raise InputError(
            f"there is no GPU {', '.join(missing)} here",
            hint=f"there are {there}" if there else "this machine has no GPU; leave --gpus out",
        )
    if several:
        raise InputError(f"several GPUs begin with {several[0]}", hint=f"there are {there}")


def _name_gpu(gpu: Gpu) -> str:
    """Its number, and its UUIDs where they are known."""
    uuids = [one for one in (gpu.uuid, *(part.uuid for part in gpu.mig_slices)) if one]
    return f"{gpu.index} ({', '.join(uuids)})" if uuids else str(gpu.index)


def _read_needs(profile: Profile) -> Needs:
    return Needs(
        precision=profile.precision, gpu_device=profile.gpu_device, gpu_count=profile.gpu_count
    )


def _free_bytes(case: Case) -> int:
    return (case.place.free_bytes if case.place else None) or 0


def _judge(case: Case, forecast: Forecast, precisions: tuple[str, ...]) -> Verdict:
    findings = tuple(finding for check in CHECKS for finding in check(case))
    fit = max((finding.fit for finding in findings), default=Fit.RUNNABLE)
    machine_can = all(finding.fit in _NOT_THE_MACHINE for finding in findings)
    plan = _plan(case) if machine_can else None
    speed = _figure_speed(case, forecast)
    rank = _rank(case, fit, plan, speed, precisions)
    return Verdict(profile=case.profile, findings=findings, rank=rank, plan=plan, speed=speed)


def _figure_speed(case: Case, forecast: Forecast) -> SpeedFigure:
    """How fast the profile would be at its place: known from elsewhere, else by the roofline."""
    traffic = traffic_for(profile_goal(case.wish))
    profile, shape, place = case.profile, case.manifest.shape, case.place
    if place is None:
        return unknown_speed(traffic, "there is nothing here that it could run on")
    if place.device == "cpu":
        threads = count_threads(case.hardware)
        return estimate_on_cpu(shape, profile, case.hardware.host, threads, traffic)
    gpu = place.gpus[0]
    model = find_gpu_model(gpu.name, gpu.pci_device_id)
    known = forecast(shape, profile, model.short_name, traffic) if model else None
    return known or estimate_on_gpus(shape, profile, gpu, traffic)


def _plan(case: Case) -> Plan:
    place, fitting = case.place, case.fitting
    if place is None or fitting is None or case.size is None:
        raise AssertionError("a profile the machine can run has a place and a size")
    context_length, sequences = case.size
    return make_plan(
        fitting,
        place,
        case.hardware,
        context_length=context_length,
        sequences=sequences,
        kv_precision=case.kv_precision,
        memory_share=case.wish.memory_share,
    )


def _rank(
    case: Case, fit: Fit, plan: Plan | None, speed: SpeedFigure, precisions: tuple[str, ...]
) -> Rank:
    profile, place = case.profile, case.place
    gpus = place.gpus if place else ()
    ample = min(AMPLE_CONTEXT, case.manifest.shape.max_context_length)
    goal = profile_goal(case.wish)
    on_cpu = place is not None and place.device == "cpu"
    spread_helps = goal == "latency" and place is not None and place.is_linked
    return Rank(
        fit=fit,
        generic=0 if profile.gpu_device else 1,
        missing_context=max(ample - plan.context_length, 0) if plan else 0,
        device=0 if gpus else 1,
        neighbours=place.neighbours if place else 0,
        quality=_rank_quality(profile, case.wish, on_gpu=bool(gpus)),
        speed=_rank_speed(speed, goal, profile),
        engine=_place_in(CPU_ENGINE_ORDER if on_cpu else ENGINE_ORDER, profile.engine),
        precision=_place_in(precisions, profile.precision),
        goal=_rank_goal(profile, case.wish),
        gpus=-profile.gpu_count if spread_helps else profile.gpu_count,
        description=profile.description,
    )


def _rank_quality(profile: Profile, wish: Wish, *, on_gpu: bool) -> int:
    """What the goal minds: every bit for quality, 4 bits on a GPU unless speed was asked for."""
    lossy = profile.precision in LOSSY
    if wish.goal == "quality":
        return 2 if lossy else 0 if profile.precision in FULL else 1
    asked_for_speed = wish.goal in GOALS
    return int(lossy and on_gpu and not asked_for_speed)


def _rank_speed(speed: SpeedFigure, goal: Goal, profile: Profile) -> int:
    """The speed's rank; throughput counts by GPU, since what one leaves free another model uses."""
    if goal == "throughput" and speed.tokens_per_second is not None:
        speed = replace(speed, tokens_per_second=speed.tokens_per_second / profile.gpu_count)
    return rank_speed(speed, goal)


def order_precisions(gpus: tuple[Gpu, ...]) -> tuple[str, ...]:
    """The row of the precision table for the newest of these GPUs; without any, a CPU's."""
    if not gpus:
        return PRECISION_ORDER[None]
    have = max(gpu.compute_capability or (0, 0) for gpu in gpus)
    rows = (row for oldest, row in PRECISION_ORDER.items() if oldest and have >= oldest)
    return next(rows, PRECISION_ORDER[None])


def _rank_goal(profile: Profile, wish: Wish) -> int:
    if profile.goal is None:
        return 1
    return 0 if profile.goal == profile_goal(wish) else 2


def _place_in(order: tuple[str, ...], name: str) -> int:
    return order.index(name) if name in order else len(order)


def require_choice(selection: Selection) -> Verdict:
    """The chosen verdict.

    Raises:
        NothingFitsError: no profile can run; names the nearest one and how to bring it in.
    """
    if selection.chosen is not None:
        return selection.chosen
    nearest = find_nearest(selection)
    if nearest is None:
        raise NothingFitsError(f"{selection.model} has no profile")
    main = _worst(nearest)
    more = len(nearest.findings) - 1
    objections = "objection" if more == 1 else "objections"
    others = f" (and {format_count(more)} more {objections})" if more else ""
    raise NothingFitsError(
        f"no profile of {selection.model} can run here; nearest is "
        f"{nearest.profile.description}: {main.message}{others}",
        hint=_suggest(selection, nearest, main),
    )


def _suggest(selection: Selection, nearest: Verdict, main: Finding) -> str:
    """What to do about the nearest profile's worst objection, or where to see all of them."""
    if main.hint:
        return main.hint
    if main.retry and len(nearest.findings) == 1:
        return f"try {format_change(selection.wish, main.retry)}"
    return "`nimctl list-profiles MODEL` shows every reason"


def find_nearest(selection: Selection) -> Verdict | None:
    """The verdict with the fewest and mildest objections."""
    return min(
        selection.verdicts,
        key=lambda verdict: (verdict.fit, len(verdict.findings), verdict.rank),
        default=None,
    )


def _worst(verdict: Verdict) -> Finding:
    return max(verdict.findings, key=lambda finding: finding.fit)
