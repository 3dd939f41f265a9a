"""The objections to an engine that cannot honour what was asked of it."""

from collections.abc import Iterator

from nimctl.core.case import Case
from nimctl.core.engine_options import find_refusals
from nimctl.core.request_fields import read_version
from nimctl.core.verdict import Finding, Fit


def check_options(case: Case) -> Iterator[Finding]:
    """Every option that was asked must have a word in the engine's language."""
    traits = case.traits
    version = read_version(case.installed.version) if case.installed else None
    for name, sentence in find_refusals(traits.options, traits.title, version, case.wish.options):
        option = "--" + name.replace("_", "-")
        yield Finding(
            check="option",
            fit=Fit.INCOMPATIBLE,
            message=sentence,
            need=option,
            hint=f"leave {option} out, or use an engine that honours it",
        )
