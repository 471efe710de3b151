"""Both gates and the evidence, from corpus and predictions alone. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from kit.core import contract
from kit.core.errors import InvalidEvidence
from kit.corpus.store.shard import Shard
from kit.training.folds import assign
from kit.training.predictions import Predictions
from kit.training.table import Table
from kit.verdict import evidence
from kit.verdict.base import CellFacts, LosoResult
from kit.verdict.baselines import Baseline, Corpus, compared
from kit.verdict.coverage import covered
from kit.verdict.gate import ExpertReport, GateReport, apply_expert_gate, apply_gate, thresholds_sha256


@dataclass(frozen=True, kw_only=True)
class Training:
    """Out-of-fold predictions, or why there are none that can be judged.

    Attributes:
        folds: the scheme, ``loso`` or ``kfold:K``; holdout: what else was held out, of ``contract.HOLDOUTS``.
        predictions: None where nothing could be trained.
        baselines: what the ensemble is compared with, by name.
        rows: the corpus; None where there are no predictions.
        problems: one line for each reason why the evidence is not valid.
    """

    shard: Shard
    seeds: tuple[int, ...]
    folds: str
    holdout: tuple[str, ...]
    predictions: Predictions | None
    problems: tuple[str, ...]
    baselines: Mapping[str, Baseline]
    rows: Table | None


def cell_facts(shard: Shard, scheme: str) -> dict[str, CellFacts]:
    """Cell key to what the evidence needs to know, with the folds of a scheme.

    Raises:
        InvalidEvidence: too few content groups for the scheme.
    """
    folds = assign(shard.cells, scheme)
    return {
        entry.key: CellFacts(
            source=entry.source, group=entry.group, fold=folds[entry.group], encoder=entry.encoder, rows=entry.rows
        )
        for entry in shard.cells
    }


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What both gates say of a training, and why.

    Attributes:
        gate: None where the evidence is not valid.
        evidence: the ``evidence`` object of a verdict but the hash of the predictions.
    """

    gate: GateReport | None
    expert: ExpertReport
    evidence: Mapping[str, Any]

    def word(self, decided_by: str) -> str:
        """The verdict, by one of ``contract.GATES``: the expert gate asks for both."""
        if self.gate is None:
            return "INVALID"
        return "PROMOTE" if self.gate.passed and (decided_by == contract.GATES[0] or self.expert.passed) else "HOLD"


def judge(
    training: Training, problems: Sequence[str], agreed: Callable[[Predictions], LosoResult] = evidence.loso
) -> Judgement:
    """The gates and the evidence, from corpus and predictions alone.

    Args:
        problems: why the evidence is not valid, as far as that is known.
        agreed: gives the agreement of every member.
    """
    found: dict[str, Any] = {}
    gate = None
    if not problems:
        try:
            gate, found = apply_gate(agreed(complete(training)).mean_plccs()), _evidence(training)
        except InvalidEvidence as error:
            problems = error.problems
    whole = {"problems": list(problems), "folds": training.folds, **found}
    return Judgement(gate=gate, expert=apply_expert_gate(found or None), evidence=whole)


def complete(training: Training) -> Predictions:
    """The predictions.

    Raises:
        InvalidEvidence: some are missing, doubled or in a wrong fold.
    """
    found, cells = training.predictions, cell_facts(training.shard, training.folds)
    if found is None:
        raise InvalidEvidence(["there are no predictions"])
    problems = evidence.completeness_problems(found, cells, training.seeds)
    if found.corpus_sha256 != training.shard.corpus_sha256:
        problems.append("the predictions belong to another corpus")
    if problems:
        raise InvalidEvidence(problems)
    return found


def _evidence(training: Training) -> dict[str, Any]:
    """Everything that is no decision, of predictions that are complete."""
    found, rows, cells = training.predictions, training.rows, cell_facts(training.shard, training.folds)
    if found is None or rows is None:
        raise InvalidEvidence(["there are no predictions"])
    corpus = Corpus(sha256=training.shard.corpus_sha256, source_ids=frozenset(source_ids(training.shard)))
    return {
        **evidence.summary(found, cells),
        **compared(found, cells, training.baselines, corpus),
        "coverage": covered(rows, cells),
    }


def gate_as_json(gate: GateReport | None) -> dict[str, object]:
    """The gate's report; without one, what it would have asked for and no figure."""
    if gate is not None:
        return asdict(gate) | {"failing_seeds": list(gate.failing_seeds)}
    asked = contract.GATE_THRESHOLDS
    empty = dict.fromkeys(GateReport.__dataclass_fields__) | {"passed": False, "per_seed_plccs": {}}
    return empty | {
        "mean_plcc_threshold": asked["mean_plcc_min"],
        "plcc_spread_max": asked["plcc_spread_max"],
        "per_seed_min": asked["per_seed_plcc_min"],
        "failing_seeds": [],
        "thresholds_sha256": thresholds_sha256(asked),
    }


def expert_as_json(expert: ExpertReport) -> dict[str, object]:
    """The ``expert_gate`` object of a verdict."""
    found = asdict(expert)
    return found | {"checks": list(found["checks"]), "failing": list(expert.failing)}


def source_ids(shard: Shard) -> list[str]:
    """Identities of the sources that there are rows of, sorted."""
    return sorted({entry.source_id for entry in shard.cells})


def corpus_summary(training: Training) -> dict[str, object]:
    """The ``corpus`` object of a verdict."""
    shard = training.shard
    return {
        "sha256": shard.corpus_sha256,
        "teacher": shard.teacher and shard.teacher.described,
        "sources": len(source_ids(shard)),
        "source_ids": source_ids(shard),
        "groups": len(shard.groups),
        "cells": len(shard.cells),
        "failed_cells": len(shard.failed),
        "waived_cells": len(shard.failed) - len(shard.lacking),
        "rows": shard.rows,
        "encoders": dict(sorted(Counter(entry.encoder for entry in shard.cells).items())),
        "boxes": [{name: value for name, value in asdict(box).items() if name != "scorers"} for box in shard.boxes],
    }
