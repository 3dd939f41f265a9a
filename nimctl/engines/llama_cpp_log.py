"""What llama.cpp's log tells of its start and its memory, as data.

The lines are those of `llama-model.cpp`, `llama-context.cpp`, `llama-kv-cache*.cpp` and the server;
older versions write `llm_load_tensors: CUDA0 buffer size` and `llama_new_context_with_model`.
"""

from nimctl.core.startup import LogSigns, MemorySign, Phase, PhaseSign

_SIZE = r"buffer size = +(?P<size>[\d.]+) (?P<unit>MiB)"

SIGNS = LogSigns(
    phases=(
        PhaseSign(phase=Phase.LOADING, pattern=r"llama_model_loader: loaded meta data"),
        PhaseSign(phase=Phase.LOADING, pattern=r"load_tensors: (loading|offloading|ggml ctx)"),
        PhaseSign(
            phase=Phase.ALLOCATING,
            pattern=r"llama_context: constructing|llama_new_context_with_model: n_ctx",
        ),
        PhaseSign(phase=Phase.WARMING, pattern=r"warming up the model with an empty run"),
    ),
    memory=(
        MemorySign(
            part="weights", pattern=rf"load_tensors: +(?P<device>\S+) (model )?{_SIZE}", adds=True
        ),
        MemorySign(part="kv_cache", pattern=rf"(?P<device>\S+) (KV|RS) {_SIZE}", adds=True),
        MemorySign(
            part="activations", pattern=rf"(?P<device>\S+) +(compute|output) {_SIZE}", adds=True
        ),
    ),
    # CPU, CPU_Mapped, CPU_REPACK, and what the host lends a GPU: CUDA_Host.
    host_devices=r"^(CPU|BLAS|AMX)|_Host$",
)
