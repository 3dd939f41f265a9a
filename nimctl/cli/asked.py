"""What a command was asked: its settings, and whether a model was named by its place."""

from collections.abc import Sequence
from pathlib import Path

from nimctl.cli.terminal import print_note
from nimctl.errors import InputError
from nimctl.settings import Settings, read_settings


def read_command_settings(**flags: object) -> Settings:
    """The settings of this run, options by setting name first; notes go to standard error."""
    settings = read_settings(flags)
    for note in settings.notes:
        print_note(f"note: {note}")
    return settings


def split_lora(written: Sequence[str] | None) -> dict[str, object]:
    """What `--lora` was given as settings: adapters by name, or one folder that holds them.

    Raises:
        InputError: it names several folders.
    """
    named = [one for one in written or () if "=" in one and not Path(one).is_dir()]
    folders = [one for one in written or () if one not in named]
    if len(folders) > 1:
        raise InputError(
            f"--lora takes one folder of adapters, not {len(folders)}",
            hint="name adapters one by one: --lora NAME=PATH",
        )
    return {"lora_dir": folders[0] if folders else None, "lora_adapters": named}


def is_address(name: str) -> bool:
    """Whether a model is named by where it lies: `hf://...`, `/...`, `./...`, `~/...`, `*.gguf`."""
    return (
        "://" in name
        or name in (".", "..", "~")
        or name.startswith(("/", "./", "../", "~/", "pypi:"))
        or name.endswith(".gguf")
    )
