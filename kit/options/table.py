"""Tables of options, and how their values are gathered. Pure: files, variables and texts are passed in.

An option is declared once, in a table. Click's options, help texts, the page of options, config files, what a run
folder remembers and the precedence of all of these follow from the table.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

from kit.core.errors import BadInput, KitError, Several
from kit.options.values import Kind, one_of

#: What a command line, a variable or a file has for an option: its text, or the texts of a list.
Raw = str | tuple[str, ...]
#: Such texts by option name.
Texts = Mapping[str, Raw]


@dataclass(frozen=True)
class Option:
    """One option.

    Attributes:
        name: of the parameter and of the key in config files.
        help: a phrase of at most a dozen words, without the default.
        default: the value where none is given; None or an empty tuple is shown as ``otherwise``.
        otherwise: what happens without the option.
        flag: how the command line spells it; the name with dashes if empty.
        on_command_line, in_file: where it can be given.
        env: environment variable that may set it.
        repeats: may be given several times; the value is a tuple.
        required: a command refuses to start without it.
        steps: steps, and the command ``worker``, that it has an effect on.
        remembered: kept in the run folder.
        shown_as: replaces the path in files that leave the box.
        tolerance: a failure tolerance; another value is no reason for another run.
        cluster: says where cells are made.
    """

    name: str
    kind: Kind
    help: str
    _: KW_ONLY
    default: Any = None
    otherwise: str = ""
    flag: str = ""
    on_command_line: bool = True
    in_file: bool = True
    env: str = ""
    repeats: bool = False
    required: bool = False
    steps: tuple[str, ...] = ()
    remembered: bool = True
    shown_as: str = ""
    tolerance: bool = False
    cluster: bool = False

    @property
    def spelling(self) -> str:
        """The option in errors: ``--out-dir``."""
        return self.declaration.split("/")[0]

    @property
    def declaration(self) -> str:
        """The option as click takes it: ``--out-dir``, ``--anchor/--no-anchor``."""
        return self.flag or "--" + self.name.replace("_", "-")

    def read(self, raw: Raw) -> Any:
        """Return the value of a text.

        Raises:
            BadInput: the text cannot be used; the message begins with the option.
        """
        try:
            if self.repeats:
                return tuple(map(self.kind.read, (raw,) if isinstance(raw, str) else raw))
            if isinstance(raw, str):
                return self.kind.read(raw)
            if not self.kind.is_list:
                raise BadInput("is a list, expected one value")
            return self.kind.read(",".join(raw))
        except KitError as error:
            raise BadInput(f"{self.spelling}: {error.message}", hint=error.hint) from error

    def write(self, value: Any) -> Raw:
        """Return the text of a value, or the texts of an option that repeats."""
        return tuple(map(self.kind.write, value)) if self.repeats else self.kind.write(value)

    @property
    def shown_default(self) -> str:
        """The default as help texts show it."""
        if self.kind.is_flag:
            on, _, off = self.declaration.partition("/")
            return on if self.default else off
        if self.default in (None, ()):
            return self.otherwise
        shown = self.kind.write(self.default)
        return f"{shown}; {self.otherwise}" if self.otherwise else shown


def choice(name: str, names: Sequence[str], help_text: str, **attributes: Any) -> Option:
    """Return an option that takes one of these names; the first is the default, unless the option is required."""
    attributes.setdefault("default", None if attributes.get("required") else names[0])
    return Option(name, one_of(tuple(names)), help_text, **attributes)


@dataclass(frozen=True, kw_only=True)
class Table:
    """The options of a group of commands, by name."""

    title: str
    options: tuple[Option, ...]

    def __iter__(self) -> Iterator[Option]:
        return iter(self.options)

    def __getitem__(self, name: str) -> Option:
        return next(option for option in self.options if option.name == name)

    def pick(self, *names: str) -> tuple[Option, ...]:
        return tuple(self[name] for name in names)


def resolve(
    options: Sequence[Option] | Table,
    *,
    command_line: Mapping[str, Raw | None],
    environ: Mapping[str, str] | None = None,
    file: Texts | None = None,
    remembered: Texts | None = None,
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return values and origins of the options that are given somewhere, by precedence.

    Command line before environment before config file before run folder. An empty variable is not set.

    Raises:
        BadInput: a text cannot be used. The message names the origin, unless that is the command line.
        Several: several texts cannot be used; all are named.
    """
    environ, file, remembered = environ or {}, file or {}, remembered or {}
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    problems = []
    for option in options:
        places = (
            ("command line", command_line.get(option.name)),
            (f"environment {option.env}", environ.get(option.env) or None),
            ("config file", file.get(option.name)),
            ("run folder", remembered.get(option.name)),
        )
        origin, raw = next((place for place in places if place[1] is not None), ("", None))
        if raw is None:
            continue
        try:
            values[option.name], origins[option.name] = option.read(raw), origin
        except BadInput as error:
            where = "" if origin == "command line" else f" (from the {origin})"
            problems.append(BadInput(error.message + where, hint=error.hint))
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise Several("options that cannot be used", problems)
    return values, origins


def write_options(options: Iterable[Option], values: Mapping[str, Any]) -> Texts:
    """Return the texts of the options that have a value, by their names on the command line with ``_``."""
    return {
        option.spelling.removeprefix("--").replace("-", "_"): option.write(values[option.name])
        for option in options
        if values[option.name] not in (None, ())
    }


def load_toml(text: str) -> object:
    return tomllib.loads(text)


def load_yaml(text: str) -> object:
    """Read YAML.

    Raises:
        ValueError: the text is something else.
    """
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def read_file(text: str, where: str, options: Sequence[Option] | Table, load: Callable[[str], object]) -> Texts:
    """Return the texts of a config file, whose keys are option names with ``_`` or ``-``; null is not set.

    Args:
        where: the file's name, for errors.
        load: ``load_toml`` or ``load_yaml``.

    Raises:
        BadInput: another format, or keys that are not options of a file; all of them are named.
    """
    try:
        content = load(text)
    except ValueError as error:
        raise BadInput(f"--config {where}: cannot be parsed: {error}") from error
    if not isinstance(content, Mapping):
        kind = "nothing" if content is None else f"a {type(content).__name__}"
        raise BadInput(f"--config {where}: contains {kind}, expected option names with values")
    names = {key: str(key).replace("-", "_") for key in content}
    known = {option.name for option in options if option.in_file}
    if unknown := [str(key) for key, name in names.items() if name not in known]:
        raise BadInput(
            f"--config {where}: not an option of a config file: {', '.join(unknown)}",
            hint=f"Known are {', '.join(sorted(known))}.",
        )
    if tables := [str(key) for key, value in content.items() if isinstance(value, Mapping)]:
        raise BadInput(f"--config {where}: expected a value, not a table: {', '.join(tables)}")
    if twice := sorted({name for name in names.values() if list(names.values()).count(name) > 1}):
        raise BadInput(f"--config {where}: given twice, with - and with _: {', '.join(twice)}")
    return {name: _raw(content[key]) for key, name in names.items() if content[key] is not None}


def _raw(value: object) -> Raw:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(map(_text, value))
    return _text(value)


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
