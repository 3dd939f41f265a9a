"""What engines on torch have in common: memory beside weights and cache, and compile caches.

Activation factors: aiconfigurator's, as `nimctl.core.memory` tells.
"""

from nimctl.core.engine import CompileCache
from nimctl.core.memory import FactorActivations, KvPrecision
from nimctl.core.units import MIB

ACTIVATIONS = FactorActivations(factors=((1, 11.0), (2, 6.5), (4, 5.0)), least_bytes=70 * MIB)

GRAPH_BYTES = 600 * MIB

LORA_BYTES = 900 * MIB
"""What NIM 2.0.12 adds to its printed needs for LoRA."""

KV_PRECISIONS = (
    KvPrecision(name="auto", element_bytes=2),
    KvPrecision(name="fp8", element_bytes=1),
)

COMPILE_CACHES = (
    CompileCache(variable="TORCHINDUCTOR_CACHE_DIR", place="inductor"),
    CompileCache(variable="TRITON_CACHE_DIR", place="triton"),
    CompileCache(variable="FLASHINFER_WORKSPACE_BASE", place="flashinfer", gpu_only=True),
    CompileCache(variable="CUDA_CACHE_PATH", place="cuda", gpu_only=True),
)
