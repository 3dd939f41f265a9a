"""What views inside the cache hold of entries that go: it goes with them.

Only names that the view gave are touched, and only below `views/`: what a tool itself brought into
its view stays, and views elsewhere are their owners'.
"""

import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from nimctl.cache.entry import CacheEntry
from nimctl.cache.layout import Layout, read_text, walk_files
from nimctl.cache.stamps import look_at
from nimctl.core.source import SourceUri

_REPOSITORIES = {
    "hf": ("hf/hub", "nim/huggingface/hub"),
    "ngc": ("nim/ngc/hub",),
}
"""By scheme, the folders below `views/` with one folder for each repository."""


def list_view_names(
    layout: Layout, going: Collection[CacheEntry], staying: Collection[CacheEntry]
) -> tuple[Path, ...]:
    """Files and links of views that show `going` and nothing of `staying`."""
    names: set[Path] = set()
    for entry in going:
        others = [one for one in staying if _place(one) == _place(entry)]
        for repository in _list_repositories(layout, entry.uri):
            names.update(_list_names(layout, repository, entry, others, names))
    return tuple(sorted(names))


def is_shared(name: Path) -> bool:
    """Whether a name of a view is one of content, and no link or note."""
    return name.parent.name == "blobs"


def sweep_views(layout: Layout, names: Collection[Path]) -> None:
    """Remove the folders that are empty without `names`, which are gone."""
    folders = {parent for name in names for parent in name.parents}
    for folder in sorted(folders, key=lambda path: len(path.parts), reverse=True):
        if folder.is_relative_to(layout.views) and layout.holds(folder / "any"):
            with suppress(OSError):  # something is in it
                folder.rmdir()


def _list_repositories(layout: Layout, uri: SourceUri) -> Iterator[Path]:
    name = f"models--{uri.location.replace('/', '--')}"
    for place in _REPOSITORIES.get(uri.scheme, ()):
        repository = layout.views / place / name
        if layout.holds(repository / "any"):
            yield repository


def _list_names(
    layout: Layout,
    repository: Path,
    entry: CacheEntry,
    others: Collection[CacheEntry],
    before: Collection[Path],
) -> set[Path]:
    """The names of one entry in one repository.

    Args:
        others: Entries of the same place that stay.
        before: Names that go with entries looked at before.
    """
    snapshot = repository / "snapshots" / entry.revision
    kept = {f.path for one in others if one.revision == entry.revision for f in one.files}
    links = {
        path
        for file in entry.files
        if file.path not in kept and layout.holds(path := snapshot / file.path)
        if path.is_symlink()
    }
    gone = links | set(before)
    shown = {_target(path) for path in walk_files(repository / "snapshots") if path not in gone}
    digests = {file.sha256 for file in entry.files}
    inodes = {_identify(layout.blob(sha256)) for sha256 in digests} - {None}
    blobs = {
        blob
        for blob in map(_target, links)
        if blob.parent == repository / "blobs" and blob not in shown and layout.holds(blob)
        if blob.name in digests or _identify(blob) in inodes
    }
    names = links | blobs
    if not any(path not in gone for path in walk_files(snapshot)):
        names |= {
            ref
            for ref in walk_files(repository / "refs")
            if (read_text(ref) or "").strip() == entry.revision
        }
        tree = repository / "trees" / f"{entry.revision}.json"
        names |= {tree} if layout.holds(tree) and os.path.lexists(tree) else set()
    return names


def _target(link: Path) -> Path:
    """Where a link leads, by its text alone; a file leads to itself."""
    try:
        return Path(os.path.normpath(link.parent / link.readlink()))
    except OSError:
        return link


def _identify(path: Path) -> tuple[int, int] | None:
    facts = look_at(path)
    return None if facts is None else (facts.st_dev, facts.st_ino)


def _place(entry: CacheEntry) -> tuple[str, str]:
    return entry.uri.scheme, entry.uri.location
