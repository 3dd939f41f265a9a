"""What the page of metrics tells of the engine's life: starts, their phases, silence."""

from collections import Counter

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

    def render(self) -> list[str]:
        """The lines of all figures in Prometheus' text format."""
        page = [
            f"# HELP {_OWN}restarts_total Starts after the first.",
            f"# TYPE {_OWN}restarts_total counter",
            *(f'{_OWN}restarts_total{{why="{why}"}} {n}' for why, n in self.restarts.items()),
            f"# HELP {_OWN}silences_total Times it did not answer.",
            f"# TYPE {_OWN}silences_total counter",
            f"{_OWN}silences_total {self.silences}",
            f"# HELP {_OWN}start_phase_seconds How long a phase of the last start took.",
            f"# TYPE {_OWN}start_phase_seconds gauge",
        ]
        for phase, seconds in self.phase_s.items():
            page.append(f'{_OWN}start_phase_seconds{{phase="{phase}"}} {seconds:.3f}')
        return page
