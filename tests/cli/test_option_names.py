"""Options have the same names in every Typer that nimctl may be installed beside."""

import inspect
from collections.abc import Iterator
from importlib import import_module
from typing import Any, get_type_hints

import typer
import typer.main
from typer.models import OptionInfo

from nimctl.cli.app import app


def list_callbacks() -> Iterator[Any]:
    for command in typer.main.get_group(app).list_commands(None):
        room = import_module(f"nimctl.cli.{command.replace('-', '_')}")
        found = getattr(room, room.__name__.rpartition(".")[2])
        if isinstance(found, typer.Typer):
            yield from (one.callback for one in found.registered_commands)
        else:
            yield found


def list_options(callback: Any) -> Iterator[tuple[str, OptionInfo]]:
    hints = get_type_hints(callback, include_extras=True)
    for name in inspect.signature(callback).parameters:
        for note in getattr(hints[name], "__metadata__", ()):
            if isinstance(note, OptionInfo):
                yield name, note


def test_an_option_whose_value_is_called_as_itself_is_named_explicitly() -> None:
    # Typer 0.27 takes such a value's name for the option's: --URL.
    options = [one for callback in list_callbacks() for one in list_options(callback)]
    assert len(options) > 100
    unnamed = {
        name
        for name, option in options
        # The first name of an annotated option stands where its default does.
        if option.metavar == name.upper() and not isinstance(option.default, str)
    }
    assert unnamed == set()
