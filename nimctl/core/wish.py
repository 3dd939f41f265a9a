"""What the user asked for; every field left None is nimctl's to decide."""

from dataclasses import dataclass, field, fields
from typing import Any

from nimctl.core.engine_options import EngineOptions
from nimctl.core.names import EngineName, Goal, WishGoal


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What the user asked for.

    Attributes:
        profile: Id, prefix, description or pasted listing line of one profile.
        context_length: Tokens one sequence must be able to hold, prompt and answer together.
        concurrency: Sequences of that length that must fit at once.
        kv_precision: What keys and values are kept in, e.g. `fp8` or `q8_0`.
        tensor_parallel: GPUs to split each layer over.
        memory_share: The share of a GPU's memory that the engine may take, in place of its own: of
            all of it, for TensorRT-LLM's cache of what is free once the weights are loaded.
        gpus: The GPUs that may be used, by the driver's number or the beginning of a UUID, also of
            a slice of MIG; none of them for the CPU.
        lora: Whether LoRA adapters will be served.
        allow_cpu: Whether the CPU will do where the machine has GPUs.
        options: What is asked of the engine beside that; one that cannot honour it does not run.
    """

    profile: str | None = None
    engine: EngineName | None = None
    precision: str | None = None
    goal: WishGoal | None = None
    context_length: int | None = None
    concurrency: int | None = None
    kv_precision: str | None = None
    tensor_parallel: int | None = None
    memory_share: float | None = None
    gpus: tuple[int | str, ...] | None = None
    lora: bool = False
    allow_cpu: bool = False
    options: EngineOptions = field(default_factory=EngineOptions)


def drop_field(wish: Wish, name: str) -> Wish:
    """The same wish with one field left to nimctl."""
    values: dict[str, Any] = {f.name: getattr(wish, f.name) for f in fields(Wish)}
    return Wish(**{**values, name: None})


def profile_goal(wish: Wish) -> Goal:
    """The goal that profiles and speeds are judged by."""
    return "throughput" if wish.goal == "throughput" else "latency"


_OPTIONS = {
    "profile": "--profile",
    "engine": "--engine",
    "precision": "--precision",
    "goal": "--goal",
    "context_length": "--context-length",
    "concurrency": "--concurrency",
    "kv_precision": "--kv-precision",
    "tensor_parallel": "--tensor-parallel",
    "memory_share": "--memory-share",
    "gpus": "--gpus",
    "allow_cpu": "--allow-cpu",
}


def format_change(before: Wish, after: Wish) -> str:
    """The command-line options that turn one wish into another, e.g. `--context-length 4096`.

    What the other leaves to nimctl is told as `without --engine`.
    """
    changed = [f.name for f in fields(Wish) if getattr(before, f.name) != getattr(after, f.name)]
    return " ".join(
        _format_option(_OPTIONS[name], getattr(after, name)) for name in changed if name in _OPTIONS
    )


def _format_option(option: str, value: object) -> str:
    if value is None:
        return f"without {option}"
    if value is True:
        return option
    return f"{option} {','.join(map(str, value)) if isinstance(value, tuple) else value}"
