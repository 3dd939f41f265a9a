"""What profiles had to do without to start: kept, and recalled where it may count again."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from nimctl.core.hardware import Hardware
from nimctl.core.healing import OF_MEMORY, Concession
from nimctl.core.plan import Plan
from nimctl.evidence.measured.records import Subject, fingerprint_machine

MORE_MEMORY = 1.1
"""With so many times the memory free, a failure for want of memory says nothing any more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ConcessionRecord:
    """What a profile had to do without to start, or that another ran in its place.

    Attributes:
        id: Its number in the store; 0 before it is kept.
        subject: The plan that failed.
        symptom: Code of the failure.
        cause: It in one sentence.
        free_bytes: Free memory of each device at the time.
        most_context: As in `Concession`, and so are those below.
    """

    id: int = 0
    subject: Subject
    symptom: str
    cause: str
    free_bytes: int
    most_context: int | None = None
    most_sequences: int | None = None
    spare_bytes: int = 0
    eager: bool = False
    passed_over: bool = False

    @property
    def concession(self) -> Concession:
        """What is given up."""
        return Concession(
            most_context=self.most_context,
            most_sequences=self.most_sequences,
            spare_bytes=self.spare_bytes,
            eager=self.eager,
            passed_over=self.passed_over,
            symptom=self.symptom,
            cause=self.cause,
        )


def record_concession(
    subject: Subject, concession: Concession, *, free_bytes: int
) -> ConcessionRecord:
    """What is kept of a plan that failed, and of what was given up for it."""
    return ConcessionRecord(
        subject=subject,
        symptom=concession.symptom,
        cause=concession.cause,
        free_bytes=free_bytes,
        most_context=concession.most_context,
        most_sequences=concession.most_sequences,
        spare_bytes=concession.spare_bytes,
        eager=concession.eager,
        passed_over=concession.passed_over,
    )


def recall_concessions(
    kept: Iterable[ConcessionRecord],
    plans: Iterable[Plan],
    hardware: Hardware,
    versions: Mapping[str, str | None],
) -> dict[str, ConcessionRecord]:
    """What failed starts on such a machine taught of these plans, by profile: the newest of each.

    Args:
        kept: The newest first, of any model and machine.
        versions: Of the engines there are, by name; another version may not fail.
    """
    fingerprint = fingerprint_machine(hardware)
    by_id = {plan.profile.id: plan for plan in plans}
    recalled: dict[str, ConcessionRecord] = {}
    for record in kept:
        subject = record.subject
        plan = by_id.get(subject.profile_id)
        same = subject.fingerprint == fingerprint and subject.engine in versions
        if plan is None or not same or subject.engine_version != versions[subject.engine]:
            continue
        has_more = plan.free_bytes > record.free_bytes * MORE_MEMORY
        if record.symptom not in OF_MEMORY or not has_more:
            recalled.setdefault(subject.profile_id, record)
    return recalled
