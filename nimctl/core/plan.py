"""What will run and where: the plan of a model, the site it runs on, and the process to start."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from types import MappingProxyType
from typing import Literal

from nimctl.core.engine_address import EngineAddress
from nimctl.core.engine_options import EngineOptions
from nimctl.core.hardware import Gpu
from nimctl.core.launch_arguments import Argument, NativeArguments, Overridden
from nimctl.core.manifest import Profile
from nimctl.core.memory import MemoryBudget
from nimctl.core.request_fields import Version
from nimctl.core.startup import LogSigns
from nimctl.core.symptom import Symptom

Device = Literal["gpu", "cpu"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """One profile placed on this machine.

    Attributes:
        model: `publisher/name`.
        architecture: The class its published config names.
        device: What computes.
        gpus: The chosen GPUs, in the order the engine will see them; empty on a CPU.
        context_length: Tokens one sequence may hold.
        sequences: Sequences of that length that fit at once.
        kv_precision: What keys and values are kept in; None is the engine's default.
        budget: Memory per device.
        free_bytes: Free memory of the fullest chosen device at the time of the probe.
        total_bytes: All memory of that device.
        threads: CPU threads for the engine to compute with.
        memory_share: The share of a GPU's memory that was asked for; None is the engine's own.
        eager: Compile nothing and record no CUDA graphs.
    """

    model: str
    architecture: str
    profile: Profile
    device: Device
    gpus: tuple[Gpu, ...]
    context_length: int
    sequences: int
    kv_precision: str | None
    budget: MemoryBudget
    free_bytes: int
    total_bytes: int
    threads: int
    memory_share: float | None = None
    eager: bool = False

    @property
    def gpu_environment(self) -> dict[str, str]:
        """The variables that show a CUDA program the chosen GPUs and no others."""
        return self._show([gpu.uuid or str(gpu.index) for gpu in self.gpus])

    @property
    def gpu_environment_by_index(self) -> dict[str, str]:
        """The same by the driver's numbers; a slice of a GPU has none and keeps its UUID."""
        slices = [gpu.uuid for gpu in self.gpus if gpu.uuid and gpu.uuid.startswith("MIG-")]
        return self._show(slices or [str(gpu.index) for gpu in self.gpus])

    def _show(self, names: list[str]) -> dict[str, str]:
        if not names:
            return {}
        return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": ",".join(names)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Adapter:
    """A LoRA adapter on this machine.

    Attributes:
        name: What clients ask for.
        path: Its folder; of llama.cpp its GGUF file.
        rank: The rank its `adapter_config.json` tells; None where none does.
    """

    name: str
    path: PurePath
    rank: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """The facts of this machine that a launch needs and a plan does not know.

    Attributes:
        program: How the engine's program starts, e.g. `("/usr/bin/vllm",)`.
        weights_dir: Folder that holds the profile's files.
        address: Where the engine shall listen.
        served_names: Names the model answers to; the first is reported.
        state_dir: Folder for files the engine needs at start, e.g. an options file.
        version: The engine's version, as far as it is known.
        options: What was asked of the engine beside size and place.
        native: The user's own engine arguments, which come last.
        adapters: The LoRA adapters to serve from the start.
        origins: Who set each setting that somebody set.
    """

    program: tuple[str, ...]
    weights_dir: PurePath
    address: EngineAddress
    served_names: tuple[str, ...]
    state_dir: PurePath
    version: Version | None = None
    options: EngineOptions = field(default_factory=EngineOptions)
    native: NativeArguments = field(default_factory=NativeArguments)
    adapters: tuple[Adapter, ...] = ()
    origins: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, kw_only=True, slots=True)
class Launch:
    """The exact process to start.

    Attributes:
        argv: Program and arguments; never a secret.
        env: Variables to add to a minimal environment.
        files: Text files to write before the start, by path.
        ready_path: Path that answers 200 once the engine can serve.
        symptoms: Failures to look for in its output and its exit code, the most telling first.
        signs: What its output tells of the start.
        fell_to_cpu: How it is told that it uses none of the GPUs it was given, and ends for that;
            None where it may do without.
        first_words: Words of the prompt it is first asked to go on with, before it counts as ready.
        arguments: Who set what of the arguments after the program.
        overridden: What was to be said and is not, as something stronger says otherwise.
        entries: Who set what of the options file: `(key, value)` as its words.
        afterwards: A command that removes what would outlive the process; empty where nothing does.
    """

    argv: tuple[str, ...]
    address: EngineAddress
    ready_path: str
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[PurePath, str] = field(default_factory=dict)
    symptoms: tuple[Symptom, ...] = ()
    signs: LogSigns = field(default_factory=LogSigns)
    fell_to_cpu: Symptom | None = None
    first_words: int = 1
    arguments: tuple[Argument, ...] = ()
    overridden: tuple[Overridden, ...] = ()
    entries: tuple[Argument, ...] = ()
    afterwards: tuple[str, ...] = ()

    @property
    def is_ours(self) -> bool:
        """Whether the engine's processes are those of this launch, and not a container's."""
        return not self.afterwards
