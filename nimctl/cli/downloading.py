"""What a download is told to bring: models by name, models and other files by address."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nimctl.cache import CacheEntry, FetchRequest
from nimctl.cli.asked import is_address
from nimctl.cli.fetching import fetch_request
from nimctl.cli.safety_policy import make_policy
from nimctl.cli.terminal import print_json, print_line
from nimctl.core.source import SourceSyntaxError, parse_source_uri
from nimctl.errors import InputError, InterruptedByUserError, NotFoundError
from nimctl.settings import Settings

if TYPE_CHECKING:
    from nimctl.cli.deciding import Decide
    from nimctl.core.manifest import Artifact

_PLAIN_PLACES = ("https://", "http://", "pypi:")
"""Places that models are not looked for at."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FileChoice:
    """Which files are wanted, whatever a profile needs.

    Attributes:
        all_profiles: Those of every profile.
        include: Shell patterns; only what matches one.
        exclude: Shell patterns; nothing that matches one.
    """

    all_profiles: bool = False
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    @property
    def is_by_name(self) -> bool:
        """Whether the names of files decide, and no profile."""
        return bool(self.include or self.exclude)


def find_wanted(
    names: list[str] | None, hardware: str | None, settings: Settings, choice: FileChoice
) -> "tuple[Artifact | FetchRequest, ...]":
    """What names and addresses mean: the weights of a profile, or the files of a place.

    Files are brought as they are where patterns choose them, and where an address holds no model
    that nimctl can serve. The machine is looked at only where a profile is to be chosen.

    Raises:
        InputError: there is no such model, or no such place.
        NothingFitsError: no profile can run here, and none was named.
        FetchError: the place cannot be looked at.
    """
    wanted: list[Artifact | FetchRequest] = []
    decide: Decide | None = None
    asked: list[str | None] = [*names] if names else [settings.model]
    for name in asked:
        if name is not None and _is_plain(name, choice):
            wanted.append(request_place(name, settings, choice))
            continue
        if decide is None:
            from nimctl.cli.deciding import open_decisions

            decide = open_decisions(hardware, settings, choice)
        wanted += decide(name)
    return tuple(wanted)


def _is_plain(name: str, choice: FileChoice) -> bool:
    """Whether a name is the address of files that no profile chooses among."""
    return name.startswith(_PLAIN_PLACES) or (choice.is_by_name and is_address(name))


def request_place(address: str, settings: Settings, choice: FileChoice) -> FetchRequest:
    """The files of a place, as the cache is asked for them.

    Raises:
        InputError: it is no place that nimctl knows.
        NotFoundError: it is a path of this machine where nothing is.
    """
    if "://" not in address and not address.startswith("pypi:"):
        address = str(Path(address).expanduser().absolute())
    try:
        uri = parse_source_uri(address)
    except SourceSyntaxError as error:
        raise InputError(str(error)) from error
    if uri.scheme == "file" and not Path(uri.location).exists():
        raise NotFoundError(f"{uri.location} does not exist")
    return FetchRequest(
        uri=uri, include=choice.include, exclude=choice.exclude, policy=make_policy(settings)
    )


def bring(wanted: "tuple[Artifact | FetchRequest, ...]", settings: Settings, *, json: bool) -> None:
    """Bring one after the other, and say where each is.

    Raises:
        FetchError: one of them cannot be had; those before it are there.
    """
    entries: list[CacheEntry] = []
    for one in wanted:
        if isinstance(one, FetchRequest):
            entries.append(fetch_request(one, settings))
        else:
            from nimctl.cli.weights import fetch_artifact

            entries.append(fetch_artifact(one, settings))
        if not json:
            print_line(f"{entries[-1].path}")
    if json:
        print_json({"entries": [_entry_document(entry) for entry in entries]})


def _entry_document(entry: CacheEntry) -> dict[str, Any]:
    return {
        "source": str(entry.uri),
        "revision": entry.revision,
        "path": str(entry.path),
        "size_bytes": entry.size_bytes,
        "files": [
            {"path": file.path, "size_bytes": file.size_bytes, "sha256": file.sha256}
            for file in entry.files
        ],
    }


@contextlib.contextmanager
def interruption_in_words() -> Iterator[None]:
    """Ctrl-C outside a fetch.

    Raises:
        InterruptedByUserError: it was pressed.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise InterruptedByUserError(
            "stopped between downloads; what was brought is kept, and the same command continues"
        ) from None
