"""The objections a machine or a wish can raise against a profile, each one a small function."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from nimctl.core.case import Case
from nimctl.core.engine import find_driver_major
from nimctl.core.hardware import Gpu
from nimctl.core.manifest import KvLayers
from nimctl.core.names import GOALS
from nimctl.core.option_checks import check_options
from nimctl.core.placement import CONTEXT_STEP, Fitting, count_default_context, memory_traits
from nimctl.core.supply_checks import check_supply
from nimctl.core.units import GIB, format_bytes, format_count
from nimctl.core.verdict import Finding, Fit
from nimctl.core.wish import Wish, drop_field, format_change


def check_wish(case: Case) -> Iterator[Finding]:
    """What the user asked for, field by field."""
    profile, wish = case.profile, case.wish
    if case.asked_id not in (None, profile.id):
        yield _exclude("profile", f"--profile asks for {wish.profile}", wish)
    asked = (
        ("engine", wish.engine, profile.engine),
        ("precision", wish.precision, profile.precision),
        ("tensor_parallel", wish.tensor_parallel, profile.tensor_parallel),
    )
    for name, want, have in asked:
        if want is not None and want != have:
            option = "--" + name.replace("_", "-")
            yield _exclude(name, f"{option} {want} was asked, this is {have}", wish)
    if wish.goal in GOALS and profile.goal and wish.goal != profile.goal:
        yield _exclude("goal", f"--goal {wish.goal} was asked, this is tuned otherwise", wish)
    if profile.lora and not wish.lora and not wish.profile:
        yield Finding(
            check="lora-unasked",
            fit=Fit.EXCLUDED,
            message="it reserves memory for LoRA adapters and none were asked for",
            hint="--lora DIR serves adapters",
        )
    if wish.lora and not (profile.lora or case.traits.adapters_anywhere):
        yield Finding(
            check="lora",
            fit=Fit.EXCLUDED,
            message="LoRA adapters were asked for and it serves none",
        )


def _exclude(field: str, message: str, wish: Wish) -> Finding:
    return Finding(
        check=field.replace("_", "-"),
        fit=Fit.EXCLUDED,
        message=message,
        retry=drop_field(wish, field),
    )


def check_engine(case: Case) -> Iterator[Finding]:
    """The engine must be installed and load this format."""
    if case.profile.artifact.format not in case.traits.formats:
        yield Finding(
            check="format",
            fit=Fit.INCOMPATIBLE,
            message=f"{case.traits.title} does not load {case.profile.artifact.format} files",
        )
    if case.installed is None:
        yield Finding(
            check="engine",
            fit=Fit.INCOMPATIBLE,
            message=f"{case.traits.title} is not installed",
            need=case.traits.title,
            hint=case.traits.install_hint,
        )


def check_gpus(case: Case) -> Iterator[Finding]:
    """There must be enough like GPUs, of the kind the profile was built for."""
    profile, gpus = case.profile, case.usable_gpus
    if not gpus:
        if case.needs_gpu:
            yield Finding(
                check="gpu",
                fit=Fit.INCOMPATIBLE,
                message="it needs an NVIDIA GPU and none was found",
                need="NVIDIA GPU",
                have="none",
            )
        elif profile.gpu_count > 1:
            yield _incompatible("gpu-count", f"it needs {profile.gpu_count} GPUs, there is none")
        return
    if case.place is None:
        alike = max(sum(g.name == gpu.name for g in gpus) for gpu in gpus)
        have = f"there are {alike}" if alike > 1 else "there is one"
        yield Finding(
            check="gpu-count",
            fit=Fit.INCOMPATIBLE,
            message=f"it needs {profile.gpu_count} GPUs of one kind, {have}",
            need=f"{profile.gpu_count} like GPUs",
            have=f"{alike}",
        )
    if profile.gpu_device and all(gpu.pci_device_id != profile.gpu_device for gpu in gpus):
        yield Finding(
            check="gpu-kind",
            fit=Fit.INCOMPATIBLE,
            message=f"it was built for {profile.gpu or 'a GPU'} [{profile.gpu_device}] only",
            need=profile.gpu_device,
            have=", ".join(gpu.pci_device_id or "unknown" for gpu in gpus),
        )


def _incompatible(check: str, message: str) -> Finding:
    return Finding(check=check, fit=Fit.INCOMPATIBLE, message=message)


def check_cpu(case: Case) -> Iterator[Finding]:
    """A machine with GPUs runs nothing on its CPU unless that was asked for: it is far slower."""
    wish, on_cpu = case.wish, case.place is not None and case.place.device == "cpu"
    if on_cpu and case.usable_gpus and not wish.allow_cpu and case.asked_id != case.profile.id:
        yield Finding(
            check="cpu",
            fit=Fit.EXCLUDED,
            message=f"{case.traits.title} as installed here would run it on the CPU, and this "
            "machine has a GPU",
            hint="--allow-cpu lets it",
            retry=replace(wish, allow_cpu=True),
        )


def check_generation(case: Case) -> Iterator[Finding]:
    """The GPU generation and the driver must support engine and precision."""
    if case.place is None or case.place.device == "cpu" or not case.traits.precisions:
        return
    need = case.traits.find_support(case.profile.precision)
    if need is None:
        yield _incompatible(
            "precision", f"{case.traits.title} does not run {case.profile.precision}"
        )
        return
    for gpu in case.place.gpus[:1]:
        have = gpu.compute_capability
        if have is None or have < need:
            shown = f"{have[0]}.{have[1]}" if have else "unknown"
            yield Finding(
                check="compute-capability",
                fit=Fit.INCOMPATIBLE,
                message=f"{case.profile.precision} on {case.traits.title} needs compute capability "
                f"{need[0]}.{need[1]}, {gpu.name or 'the GPU'} has {shown}",
                need=f"{need[0]}.{need[1]}",
                have=shown,
            )
        yield from _check_scale_support(case, gpu)


def _check_scale_support(case: Case, gpu: Gpu) -> Iterator[Finding]:
    """Some engines have kernels for weights scaled in blocks on some GPUs only."""
    support, block = case.traits.scale_blocks, case.profile.artifact.scale_block
    if support is None or block is None or gpu.compute_capability in (None, *support):
        return
    known = ", ".join(f"{major}.{minor}" for major, minor in support)
    have = "{}.{}".format(*gpu.compute_capability or ())
    yield Finding(
        check="compute-capability",
        fit=Fit.INCOMPATIBLE,
        message=f"{case.traits.title} runs weights with a scale for each block of {block} on "
        f"compute capability {known} only, {gpu.name or 'the GPU'} has {have}",
        need=known,
        have=have,
    )


def check_driver(case: Case) -> Iterator[Finding]:
    """The packages the engine is published as must know the GPU's generation and the driver."""
    place, traits, hardware = case.place, case.traits, case.hardware
    if place is None or place.device == "cpu":
        return
    version = case.installed.version if case.installed else None
    capability, architecture = place.gpus[0].compute_capability, hardware.host.architecture
    driver = find_driver_major(hardware.driver_version, hardware.cuda_version)
    builds = traits.find_builds(version)
    known = traits.find_builds_for(version, capability, architecture)
    if builds and not known and capability:
        kernels = sorted({one for build in builds for one in build.kernels(architecture)})
        other = traits.suggest_build(capability, architecture, driver or 0)
        none = f"{traits.title} {version} has no" if version else f"no {traits.title} package has"
        yield Finding(
            check="engine-build",
            fit=Fit.INCOMPATIBLE,
            message=f"{none} code for {place.gpus[0].name or 'this GPU'} "
            f"(sm_{capability[0]}{capability[1]}) on {architecture}",
            need=f"sm_{capability[0]}{capability[1]}",
            have=", ".join(f"sm_{major}{minor}" for major, minor in kernels) or "no package",
            hint=f"install {other}" if other else None,
        )
    need = min((one.driver_major for one in known or builds), default=traits.driver_major)
    if need is None or driver is None or driver >= need:
        return
    other = version and traits.suggest_build(capability, architecture, driver)
    built = f" {version} (CUDA {builds[0].cuda[0]}.{builds[0].cuda[1]})" if len(builds) == 1 else ""
    yield Finding(
        check="driver",
        fit=Fit.INCOMPATIBLE,
        message=f"{traits.title}{built} needs NVIDIA driver {need} or newer, "
        f"this is {hardware.driver_version}",
        need=str(need),
        have=hardware.driver_version,
        hint=f"install NVIDIA driver {need} or newer" + (f", or {other}" if other else ""),
    )


