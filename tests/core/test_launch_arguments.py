"""Who set an argument, and which of two that mean the same the engine gets."""

import pytest

from nimctl.core.launch_arguments import (
    Argument,
    NativeArguments,
    Spelling,
    compose,
    split_words,
)

SPELLING = Spelling(
    aliases={"-tp": "--tensor-parallel-size"},
    repeatable=("--middleware",),
    has_underscores=True,
    has_negations=True,
)
OWN = (
    Argument(words=("serve", "/model")),
    Argument(words=("--max-model-len", "4096"), origin="plan", setting="context_length"),
    Argument(words=("--tensor-parallel-size", "1"), origin="plan"),
    Argument(words=("--enable-prefix-caching",)),
    Argument(words=("--seed", "1"), origin="plan", setting="seed"),
)


def put_together(command_line=(), passthrough=(), **origins):
    native = NativeArguments(
        passthrough=split_words(passthrough, "environment NIM_PASSTHROUGH_ARGS"),
        command_line=split_words(command_line, "after --"),
    )
    return compose(OWN, native, origins=origins, spelling=SPELLING)


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("--a", "1", "-b", "-3", "--c"), ["--a", "-b", "--c"]),
        (("--lora-modules", "a=/a", "b=/b", "--x={-1}"), ["--lora-modules", "--x"]),
        (("word", "--a"), ["word", "--a"]),
        ((), []),
    ],
)
def test_words_are_options_with_what_follows_them(words, names):
    split = split_words(words, "after --")
    assert [one.name for one in split] == names
    assert tuple(word for one in split for word in one.words) == words


def test_values_stand_behind_an_option_or_in_it():
    joined, apart = split_words(("--a=b=c", "--d", "e", "f"), "after --")
    assert joined.values == ("b=c",)
    assert apart.values == ("e", "f")


def test_everything_is_said_once_and_has_an_origin():
    composed = put_together()
    assert composed.words[:4] == ("serve", "/model", "--max-model-len", "4096")
    assert not composed.overridden
    assert [one.origin for one in composed.arguments] == [
        "nimctl",
        "plan",
        "plan",
        "nimctl",
        "plan",
    ]


def test_a_setting_that_somebody_set_is_the_origin():
    composed = put_together(context_length="environment NIM_MAX_MODEL_LEN")
    assert composed.arguments[1].origin == "environment NIM_MAX_MODEL_LEN"


@pytest.mark.parametrize(
    ("word", "lost"),
    [
        ("--max-model-len=8192", "--max-model-len"),
        ("--max_model_len=8192", "--max-model-len"),
        ("-tp", "--tensor-parallel-size"),
        ("--no-enable-prefix-caching", "--enable-prefix-caching"),
    ],
)
def test_what_the_user_writes_replaces_ours_in_every_spelling(word, lost):
    composed = put_together((word,))
    (overridden,) = composed.overridden
    assert (overridden.argument.name, overridden.by.words) == (lost, (word,))
    assert lost not in composed.words
    assert composed.words[-1] == word


def test_nims_order_of_precedence():
    passthrough, native = ("--seed", "2"), ("--seed", "3")
    # A variable is weaker than NIM_PASSTHROUGH_ARGS, an option of this command stronger.
    assert put_together((), passthrough, seed="environment NIMCTL_SEED").words[-2:] == passthrough
    kept = put_together((), passthrough, seed="flag --seed")
    assert kept.words[-2:] == ("--seed", "1")
    assert kept.overridden[0].argument.origin == "environment NIM_PASSTHROUGH_ARGS"
    assert put_together(native, passthrough, seed="flag --seed").words[-2:] == native


def test_of_two_equals_the_last_wins_unless_both_count():
    assert put_together(("--seed", "7", "--seed", "8")).words[-2:] == ("--seed", "8")
    both = ("--middleware", "a", "--middleware", "b")
    assert put_together(both).words[-4:] == both
