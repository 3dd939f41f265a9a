"""The files that an engine opens at every start: whether they are as they were at the first."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nimctl.errors import EngineError

_MOST_NAMED = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class NeededFiles:
    """Files without which an engine cannot be started again.

    Attributes:
        sizes: Their bytes, by the path that the engine opens.
        hint: How to get them back.
    """

    sizes: Mapping[str, int] = field(default_factory=dict)
    hint: str | None = None

    def explain_loss(self) -> EngineError | None:
        """Which of them are gone or of another size, as the failure that this is."""
        lost = [one for one in (_describe(path, size) for path, size in self.sizes.items()) if one]
        if not lost:
            return None
        more = len(lost) - _MOST_NAMED
        named = ", ".join(lost[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
        return EngineError(
            f"the engine cannot be started again without its files: {named}",
            hint=self.hint,
            symptom="weights-missing",
            cause="the weights are not on this disk any more",
        )


def _describe(path: str, size_bytes: int) -> str | None:
    try:
        now_bytes = Path(path).stat().st_size
    except OSError:
        return f"{path} is gone"
    return None if now_bytes == size_bytes else f"{path} has another size"
