"""One setting: its name, kind, default, environment names and help."""

from collections.abc import Callable
from dataclasses import dataclass

from nimctl.settings.values import Convert


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """One setting.

    Attributes:
        name: Its name in files and as an attribute of `Settings`.
        convert: Makes a value of what was written.
        help: One line for a person.
        environment: Environment variables that set it, strongest first.
        default: Its value when nobody sets it.
        default_from: Finds the default on this machine, where it is no constant.
        option: Its command-line option, where that is not `--` and the name.
        secret: Never shown, and never taken from a project file.
        guides_secret: Decides where a secret is sent, so never taken from a project file either.
        names_programs: Decides which programs run, so never taken from a project file either.
        lets_code_in: Decides whether code of others is brought, so never from a project file.
    """

    name: str
    convert: Convert
    help: str
    environment: tuple[str, ...] = ()
    default: object = None
    default_from: Callable[[], object] | None = None
    option: str | None = None
    secret: bool = False
    guides_secret: bool = False
    names_programs: bool = False
    lets_code_in: bool = False

    @property
    def flag(self) -> str:
        """The command-line option, e.g. `--context-length`."""
        return self.option or f"--{self.name.replace('_', '-')}"
