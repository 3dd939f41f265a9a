"""What an engine offers clients, as data: its routes, its names for fields and for figures."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from nimctl.core.request_fields import FieldRule, Version, rules_of_version


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineRoute:
    """A path that an engine answers.

    Attributes:
        path: As clients, NIM and the engine write it; `{id}` stands for one segment.
        since: Its first version with it.
        needs: Arguments of its command of which one must be there for it; empty needs none.
        fields: What it calls the fields of its body that NIM knows.
    """

    path: str
    since: Version = ()
    needs: tuple[str, ...] = ()
    fields: tuple[FieldRule, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class FigureSource:
    """Where a figure of NIM's comes from: families of the engine's, summed if they are several.

    Of several sources of one name, the first whose families are all there counts.
    """

    name: str
    families: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineSurface:
    """Everything an engine can offer, whatever its version and arguments.

    Attributes:
        title: The name its makers use.
        metrics_path: Where it shows its figures.
        figures: What it calls NIM's figures.
        adapters_by_name: A LoRA adapter is asked for as a model of its name.
        sequences_options: Arguments of its command that say how many requests it works on at once.
    """

    title: str
    routes: tuple[EngineRoute, ...]
    sequences_options: tuple[str, ...]
    metrics_path: str = "/metrics"
    figures: tuple[FigureSource, ...] = ()
    adapters_by_name: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Offer:
    """What a started engine offers; without any arguments, one that is taken at its word.

    Attributes:
        fields: The rules of the fields by name, by path; None passes every path and field on.
        missing: Paths that this start of the engine lacks -> what they need.
    """

    title: str = "The engine"
    fields: Mapping[str, Mapping[str, FieldRule]] | None = None
    missing: Mapping[str, str] = field(default_factory=dict)
    metrics_path: str = "/metrics"
    figures: tuple[FigureSource, ...] = ()
    adapters_by_name: bool = False

    def offers(self, path: str) -> bool:
        """Whether clients may call a path."""
        return self.fields is None or path in self.fields

    def explain_missing(self, path: str) -> str:
        """One sentence on why a path is not offered."""
        need = self.missing.get(path)
        return f"{self.title} has no {path}{f' {need}' if need else ''}."


def offer(
    surface: EngineSurface, *, version: Version | None, argv: tuple[str, ...] | None
) -> Offer:
    """What an engine of this version offers when it is started with these arguments.

    An unknown version counts as the newest; unknown arguments (None) as all that are needed.
    """
    offered, missing = [], {}
    given = {argument.partition("=")[0] for argument in argv or ()}
    for route in surface.routes:
        if version is not None and route.since > version:
            missing[route.path] = f"before version {'.'.join(map(str, route.since))}"
        elif argv is not None and route.needs and not given & set(route.needs):
            missing[route.path] = f"unless it is started with {' or '.join(route.needs)}"
        else:
            offered.append(route)
    return Offer(
        title=surface.title,
        fields={route.path: rules_of_version(route.fields, version) for route in offered},
        missing=missing,
        metrics_path=surface.metrics_path,
        figures=surface.figures,
        adapters_by_name=surface.adapters_by_name,
    )


def read_sequences(surface: EngineSurface, argv: tuple[str, ...]) -> int | None:
    """How many requests an engine that is started so works on at once; None where it decides."""
    said = None
    for argument, following in zip(argv, (*argv[1:], ""), strict=True):
        option, equals, value = argument.partition("=")
        number = value if equals else following
        if option in surface.sequences_options and number.isdigit():
            said = int(number)
    return said
