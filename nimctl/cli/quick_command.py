"""Commands whose options that are plain text, or absent, are taken without building validators.

A Typer of 2026 imports pydantic, 0.1 s, to make a validator for every option of a command, given
or not. Absent values and text need none: they are what they are.
"""

from collections.abc import Iterable
from typing import Any

from typer.core import TyperCommand, TyperGroup


class QuickCommand(TyperCommand):
    """Reads its options as any command does, only sooner."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The options of the command and `--help`."""
        return _let_plain_values_pass(super().get_params(ctx))


class QuickGroup(TyperGroup):
    """Reads the options before a command's name as any group does, only sooner."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The options of the group and `--help`."""
        return _let_plain_values_pass(super().get_params(ctx))


def _let_plain_values_pass(params: Iterable[Any]) -> list[Any]:
    passed = list(params)
    for param in passed:
        kind = getattr(param, "type_descriptor", None)
        # A Typer whose parameters have no such descriptor does not use pydantic.
        if kind is not None and "process_value" not in vars(param) and not param.required:
            _let_plain_values_of_one_pass(param, kind.annotation)
    return passed


def _let_plain_values_of_one_pass(param: Any, annotation: Any) -> None:
    is_text, is_many = annotation in (str, list[str]), param.multiple or param.nargs == -1
    validate = param.process_value

    def process_value(ctx: Any, value: Any) -> Any:
        if value is not None and not (is_text and _is_text(value, is_many)):
            return validate(ctx, value)
        plain = () if value is None and is_many else value
        return plain if param.callback is None else param.callback(ctx, param, plain)

    param.process_value = process_value


def _is_text(value: object, is_many: bool) -> bool:
    if not is_many:
        return isinstance(value, str)
    return isinstance(value, list | tuple) and all(isinstance(one, str) for one in value)
