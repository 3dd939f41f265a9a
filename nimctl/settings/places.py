"""Where this user keeps files, as the operating system has it; None for a user without a home."""

from collections.abc import Callable
from pathlib import Path


def user_cache_folder() -> Path | None:
    """The folder for weights, e.g. `~/.cache/nimctl`."""
    from platformdirs import user_cache_path

    return _absolute(lambda: user_cache_path("nimctl"))


def user_data_folder() -> Path | None:
    """The folder for what is made once and kept, e.g. `~/.local/share/nimctl`."""
    from platformdirs import user_data_path

    return _absolute(lambda: user_data_path("nimctl"))


def user_state_folder() -> Path | None:
    """The folder for logs and what runs now, e.g. `~/.local/state/nimctl`."""
    from platformdirs import user_state_path

    return _absolute(lambda: user_state_path("nimctl"))


def user_config_folder() -> Path | None:
    """The folder of the user file, e.g. `~/.config/nimctl`."""
    from platformdirs import user_config_path

    return _absolute(lambda: user_config_path("nimctl"))


def _absolute(find: Callable[[], Path]) -> Path | None:
    # Without a home folder newer releases of platformdirs raise, older ones answer `~/...` as is.
    try:
        folder = find()
    except RuntimeError:
        return None
    return folder if folder.is_absolute() else None
