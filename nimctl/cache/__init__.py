"""Weights on this disk: found, brought, checked, never half there."""

from nimctl.cache.blocks import BLOCK_BYTES
from nimctl.cache.entry import CachedFile, CacheEntry, CacheUsage, FetchPlan, PlannedFile
from nimctl.cache.patience import RetryPolicy
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
from nimctl.cache.request import FetchRequest
from nimctl.cache.safety import SafetyPolicy
from nimctl.cache.store import Cache

__all__ = [
    "BLOCK_BYTES",
    "Cache",
    "CacheEntry",
    "CacheUsage",
    "CachedFile",
    "FetchAdvanced",
    "FetchPlan",
    "FetchRequest",
    "FetchStarted",
    "FileAdvanced",
    "FileDone",
    "FileStarted",
    "FileVerified",
    "ListingStarted",
    "Note",
    "OnProgress",
    "PlannedFile",
    "Progress",
    "RetryPolicy",
    "Retrying",
    "SafetyPolicy",
    "Waiting",
    "ignore_progress",
]
