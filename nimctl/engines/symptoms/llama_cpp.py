"""How llama.cpp fails: messages of its loader, its server and ggml."""

from nimctl.core.symptom import Symptom
from nimctl.engines.symptoms.host import COMMON, FETCH_AGAIN, LOOK_AT_ARGUMENTS, SMALLER

SYMPTOMS = (
    Symptom(
        code="unknown-argument",
        pattern=r"(?:error: invalid argument: |error: unrecognized arguments: )(?P<detail>.+)",
        cause="llama.cpp does not know an argument it was given",
        hint=LOOK_AT_ARGUMENTS,
    ),
    Symptom(
        code="weights-missing",
        pattern=r"failed to open GGUF file '[^']*' \(No such file or directory\)",
        cause="the weights are not on this disk any more",
        hint="`nimctl download MODEL` fetches them again",
    ),
    Symptom(
        code="gguf-too-new",
        pattern=r"this GGUF file is version (?P<detail>\d+) but this software only supports",
        cause="the GGUF file is of a newer version than this llama.cpp reads",
        hint="`nimctl engines install llama.cpp` installs the newest",
    ),
    Symptom(
        code="gguf-truncated",
        pattern=r"tensor '(?P<detail>[^']+)' data is not within the file bounds",
        cause="the GGUF file is cut off",
        hint=FETCH_AGAIN,
    ),
    Symptom(
        code="not-gguf",
        pattern=r"invalid magic characters: '(?P<detail>[^']*)'",
        cause="the weights file is no GGUF file",
        hint=FETCH_AGAIN,
    ),
    Symptom(
        code="unknown-architecture",
        pattern=r"unknown model architecture: '(?P<detail>[^']+)'",
        cause="this llama.cpp is older than the model's architecture",
        hint="`nimctl engines install llama.cpp` installs the newest",
    ),
    Symptom(
        code="unknown-tokenizer",
        pattern=r"unknown pre-tokenizer type: '(?P<detail>[^']+)'",
        cause="this llama.cpp is older than the model's tokenizer",
        hint="`nimctl engines install llama.cpp` installs the newest",
    ),
    Symptom(
        code="tokenizer-missing",
        pattern=r"cannot find tokenizer vocab in model file",
        cause="the GGUF file holds no tokenizer",
        hint="use another file of the model: `nimctl list-profiles MODEL` shows them",
    ),
    Symptom(
        code="tensor-missing",
        pattern=r"tensor '(?P<detail>[^']+)' not found",
        cause="the GGUF file lacks a tensor: it was made for another version of llama.cpp",
        hint="use another file of the model: `nimctl list-profiles MODEL` shows them",
    ),
    Symptom(
        code="lora-unfit",
        pattern=r"failed to apply lora adapter: (?P<detail>.+)",
        cause="the LoRA adapter does not fit the model",
        hint="take it out of the folder of --lora; llama.cpp wants adapters as GGUF files",
    ),
    Symptom(
        code="out-of-memory-weights",
        pattern=r"error loading model: unable to allocate (?P<detail>\w+) buffer"
        r"|error loading model: mmap failed: Cannot allocate memory",
        cause="the weights do not fit the memory",
        hint="free memory, or use fewer bits: `nimctl list-profiles MODEL` shows what fits",
    ),
    Symptom(
        code="out-of-memory-kv",
        pattern=r"failed to allocate buffer for kv cache",
        cause="the key/value cache does not fit the memory beside the weights",
        hint=SMALLER,
    ),
    Symptom(
        code="out-of-memory-compute",
        # Without pipeline parallelism it tries once more, and only then gives up.
        pattern=r"failed to initialize the context: failed to allocate compute \w+ buffers"
        r"|llama_new_context_with_model: failed to allocate compute buffers",
        cause="what llama.cpp computes in does not fit the memory beside weights and cache",
        hint=SMALLER,
    ),
    Symptom(
        code="out-of-memory-host",
        pattern=r"insufficient memory \((?P<detail>attempted to allocate +[\d.]+ MB)\)",
        is_general=True,
        cause="the machine ran out of memory",
        hint=f"free memory, or {SMALLER}",
    ),
    *COMMON,
)

FELL_TO_CPU = Symptom(
    code="fell-to-cpu",
    cause="llama.cpp does not use the GPU that it was given, and would compute on the CPU",
    hint="`nimctl doctor` shows GPU and driver; install a build for it, or add --allow-cpu",
)
"""It goes on as if all were well, so that its start has to be watched for this one."""
