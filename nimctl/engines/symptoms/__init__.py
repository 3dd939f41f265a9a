"""What is known of how engines fail: one table for each, and those that all share; data only.

`tests/engines/symptoms` holds a real log of each. In a table the more telling come first. A hint
names commands and options that exist; a test follows that.
"""

from nimctl.engines.symptoms import llama_cpp, tensorrt_llm, vllm

FELL_TO_CPU = llama_cpp.FELL_TO_CPU
LLAMA_CPP = llama_cpp.SYMPTOMS
TENSORRT_LLM = tensorrt_llm.SYMPTOMS
VLLM = vllm.SYMPTOMS

__all__ = ["FELL_TO_CPU", "LLAMA_CPP", "TENSORRT_LLM", "VLLM"]
