"""The model card: what a stranger reads before taking a model."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from kit.core import contract
from kit.heads.ship_gate import describe_limits
from kit.training.recipe import architecture

_TEMPLATE = "card.md.j2"


def markdown(told: Mapping[str, Any], line: Mapping[str, Any]) -> str:
    """The card of a registered model.

    Args:
        told: its sidecar; line: its line in the registry.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    # Markdown, not HTML: what may come from elsewhere is put into code spans
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=False,  # noqa: S701
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["code"] = _code
    held_out = told["corpus"]["held_out"] or []
    return environment.get_template(_TEMPLATE).render(
        told=told,
        line=line,
        weights=weights(told["training_recipe"]["arch"]),
        found=told["validation"],
        asked_for=describe_limits(told["validation"]["limits"]),
        seen=[name for name in told["corpus"]["sources"] or [] if name not in held_out],
        held_out=held_out,
    )


def weights(arch: str) -> int:
    """Numbers that are learned: weights and biases of every layer."""
    widths = (len(contract.FEATURES), *architecture(arch).hidden, 1)
    return sum((low + 1) * high for low, high in pairwise(widths))


def _code(text: object) -> str:
    """A code span in one line, whatever the text."""
    return "`" + " ".join(str(text).replace("`", "'").replace("|", "\\|").split()) + "`"
