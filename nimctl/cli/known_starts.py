"""What failed starts of a model taught on this machine: recalled, and kept after a start."""

import time

from nimctl import __version__
from nimctl.cli.known_speeds import open_evidence, read_evidence
from nimctl.cli.terminal import print_warning
from nimctl.core.engine import InstalledEngine
from nimctl.core.hardware import Hardware
from nimctl.core.healing import Concession, Concessions
from nimctl.core.plan import Plan
from nimctl.core.verdict import Selection
from nimctl.errors import InputError


def recall_concessions(
    selection: Selection, hardware: Hardware, engines: tuple[InstalledEngine, ...]
) -> Concessions:
    """What profiles do without on such a machine with these engines; a file that cannot be read
    stops no command.
    """
    kept = read_evidence(lambda store: store.read_concessions(), what="what earlier starts taught")
    if not kept:
        return {}
    from nimctl.evidence import measured

    plans = [verdict.plan for verdict in selection.verdicts if verdict.plan is not None]
    versions: dict[str, str | None] = {engine.name: engine.version for engine in engines}
    recalled = measured.recall_concessions(kept, plans, hardware, versions)
    return {profile: record.concession for profile, record in recalled.items()}


def keep_concession(
    failed: Plan,
    concession: Concession,
    *,
    hardware: Hardware,
    engine_version: str | None,
    free_bytes: int,
) -> None:
    """Remember what was given up for a plan that did not start; the next start begins there.

    Args:
        hardware: The machine it was planned for.
        free_bytes: Free memory of each of its devices then.
    """
    from nimctl.evidence.measured import make_subject, record_concession

    subject = make_subject(
        failed,
        hardware,
        engine_version=engine_version,
        at_unix_s=time.time(),
        nimctl_version=__version__,
    )
    try:
        record = record_concession(subject, concession, free_bytes=free_bytes)
        open_evidence().record_concession(record)
    except InputError as error:
        print_warning(f"the next start will not know of this: {error.message}")
