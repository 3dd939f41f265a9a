"""Looks at what a source lists before it is brought: what is left out, and what is unsafe."""

from dataclasses import dataclass

from nimctl.cache import FetchRequest, Note, OnProgress
from nimctl.cache.layout import Layout
from nimctl.cache.planning import plan_listed
from nimctl.cache.request import choose_files, sort_files
from nimctl.cache.safety import describe_left_out
from nimctl.core.source import Listing, RemoteFile, Source
from nimctl.errors import UnsafeFilesError

MOST_TEXT_BYTES = {".jinja": 2**20, ".json": 256 * 2**20, ".yaml": 2**20, ".model": 256 * 2**20}
"""By the end of a name, what a file that engines parse whole may have."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ListingCheck:
    """What is looked at before the files of one request are brought.

    Headers are read of files of which nothing is here yet: of safetensors files where no manifest
    pins them, and of all GGUF files, as those that profiles are made of on the spot are pinned too,
    and only the header of the smallest was read for that.
    """

    request: FetchRequest
    layout: Layout
    on_progress: OnProgress

    def look_at(self, source: Source, listing: Listing) -> None:
        """Say what is left out, and read the headers.

        Raises:
            UnsafeFilesError: a header does not describe its file, or something is too large.
            FetchError: the listing cannot be used, or a header cannot be had.
        """
        files = choose_files(self.request, listing)
        for file in files:
            _check_size(listing, file)
        new = self._list_new(listing, files)
        if new:
            from nimctl.cli.head_check import check_heads

            check_heads(source, listing, new)
        left_out = describe_left_out(sort_files(self.request, listing))
        if left_out is not None:
            self.on_progress(Note(text=left_out))

    def _list_new(self, listing: Listing, files: tuple[RemoteFile, ...]) -> list[RemoteFile]:
        pinned = {file.path for file in self.request.pinned}
        kept = {
            file.path
            for file in plan_listed(self.layout, listing, files).files
            if file.kept_bytes > 0
        }
        return [
            file
            for file in files
            if file.path not in kept
            and (file.path not in pinned or file.path.lower().endswith(".gguf"))
        ]


def _check_size(listing: Listing, file: RemoteFile) -> None:
    for ending, most_bytes in MOST_TEXT_BYTES.items():
        if file.path.lower().endswith(ending) and (file.size_bytes or 0) > most_bytes:
            raise UnsafeFilesError(
                f"{file.path} of {listing.uri} has {file.size_bytes} bytes; "
                f"over {most_bytes} is refused for such a file",
                hint=f"--exclude {file.path!r} leaves it out",
            )
