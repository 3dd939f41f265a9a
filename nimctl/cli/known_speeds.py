"""Where this user's evidence is kept, and how speeds and memory of it enter a choice."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from nimctl.cli.terminal import print_note
from nimctl.core.engine import InstalledEngine
from nimctl.core.hardware import Hardware
from nimctl.core.manifest import Manifest
from nimctl.core.memory import BudgetRule
from nimctl.core.placement import memory_traits
from nimctl.core.plan import Plan
from nimctl.core.verdict import Selection
from nimctl.engines import TRAITS
from nimctl.errors import InputError
from nimctl.settings.places import user_data_folder

if TYPE_CHECKING:
    from nimctl.evidence.measured import BenchRecord, EvidenceStore, MemoryRecord, StartRecord

_Record = TypeVar("_Record")


def find_evidence_path() -> Path | None:
    """The file of the evidence, be it there or not; None for a user without a home."""
    folder = user_data_folder()
    return folder / "evidence.db" if folder else None


def open_evidence() -> "EvidenceStore":
    """The evidence, to write or to show it.

    Raises:
        InputError: there is no home folder.
    """
    from nimctl.evidence.measured import EvidenceStore

    path = find_evidence_path()
    if path is None:
        raise InputError(
            "there is no home folder to keep evidence in", hint="set XDG_DATA_HOME to a folder"
        )
    return EvidenceStore(path, on_note=_tell)


def read_benches() -> "tuple[BenchRecord, ...]":
    """What was measured so far, the newest first; a file that cannot be read stops no command."""
    return read_evidence(lambda store: store.read_benches())


def read_memory() -> "tuple[MemoryRecord, ...]":
    """What engines held so far, the newest first; a file that cannot be read stops no command."""
    return read_evidence(lambda store: store.read_memory())


def read_starts() -> "tuple[StartRecord, ...]":
    """The starts that are kept, the newest first; a file that cannot be read stops no command."""
    return read_evidence(lambda store: store.read_starts())


def read_evidence(
    read: "Callable[[EvidenceStore], tuple[_Record, ...]]", *, what: str = "what was measured"
) -> "tuple[_Record, ...]":
    """What `read` takes out of the evidence; nothing, with a note, where it cannot be read.

    Args:
        what: The beginning of that note.
    """
    path = find_evidence_path()
    try:
        if path is None or not path.exists():
            return ()
        return read(open_evidence())
    except OSError as error:
        _tell(f"{path} cannot be read: {error.strerror}")
    except InputError as error:
        _tell(f"{what} is not used: {error.message}")
    return ()


def use_held(
    selection: Selection,
    hardware: Hardware,
    engines: tuple[InstalledEngine, ...],
    memory: "tuple[MemoryRecord, ...]",
) -> Selection:
    """The selection with what engines held here before, where that is known."""
    if not memory:
        return selection
    from nimctl.evidence.measured import use_memory

    versions: dict[str, str | None] = {engine.name: engine.version for engine in engines}
    return use_memory(selection, hardware, versions, memory, takes_as_planned=_takes_as_planned)


def _takes_as_planned(plan: Plan) -> bool:
    return find_rule(plan) is BudgetRule.FIXED_MARGIN


def find_rule(plan: Plan) -> BudgetRule:
    """How the engine of a plan decides how much it takes of the plan's device."""
    return memory_traits(TRAITS[plan.profile.engine], plan.device).rule


def use_benches(
    selection: Selection,
    manifest: Manifest,
    hardware: Hardware,
    engines: tuple[InstalledEngine, ...],
    benches: "tuple[BenchRecord, ...]",
) -> Selection:
    """The selection ranked by what was measured, where something was."""
    if not benches:
        return selection
    from nimctl.evidence.measured import rank_measured

    versions: dict[str, str | None] = {engine.name: engine.version for engine in engines}
    return rank_measured(selection, manifest, hardware, versions, benches)


def _tell(text: str) -> None:
    print_note(f"note: {text}")
