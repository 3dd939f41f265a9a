"""What is kept of an entry beside its files: the signature and the manifests it came with.

```
papers/<hash of the entry's key>/
    model.sig
    manifests/<publisher>/<model>/<n>.yaml     the stronger the higher
```
"""

from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from nimctl.cache.entry import CacheEntry
from nimctl.cache.layout import Layout, disk_failures_in_words, read_text, walk_files
from nimctl.cache.records import key_of, read_entries

SIGNATURE_PAPER = "model.sig"
_MANIFESTS = "manifests"


def papers_folder(layout: Layout, key: str) -> Path:
    """Where the papers of the entry with that key lie."""
    return layout.papers / sha256(key.encode()).hexdigest()[:32]


def read_signature(root: Path, entry: CacheEntry) -> str | None:
    """The signature that is kept of an entry; None without one."""
    return read_text(_folder(Layout(root=root), entry) / SIGNATURE_PAPER)


def find_signature(root: Path, entry: CacheEntry) -> str | None:
    """The same; else that of another choice of files of its place at its revision."""
    kept = read_signature(root, entry)
    if kept is not None:
        return kept
    place = (entry.uri.scheme, entry.uri.location, entry.revision)
    others = (
        read_signature(root, other)
        for other in read_entries(Layout(root=root))
        if (other.uri.scheme, other.uri.location, other.revision) == place
    )
    return next((text for text in others if text is not None), None)


def write_signature(root: Path, entry: CacheEntry, text: str) -> None:
    """Keep a signature for as long as the entry is kept.

    Raises:
        FetchError, DiskFullError: the cache cannot be written.
    """
    _write(root, entry, SIGNATURE_PAPER, text)


def write_manifests(root: Path, entry: CacheEntry, model: str, texts: Iterable[str]) -> None:
    """Keep the files that describe a model, the strongest last, as long as the entry is kept.

    Args:
        model: `publisher/name`; no other part of a path.

    Raises:
        FetchError, DiskFullError: the cache cannot be written.
    """
    for number, text in enumerate(texts):
        _write(root, entry, f"{_MANIFESTS}/{model}/{number}.yaml", text)


def list_manifests(root: Path) -> dict[str, tuple[Path, ...]]:
    """The files that are kept of each model, the strongest last; of two entries, one's."""
    layout = Layout(root=root)
    kept: dict[str, dict[Path, list[Path]]] = {}
    for path in walk_files(layout.papers):
        steps = path.relative_to(layout.papers).parts
        if len(steps) == 5 and steps[1] == _MANIFESTS and path.suffix == ".yaml":
            kept.setdefault("/".join(steps[2:4]), {}).setdefault(path.parent, []).append(path)
    return {
        model: tuple(sorted(folders[max(folders)], key=lambda path: int(path.stem)))
        for model, folders in kept.items()
    }


def _folder(layout: Layout, entry: CacheEntry) -> Path:
    return papers_folder(layout, key_of(layout, entry))


def _write(root: Path, entry: CacheEntry, name: str, text: str) -> None:
    """Write what is not there already: a cache that may only be read is no harm then."""
    layout = Layout(root=root)
    path = _folder(layout, entry) / name
    if read_text(path) != text:
        with disk_failures_in_words(root):
            layout.write_text(path, text)