def check_parallelism(case: Case) -> Iterator[Finding]:
    """Attention heads and vocabulary must divide evenly over the GPUs of a layer."""
    width, shape = case.profile.tensor_parallel, case.manifest.shape
    if width > 1 and shape.attention_heads % width:
        yield _incompatible(
            "parallelism", f"{shape.attention_heads} attention heads do not divide over {width}"
        )
    for heads in sorted({layers.kv_heads for layers in shape.kv if isinstance(layers, KvLayers)}):
        if width > 1 and heads % width and width % heads:
            yield _incompatible(
                "parallelism", f"{heads} key/value heads do not divide over {width}"
            )
    yield from _check_scale_blocks(case)


def _check_scale_blocks(case: Case) -> Iterator[Finding]:
    """Each GPU's share of a layer must be whole blocks of weights with one scale.

    vLLM refuses others (`validate_fp8_block_shape`: "not divisible by weight quantization
    block_n"); its recipes therefore run MiniMax M2 and Qwen3 235B in fp8 on 4 GPUs, not on 8.
    """
    width, shape = case.profile.tensor_parallel, case.manifest.shape
    block = case.profile.artifact.scale_block
    if width == 1 or block is None:
        return
    for what, size in (("layers", shape.feed_forward_size), ("experts", shape.expert_size)):
        if size and size % (width * block):
            yield _incompatible(
                "parallelism",
                f"its {what} of {format_count(size)} do not divide over {width} GPUs in blocks of "
                f"{block}, which share one scale",
            )


