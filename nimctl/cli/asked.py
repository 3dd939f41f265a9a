"""What a command was asked: its settings, and whether a model was named by its place."""

from nimctl.cli.terminal import print_note
from nimctl.settings import Settings, read_settings


def read_command_settings(**flags: object) -> Settings:
    """The settings of this run, options by setting name first; notes go to standard error."""
    settings = read_settings(flags)
    for note in settings.notes:
        print_note(f"note: {note}")
    return settings


def is_address(name: str) -> bool:
    """Whether a model is named by where it lies: `hf://...`, `/...`, `./...`, `~/...`, `*.gguf`."""
    return (
        "://" in name
        or name in (".", "..", "~")
        or name.startswith(("/", "./", "../", "~/", "pypi:"))
        or name.endswith(".gguf")
    )
