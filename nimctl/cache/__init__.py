"""Weights on this disk: found, brought, checked, never half there."""

from nimctl.cache.auditing import Fault, Verification
from nimctl.cache.blocks import BLOCK_BYTES
from nimctl.cache.entry import CachedFile, CacheEntry, CacheUsage, FetchPlan, PlannedFile
from nimctl.cache.inventory import HeldEntry, HeldPart
from nimctl.cache.leases import Lease
from nimctl.cache.patience import RetryPolicy
from nimctl.cache.pins import Pin
from nimctl.cache.progress import (
    FetchAdvanced,
    FetchStarted,
    FileAdvanced,
    FileDone,
    FileStarted,
    FileVerified,
    ListingStarted,
    Note,
    OnProgress,
    Progress,
    Retrying,
    Waiting,
    ignore_progress,
)
from nimctl.cache.pruning import PruneRequest, Pruning
from nimctl.cache.records import Record
from nimctl.cache.removal import Removal
from nimctl.cache.request import FetchRequest
from nimctl.cache.safety import SafetyPolicy
from nimctl.cache.store import Cache
from nimctl.cache.verifying import Condition

__all__ = [
    "BLOCK_BYTES",
    "Cache",
    "CacheEntry",
    "CacheUsage",
    "CachedFile",
    "Condition",
    "Fault",
    "FetchAdvanced",
    "FetchPlan",
    "FetchRequest",
    "FetchStarted",
    "FileAdvanced",
    "FileDone",
    "FileStarted",
    "FileVerified",
    "HeldEntry",
    "HeldPart",
    "Lease",
    "ListingStarted",
    "Note",
    "OnProgress",
    "Pin",
    "PlannedFile",
    "Progress",
    "PruneRequest",
    "Pruning",
    "Record",
    "Removal",
    "RetryPolicy",
    "Retrying",
    "SafetyPolicy",
    "Verification",
    "Waiting",
    "ignore_progress",
]
