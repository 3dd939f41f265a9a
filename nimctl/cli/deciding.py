"""Which weights a name means on this machine, as a download wants them."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace

from nimctl.cache import FetchRequest
from nimctl.cli.asked import is_address
from nimctl.cli.downloading import FileChoice, request_place
from nimctl.cli.facts import Machine, find_model, judge, make_wish, open_catalog, read_machine
from nimctl.cli.safety_policy import make_policy
from nimctl.cli.terminal import print_note
from nimctl.core.manifest import Artifact, Manifest
from nimctl.core.selection import require_choice
from nimctl.core.wish import Wish
from nimctl.errors import InputError, NothingFitsError
from nimctl.settings import Settings

Decide = Callable[[str | None], tuple[Artifact | FetchRequest, ...]]


def open_decisions(hardware: str | None, settings: Settings, choice: FileChoice) -> Decide:
    """Look at the machine and the catalogue once; gives what decides for one name after the other.

    Args:
        hardware: Another machine to choose for, as `--hardware` names it.
    """
    catalog, machine = open_catalog(settings), read_machine(settings, hardware)

    def decide(name: str | None) -> tuple[Artifact | FetchRequest, ...]:
        try:
            manifest = find_model(catalog, settings, name)
        except InputError as error:
            if name is None or not is_address(name):
                raise
            request = request_place(name, settings, choice)
            print_note(f"note: {error.message}; it is taken as plain files")
            return (request,)
        with _hinting_at_all():
            wish = make_wish(settings, None)
            artifacts = _choose_artifacts(manifest, machine, wish, settings, choice.all_profiles)
        if choice.is_by_name:
            return tuple(_narrow(artifact, settings, choice) for artifact in artifacts)
        return artifacts

    return decide


def _choose_artifacts(
    manifest: Manifest,
    machine: Machine,
    wish: Wish,
    settings: Settings,
    all_profiles: bool,
) -> tuple[Artifact, ...]:
    """The weights of the profile that would run; of every profile with `all_profiles`.

    A profile that is named may be for another machine: its files are brought all the same.

    Raises:
        NothingFitsError: no profile can run here and none was named.
    """
    if all_profiles:
        by_name = {profile.artifact.name: profile.artifact for profile in manifest.profiles}
        return tuple(by_name.values())
    selection = judge(manifest, machine, wish, settings)
    if wish.profile:
        named = min(selection.verdicts, key=lambda verdict: verdict.rank)
        return (named.profile.artifact,)
    return (require_choice(selection).profile.artifact,)


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
