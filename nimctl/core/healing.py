"""What a plan gives up after a known failure, so that the next start succeeds; pure.

`REMEDIES` is the table: a symptom's code and what is tried for it, one after the other. Nothing
that the user asked for is ever given up.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from nimctl.core.hardware import Gpu, Hardware
from nimctl.core.placement import CONTEXT_STEP, LEAST_CONTEXT
from nimctl.core.plan import Plan
from nimctl.core.units import GIB, format_bytes, format_count
from nimctl.core.verdict import Finding, Fit, Selection, Verdict
from nimctl.core.wish import Wish

MOST_NEW_PLANS = 4
"""Plans that are tried after the first; a start can take minutes."""

_SPARE_SHARE = 20
"""What is left free more each time: a 20th of a device's memory, at least 1 GiB."""

_FREE_MORE = 0.02
"""Free memory counts as changed from this share on; it is never quite still."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Concession:
    """What one profile does without, as it did not start otherwise.

    Attributes:
        most_context: Its context is no longer than this, in tokens.
        most_sequences: It has room for no more sequences than this.
        spare_bytes: Memory of each device that is left free beside what the engine's rule leaves.
        eager: Nothing is compiled and no CUDA graphs are recorded.
        passed_over: Another profile runs in its place.
        on_cpu: It runs on the CPU; never remembered, as a GPU may be back at the next start.
        symptom: Code of the failure that led to the last of it.
        cause: That failure in one sentence.
    """

    most_context: int | None = None
    most_sequences: int | None = None
    spare_bytes: int = 0
    eager: bool = False
    passed_over: bool = False
    on_cpu: bool = False
    symptom: str = ""
    cause: str = ""

    @property
    def gives_up_something(self) -> bool:
        """Whether it changes a plan at all."""
        return replace(self, symptom="", cause="") != Concession()


Concessions = Mapping[str, Concession]
"""By the id of the profile."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """A start that failed in a known way.

    Attributes:
        wish: What the user asked.
        plan: What was started.
        given_up: What that plan did without already.
        symptom: Code of the failure.
        cause: It in one sentence.
        detail: What the engine said of it.
        may_run_eagerly: Whether the engine can do without compiling and CUDA graphs.
        may_pass_over: Whether another profile may run; not where arguments are meant for this one.
    """

    wish: Wish
    plan: Plan
    given_up: Concession
    symptom: str
    cause: str
    detail: str | None = None
    may_run_eagerly: bool
    may_pass_over: bool = True


Remedy = Callable[[Failure], Concession | None]
"""What to give up after a failure; None where that cannot be, or was asked for."""


def shorten_to_fit(failure: Failure) -> Concession | None:
    """The context that the engine itself says fits; half of it where it does not say."""
    fits = re.search(r"\d+", failure.detail or "")
    return _shorten(failure, int(fits[0]) if fits else failure.plan.context_length // 2)


def shorten_context(failure: Failure) -> Concession | None:
    """Half the context, down to `LEAST_CONTEXT`."""
    return _shorten(failure, max(failure.plan.context_length // 2, LEAST_CONTEXT))


def _shorten(failure: Failure, most: int) -> Concession | None:
    rounded = most // CONTEXT_STEP * CONTEXT_STEP
    too_short = not LEAST_CONTEXT <= rounded < failure.plan.context_length
    if failure.wish.context_length is not None or too_short:
        return None
    return replace(failure.given_up, most_context=rounded)


def serve_fewer(failure: Failure) -> Concession | None:
    """Room for half as many sequences."""
    if failure.wish.concurrency is not None or failure.plan.sequences == 1:
        return None
    return replace(failure.given_up, most_sequences=failure.plan.sequences // 2)


def spare_memory(failure: Failure) -> Concession | None:
    """A little more of the memory is left free: the share that the engine takes is lower."""
    if failure.wish.memory_share is not None:
        return None
    more = max(failure.plan.total_bytes // _SPARE_SHARE, GIB)
    return replace(failure.given_up, spare_bytes=failure.given_up.spare_bytes + more)


def run_eagerly(failure: Failure) -> Concession | None:
    """Nothing is compiled and no graphs are recorded: slower, and smaller."""
    if failure.plan.eager or not failure.may_run_eagerly:
        return None
    return replace(failure.given_up, eager=True)


def plan_anew(failure: Failure) -> Concession | None:
    """Nothing but what changed since: the plan is made for the memory that is free now."""
    return failure.given_up


def leave_gpus(failure: Failure) -> Concession | None:
    """The CPU computes, where that was allowed."""
    wish = failure.wish
    if not wish.allow_cpu or wish.gpus is not None or failure.plan.device == "cpu":
        return None
    return replace(failure.given_up, on_cpu=True)


def pass_over_profile(failure: Failure) -> Concession | None:
    """The next profile in the ranking."""
    if failure.wish.profile is not None or not failure.may_pass_over:
        return None
    return replace(failure.given_up, passed_over=True)


_SMALLER = (serve_fewer, shorten_context, pass_over_profile)
_ANOTHER = (pass_over_profile,)

REMEDIES: Mapping[str, tuple[Remedy, ...]] = {
    "memory-not-free": (plan_anew, spare_memory, pass_over_profile),
    "ram-not-free": (plan_anew, *_SMALLER),
    "kv-cache-too-small": (shorten_to_fit, pass_over_profile),
    "out-of-memory-weights": (plan_anew, pass_over_profile),
    "out-of-memory-kv": _SMALLER,
    "out-of-memory-compute": (serve_fewer, shorten_context, spare_memory, pass_over_profile),
    "out-of-memory-sequences": (serve_fewer, spare_memory, pass_over_profile),
    "out-of-memory-graphs": (spare_memory, run_eagerly, pass_over_profile),
    "out-of-memory": (serve_fewer, spare_memory, shorten_context, pass_over_profile),
    "out-of-memory-host": (plan_anew, *_SMALLER),
    "killed": (plan_anew, *_SMALLER),
    "graph-capture-failed": (run_eagerly, pass_over_profile),
    "compiler-missing": (run_eagerly, pass_over_profile),
    "no-kernel-image": _ANOTHER,
    "driver-too-old": _ANOTHER,
    "cuda-library-missing": _ANOTHER,
    "module-missing": _ANOTHER,
    "library-missing": _ANOTHER,
    "glibc-too-old": _ANOTHER,
    "illegal-instruction": _ANOTHER,
    "program-missing": _ANOTHER,
    "no-gpu": _ANOTHER,
    "fell-to-cpu": (leave_gpus, pass_over_profile),
    "nccl-failed": _ANOTHER,
    "shm-too-small": _ANOTHER,
    "missing-mpi": _ANOTHER,
    "mpi-slots": _ANOTHER,
    "too-few-gpus": _ANOTHER,
    "engine-of-another-gpu": _ANOTHER,
    "unknown-architecture": _ANOTHER,
    "unknown-model-type": _ANOTHER,
    "unknown-tokenizer": _ANOTHER,
    "gguf-too-new": _ANOTHER,
    "tensor-missing": _ANOTHER,
    "quantisation-unsupported": _ANOTHER,
    "precision-unsupported": _ANOTHER,
    "heads-do-not-divide": _ANOTHER,
}
"""What is tried for a failure. What is not here is for the user to mend: a wrong argument, files
that are missing or damaged, a full disk, a limit of the system."""

OF_MEMORY = frozenset(
    code
    for code, remedies in REMEDIES.items()
    if {plan_anew, serve_fewer, shorten_to_fit, spare_memory}.intersection(remedies)
)
"""Failures that a machine with more free memory may not have."""


def list_concessions(failure: Failure) -> tuple[Concession, ...]:
    """What may be given up after a failure, the least first."""
    tried = (remedy(failure) for remedy in REMEDIES.get(failure.symptom, ()))
    return tuple(replace(one, symptom=failure.symptom, cause=failure.cause) for one in tried if one)


def limit_wish(wish: Wish, plan: Plan, concession: Concession) -> Wish:
    """The wish under which the profile of a plan does without; what was asked for stays."""
    context, sequences = wish.context_length, wish.concurrency
    if context is None and (concession.most_context or plan.context_length) < plan.context_length:
        context = concession.most_context
    if sequences is None and (concession.most_sequences or plan.sequences) < plan.sequences:
        sequences = concession.most_sequences
    return replace(
        wish,
        profile=plan.profile.id,
        context_length=context,
        concurrency=sequences,
        gpus=() if concession.on_cpu else wish.gpus,
    )


def hold_back(hardware: Hardware, spare_bytes: int) -> Hardware:
    """The machine as if so much less memory were free, of the host and of every GPU."""
    if not spare_bytes:
        return hardware
    host = hardware.host
    return replace(
        hardware,
        host=replace(host, memory_available_bytes=_less(host.memory_available_bytes, spare_bytes)),
        gpus=tuple(_hold_back_on(gpu, spare_bytes) for gpu in hardware.gpus),
    )


def _hold_back_on(gpu: Gpu, spare_bytes: int) -> Gpu:
    slices = tuple(
        replace(one, memory_free_bytes=_less(one.memory_free_bytes, spare_bytes))
        for one in gpu.mig_slices
    )
    free_bytes = _less(gpu.memory_free_bytes, spare_bytes)
    return replace(gpu, memory_free_bytes=free_bytes, mig_slices=slices)


def _less(free_bytes: int | None, spare_bytes: int) -> int | None:
    return None if free_bytes is None else max(free_bytes - spare_bytes, 0)


def pass_over(selection: Selection, given_up: Concessions) -> Selection:
    """The selection in which profiles that did not start stand behind, with the reason."""
    judged = [_judge_past(verdict, selection, given_up) for verdict in selection.verdicts]
    return replace(selection, verdicts=tuple(sorted(judged, key=lambda verdict: verdict.rank)))


def _judge_past(verdict: Verdict, selection: Selection, given_up: Concessions) -> Verdict:
    past = given_up.get(verdict.profile.id)
    if past is None or not past.passed_over or selection.wish.profile is not None:
        return verdict
    finding = Finding(
        check="start-failed",
        fit=Fit.INCOMPATIBLE,
        message=f"it did not start here: {past.cause}",
        hint=f"`nimctl evidence forget {selection.model}` tries it again",
    )
    findings = (*verdict.findings, finding)
    fit = max(one.fit for one in findings)
    return replace(verdict, findings=findings, rank=verdict.rank._replace(fit=fit))


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """One thing in which a new plan differs from the one that failed, for a person to read."""

    what: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.what} {self.before} -> {self.after}"


def compare_plans(before: Plan, after: Plan) -> tuple[Difference, ...]:
    """In what the second plan differs."""
    told = (
        ("profile", before.profile.description, after.profile.description),
        ("on", _name_place(before), _name_place(after)),
        ("context", format_count(before.context_length), format_count(after.context_length)),
        ("sequences", str(before.sequences), str(after.sequences)),
        ("memory to use", *_format_memory(before, after)),
        ("graphs and compilation", _say(not before.eager), _say(not after.eager)),
    )
    return tuple(
        Difference(what=what, before=was, after=now) for what, was, now in told if was != now
    )


def _name_place(plan: Plan) -> str:
    return "GPU " + ", ".join(str(gpu.index) for gpu in plan.gpus) if plan.gpus else "CPU"


def _format_memory(before: Plan, after: Plan) -> tuple[str, str]:
    """The free memory of both; twice the same where it hardly changed, or changes no command."""
    changed = abs(before.free_bytes - after.free_bytes) > before.free_bytes * _FREE_MORE
    takes_share = after.device == "gpu" and after.profile.engine != "llama.cpp"
    if not (changed and takes_share) or _name_place(before) != _name_place(after):
        return "", ""
    return format_bytes(before.free_bytes), format_bytes(after.free_bytes)


def _say(on: bool) -> str:
    return "on" if on else "off"
