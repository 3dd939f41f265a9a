"""Prometheus' text format: families of samples, read from an engine's page and written to ours."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\.)*"'
_SAMPLE = re.compile(rf"({_NAME})(\{{(?:{_LABEL},?)*\}})? (\S+)(?: -?\d+)?")
_HELP = re.compile(rf"# HELP ({_NAME}) (.*)")
_TYPE = re.compile(rf"# TYPE ({_NAME}) (counter|gauge|histogram|summary|untyped)")
_SUFFIX = re.compile(r"_(bucket|sum|count)$")


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One line: the family's name and a suffix, labels in braces or nothing, and a number."""

    suffix: str = ""
    labels: str = ""
    value: str


@dataclass(slots=True)
class Family:
    """All samples of one name.

    Attributes:
        kind: `counter`, `gauge`, `histogram`, `summary` or `untyped`.
    """

    name: str
    kind: str = "untyped"
    help_text: str = ""
    samples: list[Sample] = field(default_factory=list)

    def renamed(self, name: str, help_text: str) -> "Family":
        """The same samples under another name."""
        return Family(name, self.kind, help_text, self.samples)

    def total(self) -> float:
        """The sum of all samples, of a counter or a gauge."""
        return sum(float(sample.value) for sample in self.samples)


def read_families(page: str) -> dict[str, Family]:
    """The families of a page by name; lines that are not of the format are left out.

    Each series is kept once, so that a page made of these families is valid whatever came.
    """
    families: dict[str, Family] = {}
    seen = set()
    for line in page.splitlines():
        if help_line := _HELP.fullmatch(line):
            _family(families, help_line[1]).help_text = help_line[2]
        elif type_line := _TYPE.fullmatch(line):
            _family(families, type_line[1]).kind = type_line[2]
        elif (sample := _SAMPLE.fullmatch(line)) and _is_number(sample[3]):
            name, labels = sample[1], sample[2] or ""
            if (name, labels) in seen:
                continue
            seen.add((name, labels))
            base = name if name in families else _SUFFIX.sub("", name)
            base = base if base in families else name
            found = Sample(suffix=name.removeprefix(base), labels=labels, value=sample[3])
            _family(families, base).samples.append(found)
    return families


def _family(families: dict[str, Family], name: str) -> Family:
    return families.setdefault(name, Family(name))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text


def render_families(families: Iterable[Family]) -> str:
    """A page of these families; one without samples is left out."""
    lines = []
    for family in families:
        if not family.samples:
            continue
        lines.append(f"# HELP {family.name} {family.help_text}")
        lines.append(f"# TYPE {family.name} {family.kind}")
        lines += [f"{family.name}{one.suffix}{one.labels} {one.value}" for one in family.samples]
    return "".join(f"{line}\n" for line in lines)


def gauge(name: str, help_text: str, value: float) -> Family:
    """A family of one number that goes up and down."""
    return Family(name, "gauge", help_text, [Sample(value=str(value))])


def counter(name: str, help_text: str, value: float) -> Family:
    """A family of one number that only grows."""
    return Family(name, "counter", help_text, [Sample(value=str(value))])
