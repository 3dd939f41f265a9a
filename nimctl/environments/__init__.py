"""Where engines live on this machine: found, installed aside, checked by running them, removed.

The package itself imports finding alone, for most commands need no more.
"""

from nimctl.environments.finding import find_engines, list_engines, read_engine_at

__all__ = ["find_engines", "list_engines", "read_engine_at"]
