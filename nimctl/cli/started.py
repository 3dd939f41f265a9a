"""What a start came to: its memory beside what was predicted, both kept as evidence."""

import time
from dataclasses import dataclass

from nimctl import __version__
from nimctl.cli.choosing import Choice
from nimctl.cli.known_speeds import find_rule, open_evidence, read_starts
from nimctl.cli.launching import read_options
from nimctl.cli.terminal import print_note
from nimctl.core.memory_check import (
    PEAK,
    WHOLE,
    MemoryCheck,
    check_memory,
    count_gpu_memory,
    describe_surprise,
)
from nimctl.core.plan import Launch
from nimctl.core.startup import Phase, read_memory
from nimctl.errors import InputError
from nimctl.evidence.measured import (
    MemoryRecord,
    StartRecord,
    Subject,
    expect_phases,
    make_subject,
)
from nimctl.server import EngineMemory, Ready

_OF_NO_WEIGHT = {
    "tool_parser",
    "reasoning_parser",
    "chat_template",
    "prefix_caching",
    "structured_output_backend",
    "seed",
    "trust_remote_code",
}
"""What may be asked of an engine without a change of its memory or its start."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Started:
    """The memory of an engine that has generated its first token.

    Attributes:
        checks: Each part as predicted and as it is.
        surprise: What it holds where that is outside of the predicted band.
    """

    checks: tuple[MemoryCheck, ...]
    surprise: str | None


class StartEvidence:
    """What is known of the starts of one choice, and what its next one adds to that."""

    def __init__(self, choice: Choice, launch: Launch, engine_args: tuple[str, ...]) -> None:
        self._choice = choice
        self._launch = launch
        asked = {name for name, _ in read_options(choice.settings).list_asked()}
        own_args = engine_args or choice.settings.engine_args
        self._is_as_planned = not own_args and asked <= _OF_NO_WEIGHT
        self.expected_s = self._expect_phases() if self._is_as_planned else {}

    def take(self, ready: Ready) -> Started:
        """Hold the engine's memory against the prediction, and keep both.

        Nothing is kept of an engine that runs with the user's own arguments, or with what the plan
        does not count in, such as a draft model.
        """
        plan = self._choice.plan
        rule = find_rule(plan)
        checks = check_memory(plan, rule, self._read_actual(ready.memory))
        if self._is_as_planned:
            self._keep(ready, checks)
        return Started(checks=checks, surprise=describe_surprise(plan, rule, checks))

    def _read_actual(self, memory: EngineMemory) -> dict[str, int]:
        plan = self._choice.plan
        actual = read_memory(self._launch.signs, memory.lines, plan.device)
        if plan.device == "gpu":
            from nimctl.probe import read_gpus

            now = read_gpus(self._choice.hardware.host)
            held = count_gpu_memory(plan.gpus, now, memory.pids)
            return actual | ({} if held is None else {WHOLE: held})
        if memory.host is None:
            return actual
        return actual | {WHOLE: memory.host.now, PEAK: memory.host.peak}

    def _make_subject(self) -> Subject:
        return make_subject(
            self._choice.plan,
            self._choice.hardware,
            engine_version=self._choice.installed.version,
            at_unix_s=time.time(),
            nimctl_version=__version__,
        )

    def _expect_phases(self) -> dict[Phase, float]:
        known = expect_phases(read_starts(), self._make_subject())
        return {phase: known[phase.value] for phase in Phase if phase.value in known}

    def _keep(self, ready: Ready, checks: tuple[MemoryCheck, ...]) -> None:
        subject = self._make_subject()
        phases_s = {phase.value: round(took_s, 3) for phase, took_s in ready.times.phases_s.items()}
        memory = tuple(
            MemoryRecord(
                subject=subject,
                part=check.part,
                predicted_bytes=check.predicted,
                actual_bytes=check.actual,
            )
            for check in checks
        )
        try:
            open_evidence().record_start(StartRecord(subject=subject, phases_s=phases_s), memory)
        except InputError as error:
            print_note(f"note: the start is not kept as evidence: {error.message}")
