"""What the page of metrics tells of the engine's life: starts, their phases, silence."""

from collections import Counter

from nimctl.server.gateway.exposition import Family, Sample, counter

_OWN = "nimctl_engine_"


class EngineFigures:
    """Counted by whoever supervises the engine, printed on the gateway's page.

    Attributes:
        restarts: How often the engine was started again, by why: `ended`, `hung`, `not_started`.
        silences: How often it did not answer for a while, and was not ready then.
        phase_s: Seconds that each phase of the last start took.
    """

    def __init__(self) -> None:
        self.restarts = Counter(dict.fromkeys(("ended", "hung", "not_started"), 0))
        self.silences = 0
        self.phase_s: dict[str, float] = {}

    def families(self) -> list[Family]:
        """All figures, for the page."""
        return [
            Family(
                f"{_OWN}restarts_total",
                "counter",
                "Starts after the first.",
                [
                    Sample(labels=f'{{why="{why}"}}', value=str(n))
                    for why, n in self.restarts.items()
                ],
            ),
            counter(f"{_OWN}silences_total", "Times it did not answer.", self.silences),
            Family(
                f"{_OWN}start_phase_seconds",
                "gauge",
                "How long a phase of the last start took.",
                [
                    Sample(labels=f'{{phase="{phase}"}}', value=f"{seconds:.3f}")
                    for phase, seconds in self.phase_s.items()
                ],
            ),
        ]
