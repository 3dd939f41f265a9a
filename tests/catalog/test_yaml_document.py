"""YAML as values with lines: what is read, what is refused, and that nothing crashes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nimctl.catalog.document import DocumentError, read_document

LIBYAMLS_LIMIT = "nested deeper|maximum nesting depth"
"""Newer releases of libyaml count brackets themselves, and end before nimctl does."""


def test_every_value_knows_its_line():
    document = read_document("a: 1\nb:\n  - x\n  - {c: 2,\n     d: 3}\n")
    assert document.value == {"a": 1, "b": ["x", {"c": 2, "d": 3}]}
    assert document.line_of(("a",)) == 1
    assert document.line_of(("b", 0)) == 3
    assert document.line_of(("b", 1, "d")) == 5
    assert document.line_of(("b", 1, "absent", "deeper")) == 4
    assert document.line_of(("absent",)) == 1


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("16_060_522_496", 16060522496),
        ("-3", -3),
        ("0", 0),
        ("010", "010"),
        ("1_", "1_"),
        ("1__0", "1__0"),
        ("1.5", 1.5),
        ("1.5e3", 1500.0),
        ("true", True),
        ("yes", "yes"),
        ("~", None),
        ("", None),
        ("'1'", "1"),
        ("2024-13-45", "2024-13-45"),
        ("26b5:10de", "26b5:10de"),
        ("12:30", "12:30"),
        ("!name 'LICENSE.txt'", "LICENSE.txt"),
        ("!!int notanumber", "notanumber"),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_scalars(text, value):
    read = read_document(f"a: {text}").value["a"]
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("", 1, "empty"),
        ("# only a comment\n", 1, "empty"),
        ("a: 1\nb: [1,\n", 3, "not valid YAML"),
        ("a: 1\n\tb: 2\n", 2, "not valid YAML"),
        ("a: 1\nb: \x07\n", 2, "control characters"),
        ("a: 1\n---\nb: 2\n", 2, "second document"),
        ("a:\n  - " + "[" * 60 + "]" * 60, 2, "nested deeper"),
        ("[" * 100_000, 1, LIBYAMLS_LIMIT),
        ("a: " + "{b: " * 100_000, 1, LIBYAMLS_LIMIT),
    ],
)
def test_what_cannot_be_read_is_said_with_its_line(text, line, part):
    with pytest.raises(DocumentError, match=part) as caught:
        read_document(text)
    assert caught.value.fault.line == line


def test_a_double_key_an_alias_and_a_strange_key_are_faults_and_the_rest_is_read():
    document = read_document("a: &x [1]\nb: 2\na: {deep: [3]}\nc: *x\n? [k]\n: v\nd: 4\n")
    assert document.value == {"a": [1], "b": 2, "c": None, "d": 4}
    assert [(fault.line, fault.message) for fault in document.faults] == [
        (3, "the key 'a' stands twice, first on line 1"),
        (4, "an alias (*name) is not read; write the value out"),
        (5, "a key must be plain text"),
    ]


def test_aliases_cannot_blow_up():
    bomb = "a0: &a0 [x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30)
    )
    assert len(read_document(bomb).faults) == 29 * 9


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text):
    try:
        read_document(text)
    except DocumentError as error:
        assert error.fault.line >= 1
