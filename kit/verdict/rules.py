"""The rules of each version of the verdict: thresholds and checks of both gates. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from kit.core import contract
from kit.verdict import gate, version_1
from kit.verdict.gate import Checks


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What a verdict of a version is decided by.

    Attributes:
        gate, expert: thresholds of the default and of the expert gate.
        checks: the expert gate's.
    """

    version: int
    gate: Mapping[str, float]
    expert: Mapping[str, float]
    checks: Checks


#: Rules by version of the verdict.
RULES: Mapping[int, Rules] = MappingProxyType(
    {
        1: Rules(
            version=1,
            gate=version_1.GATE_THRESHOLDS,
            expert=version_1.EXPERT_THRESHOLDS,
            checks=version_1.expert_checks,
        ),
        2: Rules(
            version=2,
            gate=contract.GATE_THRESHOLDS,
            expert=contract.EXPERT_THRESHOLDS,
            checks=gate.expert_checks,
        ),
    }
)
CURRENT = RULES[contract.VERDICT_VERSION]
