"""Where an engine keeps what it compiles, so that its next start finds it: names and variables."""

import hashlib
from collections.abc import Mapping
from pathlib import PurePath

from nimctl.core.engine import CompileCache, EngineTraits, InstalledEngine
from nimctl.core.hardware import Host
from nimctl.core.plan import Plan


def list_caches(traits: EngineTraits, plan: Plan) -> tuple[CompileCache, ...]:
    """Where an engine keeps what it compiles on a plan's device."""
    on_gpu = plan.device == "gpu"
    return tuple(cache for cache in traits.compile_caches if on_gpu or not cache.gpu_only)


def name_compile_cache(
    traits: EngineTraits, installed: InstalledEngine, plan: Plan, host: Host
) -> str | None:
    """The folder for what an engine compiles; None where it compiles nothing or has no version.

    One for each version and GPU generation, as code of another of either is of no use or, where an
    engine does not check, does harm. On a CPU the instructions it knows take the generation's
    place.
    """
    if installed.version is None or not list_caches(traits, plan):
        return None
    generations = {
        f"sm{major}{minor}"
        for major, minor in (gpu.compute_capability or (0, 0) for gpu in plan.gpus)
    }
    where = "-".join(sorted(generations)) or f"cpu-{_digest(host.architecture, *host.cpu_features)}"
    return f"{plan.profile.engine}-{installed.version}-{where}"


def list_cache_variables(
    traits: EngineTraits, plan: Plan, folder: PurePath, environment: Mapping[str, str]
) -> dict[str, str]:
    """The variables that tell an engine to keep what it compiles in `folder`.

    Args:
        environment: The user's own variables; what is set there stays as it is.
    """
    room = f"{plan.context_length}x{plan.sequences}"
    plan_name = f"{plan.profile.id[:12]}-{room}-{plan.kv_precision or 'auto'}"
    return {
        cache.variable: str(folder / cache.place.format(plan=plan_name))
        for cache in list_caches(traits, plan)
        if cache.variable not in environment
    }


def _digest(*facts: str) -> str:
    return hashlib.sha256(" ".join(sorted(facts)).encode()).hexdigest()[:8]
