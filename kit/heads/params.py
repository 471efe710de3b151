"""Parameters that `tune` chooses, their ranges, and the recipe that follows from a choice. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from kit.core.errors import BadInput
from kit.options.values import number, whole
from kit.training.recipe import Recipe, architecture

#: How a value of each parameter is read.
KINDS = {
    "hidden": whole(1, 999),
    "batch_size": whole(1, 1 << 20),
    "epochs": whole(1, 999_999),
    "lr": number(0, 10),
    "weight_decay": number(0, 10, from_low=True),
}
_WHOLE = ("hidden", "batch_size", "epochs")
_HINT = "For example hidden=choice:16,32,64, lr=float:1e-4:1e-2:log or epochs=int:10:90."


@dataclass(frozen=True, kw_only=True)
class Param:
    """One parameter.

    Attributes:
        choices: allowed values; empty for a range.
        low, high: the range, both ends included.
        log: draw from the range on a logarithmic scale.
    """

    name: str
    choices: tuple[float, ...] = ()
    low: float = 0
    high: float = 0
    log: bool = False

    @property
    def whole(self) -> bool:
        return self.name in _WHOLE

    def __str__(self) -> str:
        """Return the text that :func:`parse` reads."""
        if self.choices:
            return f"{self.name}=choice:{','.join(map(str, self.choices))}"
        return f"{self.name}={'int' if self.whole else 'float'}:{self.low}:{self.high}{':log' if self.log else ''}"

    def as_dict(self) -> dict[str, object]:
        """Return the parameter as JSON has it."""
        if self.choices:
            return {"name": self.name, "choices": list(self.choices)}
        return {"name": self.name, "low": self.low, "high": self.high, "log": self.log}


def parse(text: str) -> Param:
    """Read ``NAME=choice:A,B``, ``NAME=int:LOW:HIGH[:log]`` or ``NAME=float:LOW:HIGH[:log]``.

    Raises:
        BadInput: another form, an unknown parameter, or a value outside its limits.
    """
    name, _, rest = text.partition("=")
    kind, _, values = rest.partition(":")
    if name not in KINDS:
        raise BadInput(f"{name!r} is unknown", hint=f"Known are {', '.join(KINDS)}.")
    if kind == "choice":
        choices = tuple(_value(name, part, text) for part in values.split(","))
        if len(set(choices)) < len(choices):
            raise BadInput(f"{text}: a choice is given twice")
        return Param(name=name, choices=choices)
    expected = "int" if name in _WHOLE else "float"
    if kind != expected:
        raise BadInput(f"{text}: expected choice or {expected}, not {kind!r}", hint=_HINT)
    low, high, *log = values.split(":") if values.count(":") in (1, 2) else ("", "")
    param = Param(name=name, low=_value(name, low, text), high=_value(name, high, text), log=log == ["log"])
    if log not in ([], ["log"]) or not param.low < param.high or (param.log and not param.low > 0):
        raise BadInput(f"{text}: not a range", hint=_HINT)
    return param


def _value(name: str, text: str, whole_text: str) -> float:
    try:
        value: float = KINDS[name].read(text)
    except BadInput as error:
        raise BadInput(f"{whole_text}: {error.message}", hint=_HINT) from error
    return value


def recipe_with(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """Return a recipe with some of its parameters replaced; ``hidden`` scales the widths of its architecture.

    Raises:
        BadInput: ``hidden`` of an architecture without hidden layers.
    """
    others = {name: value for name, value in values.items() if name != "hidden"}
    arch = scaled(recipe.arch, values["hidden"]) if "hidden" in values else recipe.arch
    return replace(recipe, arch=arch, **others)


def scaled(arch: str, first: int) -> str:
    """Return the head with this width of the first hidden layer and the others in proportion: 32 makes 16-8 32-16.

    Raises:
        BadInput: the head has no hidden layer.
    """
    widths = architecture(arch).hidden
    if not widths:
        raise BadInput(f"--param hidden: {arch} has no hidden layer", hint="Give another --arch, or leave it out.")
    return "mlp-" + "-".join(str(max(1, round(width * first / widths[0]))) for width in widths)
