"""What vLLM's log tells of its start and its memory, as data.

The lines are those of `gpu_model_runner.py`, `cpu_model_runner.py`, `gpu_worker.py`, `backends.py`
and `weight_utils.py` of 0.10 to 0.32; each worker of several writes `(Worker_TP0 pid=...)` before
them.
"""

from nimctl.core.startup import LogSigns, MemorySign, Phase, PhaseSign

_WORKER = r"(?:\((?P<device>Worker\S*) pid=\d+\) .*)?"
_GIB = r"(?P<size>[\d.,]+) (?P<unit>GiB)"

SIGNS = LogSigns(
    phases=(
        PhaseSign(
            phase=Phase.LOADING,
            pattern=r"Loading \w* ?checkpoint shards: .*?(?P<done>\d+)/(?P<total>\d+)",
        ),
        PhaseSign(phase=Phase.LOADING, pattern=r"Starting to load model"),
        PhaseSign(
            phase=Phase.COMPILING,
            pattern=r"Dynamo bytecode transform|for vLLM's torch\.compile"
            r"|Warming up model for the compilation",
        ),
        PhaseSign(
            phase=Phase.ALLOCATING,
            pattern=r"Available KV cache memory|(GPU|CPU) KV cache size",
        ),
        PhaseSign(
            phase=Phase.CAPTURING,
            pattern=r"Capturing CUDA graphs?.*?(?P<done>\d+)/(?P<total>\d+)",
        ),
        PhaseSign(phase=Phase.CAPTURING, pattern=r"Capturing CUDA graph"),
    ),
    memory=(
        MemorySign(part="weights", pattern=rf"{_WORKER}Model loading took {_GIB}"),
        MemorySign(part="kv_cache", pattern=rf"{_WORKER}Available KV cache memory: {_GIB}"),
        MemorySign(  # on a CPU
            part="kv_cache",
            pattern=r"(Explicitly|Auto) set \((?P<size>[\d.]+)/[\d.]+\) (?P<unit>GiB) for KV cache",
        ),
        MemorySign(part="graphs", pattern=rf"{_WORKER}Graph capturing finished in .* took {_GIB}"),
    ),
)
