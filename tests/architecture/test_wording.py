"""Sentences that users read are finished: no placeholder of an f-string that is none is left."""

import ast
import re
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "nimctl"
PLACEHOLDER = re.compile(r"\{[A-Z_]{3,}\}")


def test_no_constant_is_named_inside_a_plain_text():
    left = [
        f"{path.name}: {node.value}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if PLACEHOLDER.search(node.value)
    ]
    assert left == []
