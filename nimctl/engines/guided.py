"""What several engines have in common in how they take NIM's fields."""

import json
from typing import Any

from nimctl.core.request_fields import refused

TEMPLATE_FIELDS = ("add_generation_prompt", "chat_template")
NO_TEMPLATE = refused("a completion has no chat template", *TEMPLATE_FIELDS)


def choice_as_grammar(choices: Any) -> str:
    """A grammar in GBNF, which xgrammar's EBNF follows, of exactly these answers.

    Raises:
        ValueError: it is not a list of texts with at least one.
    """
    if not isinstance(choices, list) or not choices or not all(map(_is_text, choices)):
        raise ValueError("must be a list of texts with at least one")
    return "root ::= " + " | ".join(json.dumps(choice, ensure_ascii=False) for choice in choices)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""
