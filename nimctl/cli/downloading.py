"""What a download is told to bring: models by name, models and other files by address."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nimctl.cache import CacheEntry, FetchRequest
from nimctl.catalog import Catalog
from nimctl.cli.facts import Machine, find_model, is_address, make_wish
from nimctl.cli.fetching import choose_artifacts, fetch_artifact, fetch_request
from nimctl.cli.supplying import make_policy
from nimctl.cli.terminal import print_json, print_line, print_note
from nimctl.core.manifest import Artifact
from nimctl.core.source import SourceSyntaxError, parse_source_uri
from nimctl.errors import InputError, InterruptedByUserError, NothingFitsError
from nimctl.settings import Settings

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
    name: str | None, catalog: Catalog, machine: Machine, settings: Settings, choice: FileChoice
) -> tuple[Artifact | FetchRequest, ...]:
    """What a name or an address means: the weights of a profile, or the files of a place.

    Files are brought as they are where patterns choose them, and where the address holds no model
    that nimctl can serve.

    Raises:
        InputError: there is no such model, or no such place.
        NothingFitsError: no profile can run here, and none was named.
        FetchError: the place cannot be looked at.
    """
    wanted = name or settings.model
    if wanted is not None and (
        wanted.startswith(_PLAIN_PLACES) or (choice.is_by_name and is_address(wanted))
    ):
        return (_request(wanted, settings, choice),)
    try:
        manifest = find_model(catalog, settings, name)
    except InputError as error:
        if wanted is None or not is_address(wanted):
            raise
        request = _request(wanted, settings, choice)
        print_note(f"note: {error.message}; it is taken as plain files")
        return (request,)
    with _hinting_at_all():
        artifacts = choose_artifacts(
            manifest,
            machine,
            make_wish(settings, None),
            settings,
            all_profiles=choice.all_profiles,
        )
    if choice.is_by_name:
        return tuple(_narrow(artifact, settings, choice) for artifact in artifacts)
    return artifacts


def _request(address: str, settings: Settings, choice: FileChoice) -> FetchRequest:
    if "://" not in address and not address.startswith("pypi:"):
        address = str(Path(address).expanduser().absolute())
    try:
        uri = parse_source_uri(address)
    except SourceSyntaxError as error:
        raise InputError(str(error)) from error
    return FetchRequest(
        uri=uri, include=choice.include, exclude=choice.exclude, policy=make_policy(settings)
    )


def _narrow(artifact: Artifact, settings: Settings, choice: FileChoice) -> FetchRequest:
    """Files of the place of a model's weights; those that a manifest pins stay pinned."""
    return FetchRequest(
        uri=replace(artifact.source, file=None),
        include=choice.include,
        exclude=choice.exclude,
        pinned=artifact.files,
        policy=make_policy(settings),
    )


@contextlib.contextmanager
def _hinting_at_all() -> Iterator[None]:
    try:
        yield
    except NothingFitsError as error:
        others = "--all brings the files of every profile all the same"
        raise NothingFitsError(
            error.message, hint=f"{error.hint}; {others}" if error.hint else others
        ) from error


def bring(wanted: tuple[Artifact | FetchRequest, ...], settings: Settings, *, json: bool) -> None:
    """Bring one after the other, and say where each is.

    Raises:
        FetchError: one of them cannot be had; those before it are there.
    """
    entries: list[CacheEntry] = []
    for one in wanted:
        if isinstance(one, FetchRequest):
            entries.append(fetch_request(one, settings))
        else:
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
