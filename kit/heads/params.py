"""What `tune` tries: parameters with their ranges, and the recipe that follows from a choice of them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from kit.core.errors import BadInput
from kit.training.recipe import Recipe, architecture

#: Parameters, whether each is a whole number, and the range of each, both ends included.
KNOWN = {
    "hidden": (True, 1, 999),
    "batch_size": (True, 1, 1 << 20),
    "epochs": (True, 1, 999_999),
    "lr": (False, 1e-9, 10),
    "weight_decay": (False, 0, 10),
}
_HINT = "For example hidden=choice:16,32,64, lr=float:1e-4:1e-2:log or epochs=int:10:90."


@dataclass(frozen=True, kw_only=True)
class Param:
    """One parameter.

    Attributes:
        choices: what it is one of; empty for a range.
        low, high, log: the range, both ends included, and whether it is drawn on a logarithmic scale.
    """

    name: str
    choices: tuple[float, ...] = ()
    low: float = 0
    high: float = 0
    log: bool = False

    @property
    def whole(self) -> bool:
        return KNOWN[self.name][0]

    def __str__(self) -> str:
        """As :func:`parse` reads it."""
        if self.choices:
            return f"{self.name}=choice:{','.join(map(str, self.choices))}"
        return f"{self.name}={'int' if self.whole else 'float'}:{self.low}:{self.high}{':log' if self.log else ''}"

    def as_dict(self) -> dict[str, object]:
        """As JSON has it."""
        if self.choices:
            return {"name": self.name, "choices": list(self.choices)}
        return {"name": self.name, "low": self.low, "high": self.high, "log": self.log}


def parse(text: str) -> Param:
    """Read ``NAME=choice:A,B``, ``NAME=int:LOW:HIGH`` or ``NAME=float:LOW:HIGH``, the latter two with ``:log`` or not.

    Raises:
        BadInput: it is none of these, or a value does not fit the parameter.
    """
    name, _, rest = text.partition("=")
    kind, _, values = rest.partition(":")
    if name not in KNOWN:
        raise BadInput(f"{name!r} is unknown", hint=f"Known are {', '.join(KNOWN)}.")
    if kind == "choice":
        choices = tuple(_value(name, part, text) for part in values.split(","))
        if len(set(choices)) < len(choices):
            raise BadInput(f"{text}: a choice is given twice")
        return Param(name=name, choices=choices)
    if kind != ("int" if KNOWN[name][0] else "float"):
        raise BadInput(f"{text}: {name} is {'a whole' if KNOWN[name][0] else 'any'} number, not {kind!r}", hint=_HINT)
    low, high, *log = values.split(":") if values.count(":") in (1, 2) else ("", "")
    found = Param(name=name, low=_value(name, low, text), high=_value(name, high, text), log=log == ["log"])
    if log not in ([], ["log"]) or not found.low < found.high or (found.log and not found.low > 0):
        raise BadInput(f"{text}: not a range", hint=_HINT)
    return found


def _value(name: str, text: str, whole_text: str) -> float:
    whole, low, high = KNOWN[name]
    try:
        value = int(text) if whole else float(text)
    except ValueError:
        value = -1
    if not low <= value <= high:
        kind = "whole number" if whole else "number"
        raise BadInput(f"{whole_text}: {text!r} is not a {kind} from {low:g} to {high:g}", hint=_HINT)
    return value


def recipe_with(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """A recipe with some of its parameters replaced; ``hidden`` scales the widths of its architecture.

    Raises:
        BadInput: ``hidden`` of an architecture without hidden layers.
    """
    others = {name: value for name, value in values.items() if name != "hidden"}
    arch = scaled(recipe.arch, values["hidden"]) if "hidden" in values else recipe.arch
    return replace(recipe, arch=arch, **others)


def scaled(arch: str, first: int) -> str:
    """The head whose first hidden layer has that width and whose others are in proportion: 32 makes 16-8 32-16.

    Raises:
        BadInput: it has no hidden layer.
    """
    widths = architecture(arch).hidden
    if not widths:
        raise BadInput(f"--param hidden: {arch} has no hidden layer", hint="Give another --arch, or leave it out.")
    return "mlp-" + "-".join(str(max(1, round(width * first / widths[0]))) for width in widths)
