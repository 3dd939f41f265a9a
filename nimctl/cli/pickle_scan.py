"""Scans pickles that the user let in, where the package picklescan is installed."""

import importlib
from collections.abc import Callable

from nimctl.cache import CacheEntry
from nimctl.cache.safety import list_pickles
from nimctl.errors import UnsafeFilesError


def scan_pickles(entry: CacheEntry, tell: Callable[[str], None]) -> None:
    """Look into every pickle of an entry without opening it as one.

    Args:
        tell: Takes the sentence about what was found or could not be looked at.

    Raises:
        UnsafeFilesError: one of them calls what no weights need.
    """
    paths = list_pickles(file.path for file in entry.files)
    if not paths:
        return
    try:
        scanner = importlib.import_module("picklescan.scanner")
    except ModuleNotFoundError:
        tell(f"{', '.join(paths)}: not scanned; `pip install picklescan` lets nimctl do that")
        return
    import logging  # which takes its time to come, and few have pickles

    logging.getLogger("picklescan").setLevel(logging.CRITICAL)
    for path in paths:
        found = scanner.scan_file_path(str(entry.path / path))
        dangers = [
            f"{one.module}.{one.name}"
            for one in found.globals
            if one.safety is scanner.SafetyLevel.Dangerous
        ]
        if dangers:
            raise UnsafeFilesError(
                f"{path} of {entry.uri} would call {', '.join(sorted(set(dangers)))} when it is "
                "opened; it is not used",
                hint=f"`nimctl cache rm {entry.uri}` removes it",
            )
        if found.scan_err:
            tell(f"{path} could not be read as a pickle to its end")
    tell(f"{', '.join(paths)}: scanned, no dangerous call was found, which is no proof")
