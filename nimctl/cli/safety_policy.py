"""What the settings allow into the cache beside data."""

from nimctl.cache import SafetyPolicy
from nimctl.settings import Settings


def make_policy(settings: Settings) -> SafetyPolicy:
    """What may be brought beside data."""
    return SafetyPolicy(allow_pickle=settings.allow_pickle, allow_code=settings.trust_remote_code)
