"""What an engine is to nimctl: traits that selection reads, and a function that writes a launch."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from itertools import zip_longest

from nimctl.core.engine_options import OptionRules
from nimctl.core.manifest import WeightFormat
from nimctl.core.memory import MemoryTraits
from nimctl.core.names import EngineName
from nimctl.core.plan import Device, Launch, Plan, Site
from nimctl.core.surface import EngineSurface

Capability = tuple[int, int]
"""A GPU generation, e.g. (9, 0): NVIDIA's compute capability."""

DRIVER_MAJORS: Mapping[int, int] = {12: 525, 13: 580}
"""CUDA's major version -> the oldest driver branch that runs every minor version of it (NVIDIA's
CUDA Compatibility, "Minor Version Compatibility", table 1)."""

_TEGRA = ((7, 2), (8, 7))
"""Modules that run no machine code of another generation, nor lend theirs (CUDA C++ Programming
Guide, "Binary Compatibility": not between desktop and Tegra)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PrecisionSupport:
    """The oldest GPU generation an engine runs a precision on."""

    precision: str
    compute_capability: Capability


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineBuild:
    """What the packages of an engine were compiled with, from one version to the next.

    Attributes:
        since: The first version, e.g. (0, 20).
        cuda: The CUDA version of the compiler.
        x86_64: Generations with machine code of every kernel in the package for x86-64.
        aarch64: The same for 64-bit ARM; empty where there is no package.
    """

    since: tuple[int, ...]
    cuda: tuple[int, int]
    x86_64: tuple[Capability, ...]
    aarch64: tuple[Capability, ...] = ()

    @property
    def driver_major(self) -> int:
        """The oldest NVIDIA driver branch it runs with."""
        return DRIVER_MAJORS[self.cuda[0]]

    def kernels(self, architecture: str) -> tuple[Capability, ...]:
        """Generations it has machine code for, on a host of this architecture."""
        if architecture == "x86_64":
            return self.x86_64
        return self.aarch64 if architecture in ("aarch64", "arm64") else ()

    def runs_on(self, capability: Capability, architecture: str) -> bool:
        """Whether it has code for this generation: its own, or an earlier of the same family."""
        kernels = self.kernels(architecture)
        if capability in _TEGRA:
            return capability in kernels
        return any(
            have[0] == capability[0] and have <= capability and have not in _TEGRA
            for have in kernels
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class CompileCache:
    """One place where an engine keeps what it compiles.

    Attributes:
        variable: Tells the engine where.
        place: Below a folder of the engine's version and the GPU generation; `{plan}` stands for
            the plan.
        gpu_only: It is of no use on a CPU.
    """

    variable: str
    place: str
    gpu_only: bool = False


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)  # one value for each engine
class EngineTraits:
    """The facts about an engine that selection reads.

    Attributes:
        name: The name profiles and options use.
        title: The name its makers use.
        formats: Weight formats it loads.
        devices: What it can compute on at all; an installed build may offer less.
        precisions: Precisions it runs on GPUs; empty takes any.
        scale_blocks: Compute capabilities it runs weights scaled in blocks on; None is all.
        driver_major: Oldest NVIDIA driver branch any of its builds runs with; None has no limit.
        builds: What its published packages hold, oldest first; empty where that is not known.
        memory: Its memory rule on a GPU.
        memory_on_cpu: Its memory rule on a CPU; None where it does not run there.
        default_context_length: The context it is given unasked, where the model allows more.
        default_sequences: The sequences it is given room for unasked, where memory allows.
        install_hint: The command that installs it.
        compile_caches: Where it keeps what it compiles.
        runs_eagerly: Whether it can run without compiling anything and without CUDA graphs.
        adapters_anywhere: Whether any of its profiles serves LoRA adapters.
        listens_on_sockets: Whether it can listen on a unix socket; else it gets a port of loopback.
        options: What becomes of nimctl's options for it.
    """

    name: EngineName
    title: str
    formats: tuple[WeightFormat, ...]
    devices: tuple[Device, ...]
    precisions: tuple[PrecisionSupport, ...] = ()
    scale_blocks: tuple[Capability, ...] | None = None
    driver_major: int | None = None
    builds: tuple[EngineBuild, ...] = ()
    memory: MemoryTraits
    memory_on_cpu: MemoryTraits | None = None
    default_context_length: int | None = None
    default_sequences: int = 1
    install_hint: str
    compile_caches: tuple[CompileCache, ...] = ()
    runs_eagerly: bool = False
    adapters_anywhere: bool = False
    listens_on_sockets: bool = True
    options: OptionRules = ()

    def find_support(self, precision: str) -> Capability | None:
        """The compute capability a precision needs; None where it is not in the table."""
        found = (one.compute_capability for one in self.precisions if one.precision == precision)
        return next(found, None)

    @cache  # noqa: B019 - engines are few and live as long as the process
    def find_builds(self, version: str | None) -> tuple[EngineBuild, ...]:
        """The build of a version; all where the version is unknown, none where the table lacks it.

        `0.20.0+cu129` says itself which CUDA it was built with. Of what somebody built on their own
        (`0.20.1.dev3`, `0.20.0+g1a2b3c`) nothing is known.
        """
        if version is None:
            return self.builds
        read = re.fullmatch(r"(\d+(?:\.\d+)*)(?:rc\d+|\.post\d+)?(?:\+cu(\d\d)(\d))?", version)
        if read is None:
            return ()
        wanted = tuple(int(one) for one in read[1].split("."))
        found = tuple(build for build in self.builds if build.since <= wanted)[-1:]
        if read[2] and int(read[2]) in DRIVER_MAJORS:
            return tuple(replace(one, cuda=(int(read[2]), int(read[3]))) for one in found)
        return found

    @cache  # noqa: B019 - the same
    def find_builds_for(
        self, version: str | None, capability: Capability | None, architecture: str
    ) -> tuple[EngineBuild, ...]:
        """Those of `find_builds` that run on a GPU of this generation; all where it is unknown."""
        builds = self.find_builds(version)
        return tuple(b for b in builds if capability is None or b.runs_on(capability, architecture))

    def suggest_build(
        self, capability: Capability | None, architecture: str, driver_major: int
    ) -> str | None:
        """The newest versions that run there with this driver branch, e.g. `vLLM before 0.20`."""
        for build, later in reversed(tuple(zip_longest(self.builds, self.builds[1:]))):
            knows_gpu = capability is None or build.runs_on(capability, architecture)
            if knows_gpu and build.driver_major <= driver_major:
                if later is None:
                    return f"{self.title} {_format_version(build.since)} or newer"
                return f"{self.title} before {_format_version(later.since)}"
        return None


@cache
def find_driver_major(driver: str | None, cuda: tuple[int, int] | None) -> int | None:
    """The branch of an NVIDIA driver such as `550.90.07`; None where it is not known.

    A CUDA compatibility package lets an older driver run a newer CUDA; the CUDA version that the
    driver reports then says so, and the branch of that CUDA counts.
    """
    branch = re.match(r"\d+", driver or "")
    if branch is None:
        return None
    return max(int(branch[0]), DRIVER_MAJORS.get(cuda[0], 0) if cuda else 0)


def _format_version(numbers: tuple[int, ...]) -> str:
    return ".".join(map(str, numbers))


@dataclass(frozen=True, kw_only=True, slots=True)
class Engine:
    """An engine: its traits, what it offers clients, and the function from a plan to its process.

    The function is pure.
    """

    traits: EngineTraits
    surface: EngineSurface
    launch: Callable[[Plan, Site], Launch]


@dataclass(frozen=True, kw_only=True, slots=True)
class InstalledEngine:
    """An engine found on this machine.

    Attributes:
        version: Its own version; None where it could not be read cheaply.
        origin: Where it was found, e.g. `this environment` or `PATH`.
        program: How it starts; empty for an engine known only from a snapshot.
        devices: What this build computes on.
        cuda: The CUDA version it was built with, e.g. `12.9`; None where there is none, or where
            it is not written down.
    """

    name: EngineName
    version: str | None
    origin: str
    program: tuple[str, ...]
    devices: tuple[Device, ...]
    cuda: str | None = None
