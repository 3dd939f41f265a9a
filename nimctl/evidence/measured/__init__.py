"""What was measured of profiles that ran: kept in one file, and ranked by."""

from nimctl.evidence.measured.concessions import (
    ConcessionRecord,
    recall_concessions,
    record_concession,
)
from nimctl.evidence.measured.ranking import rank_measured
from nimctl.evidence.measured.records import (
    BenchRecord,
    MemoryRecord,
    StartRecord,
    Subject,
    find_unfit,
    fingerprint_machine,
    make_subject,
    record_report,
)
from nimctl.evidence.measured.starts import expect_phases, use_memory
from nimctl.evidence.measured.store import EvidenceStore

__all__ = [
    "BenchRecord",
    "ConcessionRecord",
    "EvidenceStore",
    "MemoryRecord",
    "StartRecord",
    "Subject",
    "expect_phases",
    "find_unfit",
    "fingerprint_machine",
    "make_subject",
    "rank_measured",
    "recall_concessions",
    "record_concession",
    "record_report",
    "use_memory",
]
