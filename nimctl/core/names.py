"""What engines and goals are called, by people and in files."""

from typing import Literal, get_args

EngineName = Literal["tensorrt_llm", "vllm", "sglang", "llama.cpp"]

Goal = Literal["latency", "throughput"]
"""What a profile was tuned for."""

GOALS: tuple[Goal, ...] = get_args(Goal)

WishGoal = Literal["latency", "throughput", "balanced", "quality"]
"""What to choose for. Balanced, the default, is latency without giving up quality for it."""
