"""Published names that not every disk can hold, alone or side by side: such files are not brought.

A cache may lie on any disk, be shared with other systems, and be exported to others. So names are
held to the strictest rules there are: those of Windows (Microsoft, "Naming Files, Paths, and
Namespaces"), of disks that ignore case, and of those that take the two ways in which Unicode
writes one letter for the same.
"""

from collections.abc import Iterable
from unicodedata import normalize

from nimctl.core.source import SourceUri
from nimctl.errors import FetchError

MOST_PATH_BYTES = 1024
"""macOS takes no longer paths, Linux 4096 with the folder of the cache before them."""

DEVICES = frozenset(
    {"con", "prn", "aux", "nul", "conin$", "conout$"}
    | {f"{kind}{number}" for kind in ("com", "lpt") for number in "123456789¹²³"}
)
"""On Windows these are no files, in any folder, whatever follows their first dot."""


def check_names(uri: SourceUri, paths: Iterable[str]) -> None:
    """See that any disk can hold these names, side by side.

    Raises:
        FetchError: it cannot; the message tells which name and why.
    """
    paths = sorted(paths)
    for path in paths:
        objection = _find_objection(path)
        if objection is not None:
            raise FetchError(
                f"{uri} lists {_shorten(path)!r}, which not every disk can hold: {objection}",
                hint="leave it out with --exclude, if it is not needed",
            )
    _check_no_clash(uri, paths)


def _find_objection(path: str) -> str | None:
    size = len(path.encode("utf-8", "surrogatepass"))
    if size > MOST_PATH_BYTES:
        return f"it has {size} bytes"
    if any("\ud800" <= c <= "\udfff" for c in path):
        return "it is not Unicode"
    for part in path.split("/"):
        if ":" in part:
            return "what follows a colon is a hidden part of another file on Windows"
        if part.endswith((".", " ")):
            return "Windows drops a dot or a space at the end of a name"
        if part.partition(".")[0].rstrip(" ").lower() in DEVICES:
            return f"{part} is a device on Windows"
    return None


def _check_no_clash(uri: SourceUri, paths: Iterable[str]) -> None:
    """Refuse `a` with `A`, `é` as one letter with `é` as two, and `a` with `a/b`."""
    seen: dict[str, str] = {}
    for path in paths:
        folded = normalize("NFC", normalize("NFD", path).casefold())
        steps = folded.split("/")
        above = ("/".join(steps[:count]) for count in range(1, len(steps)))
        other = next((seen[name] for name in (folded, *above) if name in seen), None)
        if other is not None:
            raise FetchError(f"{uri} lists {other!r} and {path!r}, which cannot exist together")
        seen[folded] = path


def _shorten(path: str) -> str:
    return path if len(path) <= 100 else f"{path[:60]}...{path[-30:]}"
