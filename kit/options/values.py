"""How the text of an option is read, by kind of value. Pure: an error says what is wrong, the option adds its name."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kit.core import contract
from kit.core.errors import BadInput
from kit.core.geometry import RawFormat, parse_option

#: From here on a limit is not worth showing.
_HUGE = 999_999


@dataclass(frozen=True, kw_only=True)
class Kind:
    """How a text becomes a value and a value a text.

    Attributes:
        read: raises BadInput, without the name of the option.
        write: gives the text that ``read`` reads again.
        metavar: what stands for the value in help texts.
        choices: allowed names; empty for other kinds.
        limits: allowed numbers in words.
        is_list: a list in a config file is read as its items joined with commas.
        is_flag: the command line has no value for it; config files say true or false.
    """

    read: Callable[[str], Any]
    write: Callable[[Any], str] = str
    metavar: str = "TEXT"
    choices: tuple[str, ...] = ()
    limits: str = ""
    is_list: bool = False
    is_flag: bool = False


def _join(values: Sequence[object]) -> str:
    return ",".join(map(str, values))


def _span(low: float, high: float) -> str:
    return f"{low} or more" if high >= _HUGE else f"{low} to {high}"


def _shown(low: int, high: int) -> str:
    """The limits where they are not obvious."""
    return "" if high >= _HUGE and low <= 1 else _span(low, high)


def _whole(text: str, low: int, high: int) -> int | None:
    """The number, or None for another text."""
    return int(text) if re.fullmatch(r"\d{1,10}", text) and low <= int(text) <= high else None


def whole(low: int, high: int, *, metavar: str = "N", hint: str = "") -> Kind:
    """One whole number, both limits included."""

    def read(text: str) -> int:
        number = _whole(text.strip(), low, high)
        if number is None:
            raise BadInput(f"{text[:40]!r} is not a whole number, {_span(low, high)}", hint=hint)
        return number

    return Kind(read=read, metavar=metavar, limits=_shown(low, high))


def whole_numbers(low: int, high: int, *, ascending: bool = False) -> Kind:
    """Whole numbers separated by commas, each once, both limits included."""

    def read(text: str) -> tuple[int, ...]:
        words = _words(text)
        if bad := [word[:20] for word in words if _whole(word, low, high) is None]:
            raise BadInput(f"{', '.join(bad)}: not a whole number, {_span(low, high)}")
        numbers = tuple(map(int, words))
        _refuse_empty_or_twice(text, numbers, hint=f"Give numbers, {_span(low, high)}, separated by commas.")
        return tuple(sorted(numbers)) if ascending else numbers

    return Kind(read=read, write=_join, metavar="N,N", limits=_shown(low, high), is_list=True)


def number(low: float, high: float = math.inf, *, from_low: bool = False, to_high: bool = False) -> Kind:
    """A finite number between two limits, which may be allowed themselves."""
    limits = f"{'at least' if from_low else 'above'} {low:g}"
    if high < math.inf:
        limits += f", {'at most' if to_high else 'below'} {high:g}"

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (low < value < high or (from_low and value == low) or (to_high and value == high)):
            raise BadInput(f"{text[:40]!r} is not a number {limits}")
        return value

    return Kind(read=read, metavar="X", limits=limits)


def seconds(low: int) -> Kind:
    """A number of seconds with up to three decimals."""

    def read(text: str) -> float:
        if not re.fullmatch(r"\d{1,7}(\.\d{1,3})?", text.strip()) or float(text) < low:
            raise BadInput(f"{text!r} is not a number of seconds, {low} or more")
        return float(text)

    return Kind(read=read, write=lambda value: f"{value:.10g}", metavar="SECONDS")


def one_of(names: Sequence[str]) -> Kind:
    def read(text: str) -> str:
        if text not in names:
            raise BadInput(f"{text[:60]!r} is unknown", hint=f"Known are {', '.join(names)}.")
        return text

    return Kind(read=read, metavar=f"[{'|'.join(names)}]", choices=tuple(names))


def some_of(names: Sequence[str], *, hint: str = "") -> Kind:
    """Names separated by commas, each once."""

    def read(text: str) -> tuple[str, ...]:
        words = _words(text)
        if unknown := [word for word in words if word not in names]:
            raise BadInput(f"unknown: {', '.join(unknown)}", hint=f"Known are {', '.join(names)}.")
        _refuse_empty_or_twice(text, words, hint=hint)
        return tuple(words)

    return Kind(read=read, write=_join, metavar="A,B", choices=tuple(names), is_list=True)


def matching(pattern: str, expected: str, *, metavar: str, hint: str = "") -> Kind:
    """A text of a form that ``expected`` describes."""

    def read(text: str) -> str:
        if not re.fullmatch(pattern, text, re.ASCII):
            raise BadInput(f"{text[:60]!r} is not {expected}", hint=hint)
        return text

    return Kind(read=read, metavar=metavar)


def text(metavar: str) -> Kind:
    """Any text."""
    return Kind(read=str, metavar=metavar)


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[,\s]+", text.strip()) if word]


def _refuse_empty_or_twice(text: str, items: Sequence[object], *, hint: str) -> None:
    if not items:
        raise BadInput("the list is empty", hint=hint)
    if len(set(items)) != len(items):
        raise BadInput(f"given twice in {text!r}: {', '.join(sorted({str(i) for i in items if items.count(i) > 1}))}")


def _flag(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise BadInput(f"{text!r} is neither true nor false")
    return text.lower() == "true"


def absolute_path(text: str) -> Path:
    """The path with ``~`` expanded, absolute."""
    return _path(text).expanduser().absolute()


def _path(text: str) -> Path:
    if not text.strip():
        raise BadInput("the path is empty", hint="Give a path, or leave the option out.")
    return Path(text)


def path(metavar: str, *, absolute: bool = False) -> Kind:
    """A path as it is written, or an absolute one."""
    return Kind(read=absolute_path if absolute else _path, metavar=metavar)


FILE, DIR = path("FILE"), path("DIR")
FLAG = Kind(read=_flag, write=lambda value: str(value).lower(), metavar="", is_flag=True)
_LABEL = matching(
    r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}", "1 to 40 letters, digits, '.', '_' or '-', a letter or digit first", metavar=""
)
BOX = Kind(read=_LABEL.read, metavar="NAME")


def _teacher(text: str) -> str | Path:
    if "/" in text or text.endswith(".json"):
        return absolute_path(text)
    try:
        return str(_LABEL.read(text))
    except BadInput as error:
        raise BadInput(error.message, hint="Give the name of a model, or the path of a model file (.json).") from error


#: The name of a built-in model, or the path of a model file: a text with a slash or one that ends with ``.json``.
TEACHER = Kind(read=_teacher, metavar="MODEL")


def _folds(text: str) -> str:
    if text == contract.DEFAULT_FOLDS:
        return text
    least = int(contract.GATE_THRESHOLDS["groups_min"])
    given = re.fullmatch(r"kfold:(\d{1,4})", text)
    if given is None or int(given[1]) < least:
        raise BadInput(f"{text!r} is neither loso nor kfold:K with K of {least} or more")
    return f"kfold:{int(given[1])}"


FOLDS = Kind(read=_folds, metavar="SCHEME")


def fold_count(scheme: str) -> int | None:
    """K of ``kfold:K``; None for ``loso``, which has a fold for each content group."""
    return int(scheme.removeprefix("kfold:")) if scheme.startswith("kfold:") else None


def _render_node(text: str) -> str:
    name = text.removeprefix("/dev/dri/")
    if not re.fullmatch(r"renderD\d{1,4}", name):
        raise BadInput(f"{text!r} is not a name such as renderD128")
    return name


RENDER_NODE = Kind(read=_render_node, metavar="NAME")


def _write_geometry(raw: RawFormat) -> str:
    return f"{raw.width}x{raw.height}@{raw.fps}:{raw.pix_fmt}"


GEOMETRY = Kind(read=parse_option, write=_write_geometry, metavar="WxH@FPS[:FMT]")
