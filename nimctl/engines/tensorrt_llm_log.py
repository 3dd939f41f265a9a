"""What TensorRT-LLM's log tells of its start and its memory, as data.

The lines are those of `_torch/pyexecutor/_util.py`, `model_engine.py`, `model_loader.py` and the
C++ cache manager, of 0.20 to 1.2. The cache is allocated twice: small for a trial run, by which the
rest is measured, and then as large as it fits.
"""

from nimctl.core.startup import LogSigns, MemorySign, Phase, PhaseSign

_GIB = r"(?P<size>[\d.]+) (?P<unit>GiB)"
_MEASURED = r"in memory usage profiling: "

SIGNS = LogSigns(
    phases=(
        PhaseSign(phase=Phase.LOADING, pattern=r"Loading weights: .*?(?P<done>\d+)/(?P<total>\d+)"),
        PhaseSign(
            phase=Phase.LOADING,
            pattern=r"(Use|uses) [\d.]+ GB for model weights|[Pp]refetching .*(safetensors|files)"
            r"|Loading safetensors weights",
        ),
        PhaseSign(phase=Phase.ALLOCATING, pattern=r"Model init total"),
        PhaseSign(phase=Phase.COMPILING, pattern=r"Autotuning process starts|autotuner warmup"),
        PhaseSign(
            phase=Phase.CAPTURING,
            pattern=r"Creating CUDA graph instances|[Rr]un generation.only CUDA graph warmup",
        ),
    ),
    memory=(
        MemorySign(
            part="weights",
            pattern=rf"Memory used after loading model weights \(inside torch\) {_MEASURED}{_GIB}",
        ),
        MemorySign(
            part="activations",
            pattern=rf"Memory dynamically allocated during inference \(inside torch\) "
            rf"{_MEASURED}{_GIB}",
        ),
        MemorySign(part="kv_cache", pattern=rf"Allocated {_GIB} for max tokens in paged KV cache"),
    ),
)
