"""NIM's fields under the engine's names: nothing is dropped in silence, nothing is told twice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nimctl.core.request_fields import (
    FieldRule,
    RefusedFieldError,
    read_version,
    refused,
    rules_of_version,
    same,
    translate_fields,
)


def upper(value):
    if not isinstance(value, str):
        raise ValueError("must be a text")
    return value.upper()


RULES = rules_of_version(
    (
        *same("top_k"),
        FieldRule(name="penalty", place=("repeat_penalty",)),
        FieldRule(name="json", place=("outer", "json")),
        FieldRule(name="regex", place=("outer", "regex")),
        FieldRule(name="loud", place=("text",), convert=upper),
        *refused("it is too old", "budget"),
    ),
    None,
)


def translate(document, extension=()):
    return translate_fields(document, dict(extension), RULES, "Toy")


def test_what_needs_no_change_is_left_alone():
    assert translate({"messages": [], "top_k": 3}) is None


def test_fields_of_nvext_and_of_the_top_level_are_renamed_alike():
    for document, extension in (({"penalty": 1.1}, {}), ({}, {"penalty": 1.1})):
        assert translate(document, extension) == {"repeat_penalty": 1.1}


def test_the_top_level_wins_over_nvext():
    assert translate({"top_k": 1}, {"top_k": 2}) == {"top_k": 1}
    assert translate({"temperature": 1}, {"temperature": 2}) == {"temperature": 1}


def test_fields_that_share_an_object_join_what_is_in_it():
    document = {"outer": {"own": 1}, "json": {"a": 1}}
    assert translate(document, {"regex": "x"}) == {
        "outer": {"own": 1, "json": {"a": 1}, "regex": "x"}
    }
    assert document["outer"] == {"own": 1}


def test_a_null_asks_for_nothing():
    assert translate({"budget": None, "a": None}) == {"a": None}
    assert translate({}, {"budget": None, "unheard": None}) == {}


@pytest.mark.parametrize(
    ("document", "extension", "field", "message"),
    [
        ({}, {"budget": 5}, "budget", "Toy cannot honour budget: it is too old."),
        ({"budget": 5}, {}, "budget", "Toy cannot honour budget: it is too old."),
        ({}, {"unheard": 1}, "unheard", "Toy takes no unheard here."),
        ({"penalty": 1, "repeat_penalty": 2}, {}, "penalty", "both mean repeat_penalty"),
        ({"outer": 5, "json": {}}, {}, "json", "outer, which is no object"),
        ({"loud": 5}, {}, "loud", "loud must be a text."),
    ],
)
def test_refusals_name_the_field(document, extension, field, message):
    with pytest.raises(RefusedFieldError, match=message) as caught:
        translate(document, extension)
    assert caught.value.field == field


VALUES = st.integers() | st.none()


@given(
    st.dictionaries(st.sampled_from([*RULES, "a", "b", "text", "outer"]), VALUES),
    st.dictionaries(st.sampled_from([*RULES, "a", "unheard"]), VALUES),
)
def test_every_value_is_sent_or_its_field_is_refused(document, extension):
    try:
        translated = translate(document, extension)
    except RefusedFieldError as error:
        assert error.field in document | extension
        return
    sent = repr(document if translated is None else translated)
    for value in ({**extension, **document}).values():
        assert value is None or repr(value) in sent


def test_rules_of_a_version():
    rules = (
        FieldRule(name="a", place=("old",)),
        FieldRule(name="a", place=("new",), since=(0, 12)),
    )
    for version, place in (((0, 11, 9), "old"), ((0, 12), "new"), ((1,), "new"), (None, "new")):
        assert rules_of_version(rules, version)["a"].place == (place,)


@pytest.mark.parametrize(
    ("text", "version"),
    [("0.32.0+cpu", (0, 32, 0)), ("2026.10.11549", (2026, 10, 11549)), ("dev", None), (None, None)],
)
def test_versions_are_read(text, version):
    assert read_version(text) == version
