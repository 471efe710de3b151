"""Click's options, made from the tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import click

from kit.options.table import Option

#: A command, or the function that becomes one.
_Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class TableOption(click.Option):
    """An option of a command that shows the default, variable and limits of its table line.

    Attributes:
        spec: the line.
    """

    def __init__(self, declarations: list[str], spec: Option, **attributes: Any) -> None:
        super().__init__(declarations, help=spec.help, metavar=spec.kind.metavar or None, **attributes)
        self.spec = spec

    def get_help_extra(self, ctx: click.Context) -> Any:  # noqa: ARG002 - click's own name
        spec = self.spec
        extra: dict[str, Any] = {"envvars": (spec.env,)} if spec.env else {}
        shown = {
            "default": spec.shown_default,
            "range": spec.kind.limits or (spec.repeats and "may be repeated"),
            "required": spec.required and "required",
        }
        return extra | {name: text for name, text in shown.items() if text}


class _Read(click.ParamType[Any]):
    """Reads one text as the table says; the error is the table's, with its hint."""

    def __init__(self, spec: Option) -> None:
        self.name, self._spec = spec.name, spec

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ARG002
        if not isinstance(value, str):
            return value
        return self._spec.read((value,))[0] if self._spec.repeats else self._spec.read(value)


def _flag_text(_context: click.Context, _parameter: click.Parameter, value: bool | None) -> str | None:
    return None if value is None else str(value).lower()


def _read(spec: Option) -> dict[str, Any]:
    attributes: dict[str, Any] = {"envvar": spec.env or None, "required": spec.required, "multiple": spec.repeats}
    if spec.default not in (None, ()):
        attributes["default"] = spec.default
    return attributes | ({"is_flag": True} if spec.kind.is_flag else {"type": _Read(spec)})


def _unread(spec: Option) -> dict[str, Any]:
    if spec.kind.is_flag:
        return {"default": None, "is_flag": True, "callback": _flag_text}
    return {"type": str, "multiple": spec.repeats}


def _decorate(specs: Iterable[Option], attributes: Callable[[Option], dict[str, Any]]) -> _Decorator:
    chosen = tuple(specs)

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for spec in reversed(chosen):
            option = click.option(spec.declaration, spec.name, cls=TableOption, spec=spec, **attributes(spec))
            command = option(command)
        return command

    return decorate


def options(*specs: Option) -> _Decorator:
    """Give a command these options; it receives values, from the command line, the environment or the default."""
    return _decorate(specs, _read)


def texts(*specs: Option) -> _Decorator:
    """Give a command these options; it receives texts or None, to be resolved with other places they are set in."""
    return _decorate(specs, _unread)
