"""New files for what engines and servers say, in folders that keep the newest few."""

from datetime import UTC, datetime
from pathlib import Path

from nimctl.errors import InputError
from nimctl.settings.places import user_state_folder

_LOGS_KEPT = 10


def new_log_file(place: str, ending: str) -> Path:
    """A path for a log of now; the oldest logs there go, and what was rotated of them.

    Args:
        place: The folder below the state folder, e.g. `logs`.
        ending: What follows the time in its name, e.g. `-smollm2.log`.

    Raises:
        InputError: there is no place to write it.
    """
    state = user_state_folder()
    if state is None:
        raise InputError("there is no home folder for logs", hint="set XDG_STATE_HOME to a folder")
    folder = state / place
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for old in sorted(folder.glob("*.log"), key=lambda path: path.name)[: -_LOGS_KEPT + 1]:
            for part in folder.glob(f"{old.name}*"):
                part.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"the folder for logs, {folder}, cannot be written: {error.strerror}",
            hint="set XDG_STATE_HOME to a folder that can be written",
        ) from error
    return folder / f"{datetime.now(UTC).strftime('%Y%m%dT%H%M%S.%f')}{ending}"
