"""What llama.cpp's log tells of its start and its memory, as data.

The lines are those of `llama-model.cpp`, `llama-context.cpp`, `llama-kv-cache*.cpp` and the server;
older versions write `llm_load_tensors: CUDA0 buffer size` and `llama_new_context_with_model`.
"""

from nimctl.core.startup import DeviceSigns, LogSigns, MemorySign, Phase, PhaseSign

_SIZE = r"buffer size = +(?P<size>[\d.]+) (?P<unit>MiB)"

# Where `cudaGetDeviceCount` fails there is no device in the whole process (`ggml-cuda.cu`). The
# warning of `common/arg.cpp` alone does not tell: versions around b9031 print it before they look
# (llama.cpp's issue 22748), and a loaded backend may have no device.
_DEVICES = DeviceSigns(
    failed=r"ggml_cuda_init: failed to initialize \w+: (?P<detail>.+)",
    on_gpu=r"ggml_cuda_init: found [1-9]\d* \w+ devices"
    r"|: using device (?!CPU)\S+ \("
    r"|load_tensors: +(?!CPU|BLAS|AMX|\S+_Host )\S+ (?:model )?buffer size",
    on_host=r"no usable GPU found|not compiled with GPU offload support"
    r"|offloaded 0/\d+ layers to GPU|load_tensors: +CPU\S* (?:model )?buffer size",
)

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
    devices=_DEVICES,
)
