"""What SGLang's log tells of its start and its memory, as data.

The lines are those of `model_runner.py`, `memory_pool.py` and `cuda_graph_runner.py` of 0.4 to 0.5;
each worker of several writes its rank into the brackets: `[2025-11-10 19:59:09 TP1]`. Its GB are
2^30 bytes.
"""

from nimctl.core.startup import LogSigns, MemorySign, Phase, PhaseSign

_RANK = r"\[[\d: -]+(?P<device>[TPD][^\]]*)?\] "
_GB = r"(?P<size>[\d.]+) (?P<unit>GB)"

SIGNS = LogSigns(
    phases=(
        PhaseSign(
            phase=Phase.LOADING,
            pattern=r"Loading \w* ?checkpoint shards: .*?(?P<done>\d+)/(?P<total>\d+)",
        ),
        PhaseSign(phase=Phase.LOADING, pattern=r"Load weight begin"),
        PhaseSign(phase=Phase.ALLOCATING, pattern=r"KV Cache is allocated"),
        PhaseSign(
            phase=Phase.CAPTURING, pattern=r"Capturing batches .*?(?P<done>\d+)/(?P<total>\d+) \["
        ),
        PhaseSign(phase=Phase.CAPTURING, pattern=r"Capture cuda graph begin"),
    ),
    memory=(
        MemorySign(part="weights", pattern=rf"{_RANK}Load weight end\..* mem usage={_GB}"),
        MemorySign(
            part="kv_cache", pattern=rf"{_RANK}KV Cache is allocated\..* K size: {_GB}", adds=True
        ),
        MemorySign(
            part="kv_cache", pattern=rf"{_RANK}KV Cache is allocated\..* V size: {_GB}", adds=True
        ),
        MemorySign(part="graphs", pattern=rf"{_RANK}Capture cuda graph end\..* mem usage={_GB}"),
    ),
)
