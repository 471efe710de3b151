"""The model card: a page for whoever considers using a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from kit.heads.ship_gate import describe_limits

_TEMPLATE = "card.md.j2"


def markdown(sidecar: Mapping[str, Any], registered: Mapping[str, Any]) -> str:
    """Return the card of a registered model.

    Args:
        registered: its line in the registry.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    # Markdown, not HTML: names from other people are put into code spans
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=False,  # noqa: S701
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["code"] = _code
    held_out = sidecar["corpus"]["held_out"] or []
    return environment.get_template(_TEMPLATE).render(
        sidecar=sidecar,
        registered=registered,
        parameters=parameters((len(sidecar["feature_order"]), *sidecar["training_recipe"]["hidden"], 1)),
        validation=sidecar["validation"],
        limits=describe_limits(sidecar["validation"]["limits"]),
        trained=[name for name in sidecar["corpus"]["sources"] or [] if name not in held_out],
        held_out=held_out,
    )


def parameters(widths: Sequence[int]) -> int:
    """Return the number of weights and biases of layers with these widths, from input to output."""
    return sum((low + 1) * high for low, high in pairwise(widths))


def _code(text: object) -> str:
    """Return a code span in one line for any text."""
    return "`" + " ".join(str(text).replace("`", "'").replace("|", "\\|").split()) + "`"
