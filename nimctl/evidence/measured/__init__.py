"""What was measured of profiles that ran: kept in one file, and ranked by."""

from nimctl.evidence.measured.ranking import rank_measured
from nimctl.evidence.measured.records import (
    BenchRecord,
    MemoryRecord,
    Subject,
    find_unfit,
    fingerprint_machine,
    make_subject,
    record_report,
)
from nimctl.evidence.measured.store import EvidenceStore

__all__ = [
    "BenchRecord",
    "EvidenceStore",
    "MemoryRecord",
    "Subject",
    "find_unfit",
    "fingerprint_machine",
    "make_subject",
    "rank_measured",
    "record_report",
]
