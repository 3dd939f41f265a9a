"""What a user may ask of an engine beside size and place, and an engine's own words for it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from nimctl.core.launch_arguments import Argument
from nimctl.core.request_fields import Version

NO_PARSER = "none"
"""Asks for no parser, where a model's family would have one."""


_OF_SPEED = ("prefix_caching", "chunked_prefill", "speculative")


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineOptions:
    """What was asked of the engine; None is not asked.

    Attributes:
        tool_parser: What reads tool calls out of answers: the engine's name for it, or `none`.
        reasoning_parser: What tells reasoning from the answer: the engine's name, or `none`.
        chat_template: A file in Jinja, instead of the model's own template.
        prefix_caching: Whether what prompts begin with is kept for the next.
        chunked_prefill: Whether long prompts are worked on in pieces.
        structured_output_backend: What holds answers to a schema, e.g. `xgrammar`.
        speculative: `ngram`, `mtp`, or the folder (of GGUF the file) of a draft model.
        speculative_tokens: Tokens guessed at once.
        seed: Of the engine's random numbers.
        trust_remote_code: Whether the publisher's code may run.
        max_lora_rank: The largest rank an adapter may have.
        max_loras: Adapters on the GPU at once.
        max_cpu_loras: Adapters kept in the machine's memory.
    """

    tool_parser: str | None = None
    reasoning_parser: str | None = None
    chat_template: PurePath | None = None
    prefix_caching: bool | None = None
    chunked_prefill: bool | None = None
    structured_output_backend: str | None = None
    speculative: str | None = None
    speculative_tokens: int | None = None
    seed: int | None = None
    trust_remote_code: bool | None = None
    max_lora_rank: int | None = None
    max_loras: int | None = None
    max_cpu_loras: int | None = None

    @property
    def changes_speed(self) -> bool:
        """Whether it runs faster or slower for what was asked, so that figures mean less."""
        return any(name in _OF_SPEED for name, _ in self.list_asked())

    def list_asked(self) -> Iterator[tuple[str, Any]]:
        """The name and the value of each that was asked."""
        for name in self.__slots__:
            value = getattr(self, name)
            if value is not None:
                yield name, value


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """An option in an engine's own words.

    Attributes:
        words: Options of its command line, each with its values.
        entries: Keys of its options file with dots between levels -> values.
        env: Variables.
    """

    words: tuple[tuple[str, ...], ...] = ()
    entries: Mapping[str, object] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class OptionRule:
    """What becomes of one option of nimctl's.

    Attributes:
        name: Of a field of `EngineOptions`.
        write: From the value, and all that was asked, to the engine's words; raises ValueError with
            the reason for one it cannot honour. None: it honours none.
        reason: Why it is refused: the end of a sentence.
        since: The first version the rule holds for; a later rule of the same name replaces it.
    """

    name: str
    write: Callable[[Any, EngineOptions], Written] | None = None
    reason: str = ""
    since: Version = ()

    @property
    def flag(self) -> str:
        """nimctl's command-line option."""
        return "--" + self.name.replace("_", "-")


OptionRules = tuple[OptionRule, ...]


class RefusedOptionError(Exception):
    """An engine cannot honour an option; the text is one sentence without its full stop."""


def find_rule(rules: OptionRules, name: str, version: Version | None) -> OptionRule:
    """The rule that holds for a version; the newest where that is not known."""
    known = [one for one in rules if one.name == name]
    return [one for one in known if version is None or one.since <= version][-1]


def write_option(
    rules: OptionRules, title: str, version: Version | None, name: str, options: EngineOptions
) -> Written:
    """One option that was asked, in the words of the engine `title` of that version.

    Raises:
        RefusedOptionError: it cannot honour it.
    """
    rule, value = find_rule(rules, name, version), getattr(options, name)
    if rule.write is None:
        raise RefusedOptionError(f"{title} cannot honour {rule.flag}: {rule.reason}")
    try:
        return rule.write(value, options)
    except ValueError as error:
        raise RefusedOptionError(f"{title} cannot honour {rule.flag} {value}: {error}") from error


def find_refusals(
    rules: OptionRules, title: str, version: Version | None, options: EngineOptions
) -> Iterator[tuple[str, str]]:
    """The options an engine of that version cannot honour, each with the sentence that says so."""
    for name, _ in options.list_asked():
        try:
            write_option(rules, title, version, name, options)
        except RefusedOptionError as error:
            yield name, str(error)


def as_arguments(written: Written, setting: str, origin: str) -> tuple[Argument, ...]:
    """The options of the command line that came of one of nimctl's."""
    return tuple(Argument(words=words, origin=origin, setting=setting) for words in written.words)
