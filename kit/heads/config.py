"""What a fit was asked for: command line, then YAML file, then default. Pure: texts and values are passed in."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import yaml

from kit.core import contract
from kit.core.errors import BadInput
from kit.training.recipe import Recipe, architecture

NETFLIX, KONVID = "npd", "konvid-1k"
#: Modes of ``--combined``: the corpora that are used, and those of them whose sources may be held out.
COMBINED: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "netflix-source": ((NETFLIX, KONVID), (NETFLIX,)),
    "konvid-holdout": ((NETFLIX, KONVID), (KONVID,)),
    "both": ((NETFLIX, KONVID), (NETFLIX, KONVID)),
    "netflix-only": ((NETFLIX,), (NETFLIX,)),
    "konvid-only": ((KONVID,), (KONVID,)),
}
#: Share of the rows of each validated corpus that ``--combined`` holds out where nothing else is said.
COMBINED_FRACTION = 0.1
_LARGEST_SEED = 2**31 - 1
#: Options that say what is held out.
_HELD_OUT = ("val_source", "val_fraction")
_PLACES = ("features", "out", "config")


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """Everything that decides a fit besides its table.

    Attributes:
        arch: a head on the six features alone, see :func:`head`.
        val_source: sources that are held out, each ``source`` or ``corpus/source``.
        val_fraction: share of the rows whose sources are held out, 0 to 1, both excluded.
        epochs: passes over the training rows; 0 for the initial weights.
        max_pairs: clips of each corpus that are used; None for all.
        combined: a mode of :data:`COMBINED`; None to use the table as it is.
    """

    arch: str = contract.TINY_ARCH
    val_source: tuple[str, ...] = ()
    val_fraction: float | None = None
    epochs: int = contract.TINY_EPOCHS
    batch_size: int = contract.TINY_BATCH_SIZE
    lr: float = contract.TINY_LEARNING_RATE
    seed: int = 0
    max_pairs: int | None = None
    combined: str | None = None
    device: str = "auto"

    @property
    def recipe(self) -> Recipe:
        return Recipe(epochs=self.epochs, arch=self.arch, batch_size=self.batch_size, lr=self.lr)

    def as_dict(self) -> dict[str, object]:
        """As JSON and YAML have it."""
        return asdict(self) | {"val_source": list(self.val_source)}

    def as_yaml(self) -> bytes:
        """The file that ``--config`` reads again."""
        text: str = yaml.safe_dump(self.as_dict(), sort_keys=True)
        return text.encode("ascii")

    @property
    def sha256(self) -> str:
        """Of :meth:`as_yaml`."""
        return hashlib.sha256(self.as_yaml()).hexdigest()


def head(name: object) -> str:
    """The name of an architecture on the six features alone: ``linear``, ``mlp_small``, ``mlp_medium``, ``mlp-W-W…``.

    Raises:
        BadInput: there is no such one, or it takes the codec block.
        TypeError: it is no text.
    """
    if not isinstance(name, str):
        raise TypeError("is no name of an architecture")
    heads = [known for known in contract.ARCHS if not architecture(known).codec_aware]
    try:
        if name in contract.ABLATIONS:
            raise KeyError(name)
        if architecture(name).codec_aware:
            raise BadInput(
                f"--arch: {name} looks at the codec block, which no feature table has",
                hint=f"Tiny heads are {', '.join(heads)} and mlp-W-W, e.g. mlp-32-16.",
            )
    except KeyError:
        raise BadInput(
            f"--arch: unknown {name!r:.60}", hint=f"Known are {', '.join(heads)} and mlp-W-W, e.g. mlp-32-16."
        ) from None
    return name


def resolve(given: Mapping[str, object], file: dict[str, object]) -> tuple[FitConfig, dict[str, str]]:
    """The options and where each of them comes from.

    Args:
        given: those of the command line, None where there is none.
        file: those of the YAML file, see :func:`read_yaml`.

    Raises:
        BadInput: a value cannot be used, or two of them contradict each other.
    """
    named = {name: value for name, value in given.items() if value not in (None, ())}
    if any(name in named for name in _HELD_OUT):  # what is held out is said in one place
        file = {name: value for name, value in file.items() if name not in _HELD_OUT}
    origins = dict.fromkeys(_VALUES, "default") | dict.fromkeys(file, "config file")
    origins |= dict.fromkeys(named, "command line")
    values: dict[str, Any] = {}
    for name, value in (file | named).items():
        if value is None:
            continue
        try:
            values[name] = _VALUES[name](value)
        except (TypeError, ValueError) as error:
            raise BadInput(f"{_option(name)}: {value!r:.60} {error} (from the {origins[name]})") from error
    if values.get("val_source") and values.get("val_fraction") is not None:
        raise BadInput("--val-source and --val-fraction exclude each other", hint="Give one of them.")
    if "combined" in values and not values.get("val_source") and values.get("val_fraction") is None:
        values["val_fraction"], origins["val_fraction"] = COMBINED_FRACTION, "default of --combined"
    config = FitConfig(**values)
    corpus = [_option(name) for name in ("val_source", "val_fraction", "max_pairs", "combined") if values.get(name)]
    if config.epochs == 0 and corpus:
        raise BadInput(
            f"{', '.join(corpus)}: no effect with --epochs 0, which looks at no corpus", hint="Leave it out."
        )
    return config, origins


def read_yaml(text: str, where: str) -> dict[str, object]:
    """The options of a YAML file, by name with ``_``; keys may be written with ``-`` as well.

    Raises:
        BadInput: it is no YAML, no mapping, or holds what is no option; all such keys are named.
    """
    try:
        value: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise BadInput(f"--config {where} is no YAML: {error}") from error
    if not isinstance(value, Mapping):
        held = "nothing" if value is None else f"a {type(value).__name__}"
        raise BadInput(
            f"--config {where} holds {held}, expected option names with values",
            hint="For example `arch: mlp_small`, one option a line.",
        )
    names = {key: str(key).replace("-", "_") for key in value}
    if places := [str(key) for key, name in names.items() if name in _PLACES]:
        raise BadInput(
            f"--config {where}: {', '.join(places)} belong on the command line",
            hint="The file says how, not where: so it means the same on every machine.",
        )
    if unknown := [str(key) for key, name in names.items() if name not in _VALUES]:
        raise BadInput(
            f"--config {where}: {', '.join(unknown)}: no such option", hint=f"Known are {', '.join(sorted(_VALUES))}."
        )
    if len(set(names.values())) < len(names):
        raise BadInput(f"--config {where}: an option is given twice, with - and with _")
    return {name: value[key] for key, name in names.items()}


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _whole(low: int, high: int) -> Callable[[object], int]:
    def parse(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"is no whole number from {low} to {high}")
        return value

    return parse


def number(low: float, high: float) -> Callable[[object], float]:
    """Reads a number between two others, both excluded; a text as well, since YAML takes 1e-3 for one."""

    def parse(value: object) -> float:
        try:
            found = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            found = math.nan
        if not low < found < high:
            raise ValueError(f"is no number between {low:g} and {high:g}")
        return found

    return parse


def _one_of(known: Sequence[str]) -> Callable[[object], str]:
    def parse(value: object) -> str:
        if value not in known:
            raise ValueError(f"is none of {', '.join(known)}")
        return str(value)

    return parse


def _sources(value: object) -> tuple[str, ...]:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise ValueError("is neither a name nor a list of names")
    return tuple(names)


#: How the value of each option is read.
_VALUES: Mapping[str, Callable[[object], object]] = {
    "arch": head,
    "val_source": _sources,
    "val_fraction": number(0, 1),
    "epochs": _whole(0, 999_999),
    "batch_size": _whole(1, 1 << 20),
    "lr": number(0, 10),
    "seed": _whole(0, _LARGEST_SEED),
    "max_pairs": _whole(1, 1 << 31),
    "combined": _one_of(tuple(COMBINED)),
    "device": _one_of(contract.DEVICES),
}
