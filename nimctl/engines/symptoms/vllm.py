"""How vLLM fails: what its engine core, its workers and its configuration say."""

from nimctl.core.symptom import Symptom
from nimctl.engines.symptoms.host import (
    COMMON,
    FETCH_AGAIN,
    LOOK_AT_ARGUMENTS,
    SMALLER,
    TORCH_OUT_OF_MEMORY,
)

_CLOSE = r"[\s\S]{0,8000}?"
"""From a line of a traceback to the error at its end."""

SYMPTOMS = (
    Symptom(
        code="unknown-argument",
        pattern=r"error: unrecognized arguments: (?P<detail>.+)",
        cause="vLLM does not know an argument it was given",
        hint=LOOK_AT_ARGUMENTS,
    ),
    Symptom(
        code="memory-not-free",
        pattern=r"Free memory on device (?:cuda:\d+ )?\((?P<detail>[\d./]+ GiB)\)[^\n]* is less "
        r"than desired GPU memory utilization",
        cause="other programs took GPU memory between the plan and the start",
        hint="`nimctl doctor` shows who holds it; then start again",
    ),
    Symptom(
        code="ram-not-free",
        pattern=r"Available memory on node \d+ \((?P<detail>[\d./]+ GiB)\)",
        cause="vLLM on a CPU takes its memory from one memory node, which has too little free",
        hint=f"{SMALLER}, or --engine llama.cpp",
    ),
    Symptom(
        code="kv-cache-too-small",
        pattern=r"estimated (?P<detail>maximum model length is \d+)"
        r"|is larger than the maximum number of tokens that can be stored in KV cache"
        r"|No available memory for the cache blocks",
        cause="the key/value cache does not hold one sequence of the planned context",
        hint="use a smaller --context-length",
    ),
    Symptom(
        code="out-of-memory-sequences",
        pattern=r"out of memory occurred when warming up sampler with (?P<detail>\d+) dummy",
        cause="the GPU has no memory left to answer so many requests at once",
        hint="use a smaller --concurrency",
    ),
    Symptom(
        code="out-of-memory-graphs",
        pattern=rf"(?:torch/cuda/graphs\.py|\bcapture_model\(){_CLOSE}{TORCH_OUT_OF_MEMORY}",
        cause="recording CUDA graphs takes more memory than is left",
        hint=f"{SMALLER}, or add `-- --enforce-eager`, which does without them",
    ),
    Symptom(
        code="out-of-memory-weights",
        pattern=rf"(?:\bmake_layers\(|in load_weights\b|in create_weights\b){_CLOSE}"
        rf"{TORCH_OUT_OF_MEMORY}",
        cause="the weights do not fit the GPU's free memory",
        hint="free memory, or use fewer bits or more GPUs: `nimctl list-profiles MODEL`",
    ),
    Symptom(
        code="graph-capture-failed",
        pattern=r"operation not permitted when stream is capturing"
        r"|operation failed due to a previous error during capture",
        cause="CUDA graphs of this model cannot be recorded with this version",
        hint="add `-- --enforce-eager`, which does without them",
    ),
    Symptom(
        code="compiler-missing",
        pattern=r"Failed to find C compiler|InvalidCxxCompiler|No working C\+\+ compiler found",
        cause="vLLM compiles parts of the model at the start, and there is no compiler",
        hint="install one: apt-get install g++; or add `-- --enforce-eager`",
    ),
    Symptom(
        code="quantisation-unsupported",
        pattern=r"quantization method (?P<detail>\S+) is not (?:currently )?supported"
        r"|Quantization scheme is not supported for"
        r"|Unknown quantization method",
        cause="vLLM does not run weights quantised in this way here",
        hint="use another --precision: `nimctl list-profiles MODEL` shows them",
    ),
    Symptom(
        code="precision-unsupported",
        pattern=r"Bfloat16 is only supported on GPUs with compute capability of at least 8\.0",
        cause="this GPU does not compute in bfloat16",
        hint="use another --precision: `nimctl list-profiles MODEL` shows them",
    ),
    Symptom(
        code="context-too-long",
        pattern=r"User-specified max_model_len \((?P<detail>\d+)\) is greater than the derived",
        cause="the context is longer than the model was made for",
        hint="use a smaller --context-length",
    ),
    Symptom(
        code="unknown-architecture",
        pattern=r"Model architectures \[(?P<detail>[^\]]+)\] are not supported",
        cause="this vLLM does not know the model's architecture",
        hint="`nimctl engines install vllm` installs the newest",
    ),
    Symptom(
        code="unknown-model-type",
        pattern=r"has model type `(?P<detail>[^`]+)` but Transformers does not recognize",
        cause="the Transformers library of this vLLM does not know the model's type",
        hint="`nimctl engines install vllm` installs the newest",
    ),
    Symptom(
        code="lora-rank-too-high",
        pattern=r"(?P<detail>LoRA rank \d+ is greater than max_lora_rank \d+)",
        cause="a LoRA adapter has a higher rank than there is room for",
        hint="add `-- --max-lora-rank 64`, or as much as it needs",
    ),
    Symptom(
        code="weights-missing",
        pattern=r"Cannot find any model weights with",
        cause="the weights are not on this disk any more",
        hint="`nimctl download MODEL` fetches them again",
    ),
    Symptom(
        code="weights-damaged",
        pattern=r"SafetensorError: (?P<detail>.+)",
        cause="a file of the weights is damaged or cut off",
        hint=FETCH_AGAIN,
    ),
    Symptom(
        code="config-missing",
        pattern=r"Invalid repository ID or local directory specified: '(?P<detail>[^']+)'",
        cause="the folder of the model has no config.json",
        hint=FETCH_AGAIN,
    ),
    Symptom(
        code="tokenizer-missing",
        pattern=r"Couldn't instantiate the backend tokenizer",
        cause="the folder of the model has no tokenizer that can be read",
        hint=FETCH_AGAIN,
    ),
    Symptom(
        code="needs-remote-code",
        pattern=r"contains custom code which must be executed to correctly load the model",
        cause="the model brings code of its publisher, which runs only if that is allowed",
        hint="use another model, or set NIMCTL_TRUST_REMOTE_CODE=1 if you trust the publisher",
    ),
    Symptom(
        code="offline",
        pattern=r"LocalEntryNotFoundError: (?P<detail>[^.\n]+)",
        cause="the engine looks for a file that is not on this disk; it is given no network",
        hint=FETCH_AGAIN,
    ),
    Symptom(
        code="heads-do-not-divide",
        pattern=r"(?P<detail>Total number of attention heads \(\d+\) must be divisible by tensor "
        r"parallel size \(\d+\))",
        cause="the model cannot be split over so many GPUs",
        hint="use another --tensor-parallel: `nimctl list-profiles MODEL` shows those that can be",
    ),
    *COMMON,
)
