"""What the real model answers to fixed prompts, each token the likeliest: kept for every engine.

    python tests/e2e/greedy_answers.py ENGINE URL

writes what the server at URL answers now as the answers of ENGINE.
"""

import json
import sys
from pathlib import Path

import openai

KEPT = Path(__file__).with_name("greedy_answers.json")
MODEL = "huggingfacetb/smollm2-135m-instruct"
PROMPTS = (
    "One, two, three, four,",
    "The days of the week are Monday, Tuesday,",
    "The capital of France is",
    "Water is made of hydrogen and",
    "def add(a, b):\n    return",
    "Once upon a time, there was a",
)
TOKENS = 16
ALIKE_WORDS = 2
"""Rounding differs between processors and engines, and one other token changes all after it."""

LEAST_ALIKE = len(PROMPTS) - 1


def ask(client: openai.OpenAI) -> dict[str, str]:
    """The answer to each prompt."""
    asked = {"model": MODEL, "max_tokens": TOKENS, "temperature": 0}
    return {
        prompt: client.completions.create(prompt=prompt, **asked).choices[0].text
        for prompt in PROMPTS
    }


def read_kept() -> dict[str, dict[str, str]]:
    """By engine, what was answered when the file was written."""
    return json.loads(KEPT.read_text())


def count_alike(one: dict[str, str], other: dict[str, str]) -> int:
    """Prompts whose answers begin with the same words."""
    return sum(
        one[prompt].split()[:ALIKE_WORDS] == other[prompt].split()[:ALIKE_WORDS]
        for prompt in PROMPTS
    )


def main(engine: str, url: str) -> None:
    kept = read_kept() if KEPT.exists() else {}
    with openai.OpenAI(base_url=f"{url}/v1", api_key="unused") as client:
        kept[engine] = ask(client)
    KEPT.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
