"""How TensorRT-LLM fails: its PyTorch backend, prebuilt engines, and the MPI it starts with."""

from nimctl.core.symptom import Symptom
from nimctl.engines.symptoms.host import (
    COMMON,
    LOOK_AT_ARGUMENTS,
    TORCH_OUT_OF_MEMORY,
)

SYMPTOMS = (
    Symptom(
        code="unknown-argument",
        pattern=r"Error: No such option:? '?(?P<detail>--?[\w-]+)",
        cause="trtllm-serve does not know an argument it was given",
        hint=LOOK_AT_ARGUMENTS,
    ),
    Symptom(
        code="missing-mpi",
        pattern=r"(?P<detail>libmpi\w*\.so[\w.]*): cannot open shared object file",
        cause="TensorRT-LLM needs Open MPI, which is not installed",
        hint="install it: apt-get install libopenmpi-dev",
    ),
    Symptom(
        code="mpi-slots",
        pattern=r"There are not enough slots available in the system to satisfy the (?P<detail>\d+)"
        r"|All nodes which are allocated for this job are already filled",
        cause="MPI may not start one process for each GPU here",
        hint="set OMPI_MCA_rmaps_base_oversubscribe=1, or use --tensor-parallel 1",
    ),
    Symptom(
        code="too-few-gpus",
        pattern=r"Only (?P<detail>\d+) GPUs are available, but \d+ are required",
        cause="the engine sees fewer GPUs than it shall use",
        hint="`nimctl doctor` shows which are hidden; --tensor-parallel asks for fewer",
    ),
    Symptom(
        code="engine-of-another-gpu",
        pattern=r"engine plan file is generated on an incompatible device,? (?P<detail>expecting "
        r"compute [\d.]+ got compute [\d.]+)",
        cause="the prebuilt engine was made for another GPU",
        hint="use a profile for this one: `nimctl list-profiles MODEL` shows them",
    ),
    Symptom(
        code="unknown-architecture",
        pattern=r"Unknown architecture for AutoModelForCausalLM: (?P<detail>\w+)"
        r"|huggingface model architecture \w+ is not supported in TRT-LLM",
        cause="this TensorRT-LLM does not know the model's architecture",
        hint="`nimctl engines install tensorrt-llm` installs the newest, or use --engine vllm",
    ),
    Symptom(
        code="out-of-memory-weights",
        pattern=rf"(?:Error executing load_single_module|in load_weights\b)[^\n]*?"
        rf"{TORCH_OUT_OF_MEMORY}",
        cause="the weights do not fit the GPU's free memory",
        hint="free memory, or use fewer bits or more GPUs: `nimctl list-profiles MODEL`",
    ),
    *COMMON,
)
