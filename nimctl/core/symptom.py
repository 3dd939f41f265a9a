"""What an engine prints, or how it ends, when it fails in a known way; and which of them it was."""

import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Symptom:
    """A known failure of an engine.

    Attributes:
        code: Stable name.
        pattern: Regular expression that is found in its log; a group `detail` is shown. None where
            only the exit code tells.
        exit_code: How it ends, 128 and the number of the signal; None where only the log tells.
        is_general: It says little, or is what follows on another: it counts where nothing else is
            found.
        cause: One sentence for the user.
        hint: The next thing to do.
    """

    code: str
    pattern: str | None = None
    exit_code: int | None = None
    is_general: bool = False
    cause: str
    hint: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Diagnosis:
    """A symptom that was found, and what the engine said of it."""

    symptom: Symptom
    detail: str | None

    @property
    def cause(self) -> str:
        """The cause in one sentence, with the engine's own detail."""
        return f"{self.symptom.cause}{f': {self.detail}' if self.detail else ''}"


def list_matches(
    symptoms: Iterable[Symptom], log: str, exit_code: int | None = None
) -> tuple[Diagnosis, ...]:
    """Every symptom that is found, in the order of the table."""
    found = ((symptom, _match(symptom, log, exit_code)) for symptom in symptoms)
    return tuple(
        Diagnosis(symptom=symptom, detail=match.groupdict().get("detail") or None)
        for symptom, match in found
        if match is not None
    )


def find_symptom(
    symptoms: Iterable[Symptom], log: str, exit_code: int | None = None
) -> Diagnosis | None:
    """Why the engine failed: the first in the table that is found, general ones only at last.

    An engine prints the cause and then what followed on it, often with more lines; so what is
    asked for is the whole log of its life, and not the last line that matches.
    """
    found = list_matches(symptoms, log, exit_code)
    specific = (one for one in found if not one.symptom.is_general)
    return next(specific, None) or next(iter(found), None)


def _match(symptom: Symptom, log: str, exit_code: int | None) -> re.Match[str] | None:
    if symptom.exit_code is not None and symptom.exit_code != exit_code:
        return None
    return re.search(symptom.pattern or "", log)
