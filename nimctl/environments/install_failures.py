"""What pip and uv say when an installation cannot succeed here, and what that means to a user."""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nimctl.errors import DiskFullError, EngineError, NimctlError, UnreachableError


@dataclass(frozen=True, kw_only=True, slots=True)
class InstallFailure:
    """A failure that is known by a line of the installer's output.

    Attributes:
        pattern: Found in that line.
        error: What it is to a script.
        cause: Ends the sentence `vLLM could not be installed: ...`.
        hint: The next thing to do.
    """

    pattern: str
    error: type[NimctlError]
    cause: str
    hint: str


_PYTHON = ".".join(map(str, sys.version_info[:2]))

# The first that is found counts: a full disk breaks connections too, and where an index cannot be
# asked every version is missing.
INSTALL_FAILURES = (
    InstallFailure(
        pattern=r"No space left on device|Disk quota exceeded",
        error=DiskFullError,
        cause="the disk is full; nothing of it was kept",
        hint="NIMCTL_ENGINES_DIR names a folder on another disk, TMPDIR one for temporary files",
    ),
    InstallFailure(
        pattern=r"require[sd]? a different [Pp]ython|does not satisfy Python|Requires-Python",
        error=EngineError,
        cause=f"it has no build for Python {_PYTHON}, which nimctl runs in",
        hint="install nimctl with another version of Python, or another version of the engine "
        "with --version",
    ),
    InstallFailure(
        pattern=r"connection broken by|Max retries exceeded|[Ff]ailed to fetch|error sending"
        r"|dns error|Network connectivity is disabled",
        error=UnreachableError,
        cause="the package index cannot be asked",
        hint="--index-url names another index; --offline --find-links DIR needs none",
    ),
    InstallFailure(
        pattern=r"is not a supported wheel on this platform|no wheels with a matching",
        error=EngineError,
        cause="it has no build for this kind of machine",
        hint="--version names another version, --engine llama.cpp another engine",
    ),
)


def explain_failure(title: str, cause: str, told: Sequence[str], log_path: Path) -> NimctlError:
    """What an installer's failure is to the user.

    Args:
        title: The engine.
        cause: The line that the installer gave as its reason.
        told: All it said.
    """
    text = "\n".join(told)
    for known in INSTALL_FAILURES:
        if re.search(known.pattern, text):
            return known.error(
                f"{title} could not be installed: {known.cause} ({cause})",
                hint=f"{known.hint}; all it said is in {log_path}",
            )
    return EngineError(f"{title} could not be installed: {cause}", hint=f"see {log_path}")