def check_context(case: Case) -> Iterator[Finding]:
    """The context asked for must not be longer than the model's."""
    asked, longest = case.wish.context_length, case.manifest.shape.max_context_length
    if asked is not None and asked > longest:
        retry = replace(case.wish, context_length=longest)
        yield Finding(
            check="context-length",
            fit=Fit.INCOMPATIBLE,
            message=f"a context of {format_count(asked)} tokens was asked, the model was made "
            f"for {format_count(longest)}",
            need=format_count(asked),
            have=format_count(longest),
            hint=f"try {format_change(case.wish, retry)}",
            retry=retry,
        )


def check_kv_precision(case: Case) -> Iterator[Finding]:
    """The engine must be able to keep keys and values as asked."""
    asked = case.wish.kv_precision
    if case.place is None or asked is None:
        return
    traits = memory_traits(case.traits, case.place.device)
    if traits.find_kv_precision(asked) is None:
        known = ", ".join(one.name for one in traits.kv_precisions)
        yield Finding(
            check="kv-precision",
            fit=Fit.INCOMPATIBLE,
            message=f"{case.traits.title} cannot keep keys and values in {asked}, but in {known}",
            need=asked,
            have=known,
            retry=replace(case.wish, kv_precision=None),
        )


def check_memory(case: Case) -> Iterator[Finding]:
    """Weights, cache and workspace must fit the free memory of every chosen device."""
    if case.place is None:
        return
    fitting = case.fitting
    if fitting is None:
        yield Finding(
            check="memory-unknown",
            fit=Fit.INCOMPATIBLE,
            message="the free memory of the device is unknown, so nothing can be promised",
            hint="`nimctl doctor` says why it could not be read",
        )
    elif case.size is None:
        yield _short_of_memory(case, fitting)


def _short_of_memory(case: Case, fitting: Fitting) -> Finding:
    wish = case.wish
    context = wish.context_length or count_default_context(case.manifest, case.traits)
    sequences = wish.concurrency or 1
    budget = fitting.budget(context, sequences)
    need, have = format_bytes(budget.total), format_bytes(fitting.footprint.free_bytes)
    where = "GPU memory" if case.place and case.place.device == "gpu" else "memory"
    per_gpu = " per GPU" if case.profile.gpu_count > 1 else ""
    retries = tuple(_find_smaller_wishes(fitting, wish, context, sequences))
    if not retries:
        least = fitting.budget(CONTEXT_STEP, 1)
        return Finding(
            check="memory",
            fit=Fit.INCOMPATIBLE,
            message=f"it needs {format_bytes(least.total)} of {where}{per_gpu} even with the "
            f"shortest context ({format_bytes(least.weights)} of it weights), {have} is free",
            need=format_bytes(least.total),
            have=have,
            hint=_name_holders(case),
        )
    size = f"{format_count(context)} tokens"
    if sequences > 1:
        size = f"{sequences} sequences of {size}"
    return Finding(
        check="memory",
        fit=Fit.LOW_MEMORY,
        message=f"it needs {need} of {where}{per_gpu} for {size}, {have} is free",
        need=need,
        have=have,
        hint="try " + ", or ".join(format_change(wish, retry) for retry in retries),
        retry=retries[0],
        alternatives=retries[1:],
    )


def _find_smaller_wishes(
    fitting: Fitting, wish: Wish, context: int, sequences: int
) -> Iterator[Wish]:
    """The nearest wishes that fit: fewer sequences, else a shorter context; and fewer bits."""
    fewer = fitting.most_sequences(context, sequences - 1)
    shorter = fitting.longest_context(context, 1)
    if fewer:
        yield replace(wish, concurrency=fewer)
    elif shorter >= CONTEXT_STEP:
        concurrency = 1 if sequences > 1 else wish.concurrency
        yield replace(wish, context_length=shorter, concurrency=concurrency)
    for precision in fitting.footprint.traits.kv_precisions[1:]:
        if wish.kv_precision is None and replace(fitting, kv_precision=precision).fits(
            context, sequences
        ):
            yield replace(wish, kv_precision=precision.name)
            return


def _name_holders(case: Case) -> str | None:
    """Who holds GPU memory that could be freed, the largest first."""
    holders = sorted(
        (
            (process.memory_bytes, process.name or "a process", process.pid)
            for gpu in (case.place.gpus if case.place else ())
            for process in gpu.processes
            if process.memory_bytes and process.memory_bytes > GIB // 4
        ),
        reverse=True,
    )
    if not holders:
        return None
    return "held by others: " + ", ".join(
        f"{format_bytes(size)} by {name} (pid {pid})" for size, name, pid in holders[:3]
    )


CHECKS: tuple[Callable[[Case], Iterator[Finding]], ...] = (
    check_wish,
    check_gpus,
    check_cpu,
    check_engine,
    check_options,
    check_generation,
    check_driver,
    check_parallelism,
    check_context,
    check_kv_precision,
    check_memory,
    check_supply,
)
