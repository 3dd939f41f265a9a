"""How many tokens an answer took and why it ended, read from its last bytes without parsing it.

Inside a text the quotes around such a name are escaped, so no prompt and no answer can feign one.
"""

import re
from dataclasses import dataclass

# OpenAI's chat and completions; its responses and Anthropic's messages; llama.cpp's timings, which
# come also where no usage was asked for. llama.cpp counts what it reads from its cache apart.
_PROMPT = re.compile(rb'"(?:prompt_tokens|input_tokens)"\s*:\s*(\d+)')
_PROMPT_PARTS = re.compile(rb'"cache_n"\s*:\s*(\d+)\s*,\s*"prompt_n"\s*:\s*(\d+)')
_GENERATED = re.compile(rb'"(?:completion_tokens|output_tokens|predicted_n)"\s*:\s*(\d+)')
_FINISH = re.compile(rb'"(?:finish_reason|stop_reason|status)"\s*:\s*"([a-z_]{1,32})"')
_DONE = b"\ndata: [DONE]\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """What an answer told of itself; None is what it did not tell."""

    prompt_tokens: int | None
    generated_tokens: int | None
    finish_reason: str | None


def read_usage(last_bytes: bytes) -> Usage:
    """The counts and the reason that come last in the end of an answer."""
    return Usage(
        prompt_tokens=_last_number(_PROMPT, last_bytes) or _sum_of_parts(last_bytes),
        generated_tokens=_last_number(_GENERATED, last_bytes),
        finish_reason=_last_word(last_bytes),
    )


def has_said_all(last_bytes: bytes) -> bool:
    """Whether a stream has come to its `[DONE]`: OpenAI's client leaves then, and misses nothing.

    Inside an event there is no line of its own, so no text can feign that one.
    """
    return _DONE in last_bytes


def _last_number(pattern: re.Pattern[bytes], data: bytes) -> int | None:
    found = pattern.findall(data)
    return int(found[-1]) if found else None


def _sum_of_parts(data: bytes) -> int | None:
    found = _PROMPT_PARTS.findall(data)
    return sum(map(int, found[-1])) if found else None


def _last_word(data: bytes) -> str | None:
    found = _FINISH.findall(data)
    return found[-1].decode() if found else None
