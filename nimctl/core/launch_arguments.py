"""The arguments of an engine's command: who set each, and which of two that mean the same wins."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

PLAN = "plan"
"""The origin of what the judge chose for this machine."""

DEFAULT = "nimctl"
"""The origin of what nimctl always says."""

_NUMBER = re.compile(r"-\d")


@dataclass(frozen=True, kw_only=True, slots=True)
class Argument:
    """One option of a command with its values, or the words before the first option.

    Attributes:
        words: As the engine gets them, e.g. `("--seed", "1")` or `("--seed=1",)`.
        origin: Who set it: `plan`, `nimctl`, a family of models, or as settings tell it.
        setting: The setting that decides it where somebody set that one.
    """

    words: tuple[str, ...]
    origin: str = DEFAULT
    setting: str | None = None

    @property
    def name(self) -> str:
        """The option, e.g. `--seed`; of words before any option the first."""
        return self.words[0].partition("=")[0] if self.words[0].startswith("-") else self.words[0]

    @property
    def values(self) -> tuple[str, ...]:
        """What follows the option."""
        first, equals, value = self.words[0].partition("=")
        joined = (value,) if equals and first.startswith("-") else ()
        return (*joined, *self.words[1:])


@dataclass(frozen=True, kw_only=True, slots=True)
class Spelling:
    """How an engine's command line reads its options.

    Attributes:
        aliases: Other names of options -> the one nimctl writes.
        repeatable: Options that may be given several times and all count.
        has_underscores: `--max_model_len` is `--max-model-len`.
        has_negations: `--no-x` takes back `--x`.
    """

    aliases: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    repeatable: tuple[str, ...] = ()
    has_underscores: bool = False
    has_negations: bool = False

    def canonical(self, name: str) -> str:
        """The name two spellings of one option share."""
        if self.has_underscores and name.startswith("--"):
            name = name.replace("_", "-")
        name = self.aliases.get(name, name)
        if self.has_negations and name.startswith("--no-"):
            return "--" + name.removeprefix("--no-")
        return name


@dataclass(frozen=True, kw_only=True, slots=True)
class Overridden:
    """An argument that the engine does not get, and the one it gets instead."""

    argument: Argument
    by: Argument


@dataclass(frozen=True, kw_only=True, slots=True)
class Composed:
    """The arguments an engine gets, in order, and what they override."""

    arguments: tuple[Argument, ...]
    overridden: tuple[Overridden, ...] = ()

    @property
    def words(self) -> tuple[str, ...]:
        """All of them as the process gets them."""
        return tuple(word for argument in self.arguments for word in argument.words)


@dataclass(frozen=True, kw_only=True, slots=True)
class NativeArguments:
    """Arguments of the engine's own command line that the user wrote.

    Attributes:
        passthrough: Of the settings (`NIM_PASSTHROUGH_ARGS`).
        command_line: Of this command, after `--`.
    """

    passthrough: tuple[Argument, ...] = ()
    command_line: tuple[Argument, ...] = ()


def split_words(words: Iterable[str], origin: str) -> tuple[Argument, ...]:
    """The options in a list of words, each with the values that follow it."""
    groups: list[list[str]] = []
    for word in words:
        is_option = word.startswith("-") and word != "-" and not _NUMBER.match(word)
        if is_option or not groups:
            groups.append([])
        groups[-1].append(word)
    return tuple(Argument(words=tuple(group), origin=origin) for group in groups)


def compose(
    own: Iterable[Argument],
    native: NativeArguments,
    *,
    origins: Mapping[str, str],
    spelling: Spelling,
) -> Composed:
    """One command line of what nimctl writes and what the user wrote, each option once.

    NIM's order of precedence: the command line, `NIM_PASSTHROUGH_ARGS`, variables and files, the
    profile, defaults. Of equals the last wins.

    Args:
        origins: Who set each setting that somebody set.
    """
    told = [tell_origin(argument, origins) for argument in own]
    everything = (*told, *native.passthrough, *native.command_line)
    ranks = [
        *(3 if argument.origin.startswith("flag ") else 1 for argument in told),
        *(2 for _ in native.passthrough),
        *(3 for _ in native.command_line),
    ]
    winners: dict[str, int] = {}
    for index, argument in enumerate(everything):
        name = spelling.canonical(argument.name)
        if name not in winners or ranks[index] >= ranks[winners[name]]:
            winners[name] = index
    kept, overridden = [], []
    for index, argument in enumerate(everything):
        name = spelling.canonical(argument.name)
        if name in spelling.repeatable or winners[name] == index or not name.startswith("-"):
            kept.append(argument)
        else:
            overridden.append(Overridden(argument=argument, by=everything[winners[name]]))
    return Composed(arguments=tuple(kept), overridden=tuple(overridden))


def tell_origin(argument: Argument, origins: Mapping[str, str]) -> Argument:
    """The argument with who set its setting, where somebody did."""
    origin = origins.get(argument.setting) if argument.setting else None
    return replace(argument, origin=origin) if origin else argument
