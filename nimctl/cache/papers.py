"""What is kept of an entry beside its files: its manifest, the signature it came with."""

from pathlib import Path

from nimctl.cache.entry import CacheEntry
from nimctl.cache.layout import Layout, disk_failures_in_words, read_text
from nimctl.cache.records import key_of

SIGNATURE_PAPER = "model.sig"


def read_paper(root: Path, entry: CacheEntry, name: str) -> str | None:
    """A text that is kept of an entry; None without one."""
    return read_text(_place(Layout(root=root), entry, name))


def write_paper(root: Path, entry: CacheEntry, name: str, text: str) -> None:
    """Keep a text for as long as the entry is kept.

    Raises:
        FetchError, DiskFullError: the cache cannot be written.
    """
    layout = Layout(root=root)
    path = _place(layout, entry, name)
    if read_text(path) != text:
        with disk_failures_in_words(root):
            layout.write_text(path, text)


def _place(layout: Layout, entry: CacheEntry, name: str) -> Path:
    return layout.papers / key_of(layout, entry) / name
