"""The verdict: both gates and the evidence, from corpus and predictions alone. Pure.

The document that step 4 writes and `verify` computes again is made here.
"""

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
from kit.verdict.baselines import Baseline, Corpus, formula_baseline
from kit.verdict.evidence import evidence
from kit.verdict.gate import ExpertReport, GateReport, apply_expert_gate, gate_of, thresholds_sha256
from kit.verdict.out_of_fold import CellFacts, MemberAgreement, completeness_problems, member_agreement
from kit.verdict.recommendation import recommended
from kit.verdict.rules import CURRENT, Rules
from kit.verdict.target import formula_predictions, formula_scores, target
from kit.video.fingerprints.fingerprint import fingerprints_of
from kit.video.scorers.formula import Formula


@dataclass(frozen=True, kw_only=True)
class Training:
    """Out-of-fold predictions, or the reasons why none can be judged.

    Attributes:
        folds: the scheme, ``loso`` or ``kfold:K``; holdout: the hold-outs trained as well, of ``contract.HOLDOUTS``.
        predictions: None where nothing could be trained.
        baselines: by name.
        unseen: predictions for encoders that were not in training, by architecture; empty for a corpus of one encoder,
            None for an architecture without the codec block.
        rows: every row of the corpus; None where there are no predictions.
        max_rows_per_source: most training rows of a source; None for no limit.
        formula: of the teacher; None if the kit has none.
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
    formula: Formula | None
    max_rows_per_source: int | None = None
    unseen: Mapping[str, Baseline] | None = None


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """Both gates and the evidence of a training.

    Attributes:
        gate: None where the evidence is not valid.
        evidence: the ``evidence`` object of a verdict without the hash of the predictions.
        rules: that the gates were applied by.
    """

    gate: GateReport | None
    expert: ExpertReport
    evidence: Mapping[str, Any]
    rules: Rules

    def word(self, decided_by: str) -> str:
        """Return the verdict by one of ``contract.GATES``; ``expert`` needs both gates."""
        if self.gate is None:
            return "INVALID"
        return "PROMOTE" if self.gate.passed and (decided_by == contract.GATES[0] or self.expert.passed) else "HOLD"


def cell_facts(shard: Shard, scheme: str) -> dict[str, CellFacts]:
    """Return the facts of every cell by its key, with the folds of a scheme.

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


def judge(
    training: Training,
    problems: Sequence[str],
    agreement_of: Callable[[Predictions], MemberAgreement] = member_agreement,
    rules: Rules = CURRENT,
) -> Judgement:
    """Apply both gates and compute the evidence.

    Args:
        problems: reasons known so far why the evidence is not valid.
        agreement_of: computes the agreement of every member, or returns it where it is known.
        rules: of the version of the verdict.
    """
    gate, figures = None, None
    if not problems:
        try:
            predictions, rows = training.predictions, training.rows
            if predictions is None or rows is None:
                raise InvalidEvidence(["there are no predictions"])
            check_complete(predictions, training.shard, training.folds, training.seeds)
            cells = cell_facts(training.shard, training.folds)
            gate = gate_of(agreement_of(predictions), cells, rules.gate)
            figures = _evidence(training, predictions, rows, rules)
        except InvalidEvidence as error:
            gate, problems = None, error.problems
    whole = {"problems": list(problems), "folds": training.folds, **(figures or {})}
    expert = apply_expert_gate(figures, rules.expert, rules.checks)
    return Judgement(gate=gate, expert=expert, evidence=whole, rules=rules)


def check_complete(predictions: Predictions, shard: Shard, scheme: str, seeds: Sequence[int]) -> None:
    """Check that every seed predicts every row of a corpus once, in the right fold.

    Args:
        scheme: ``loso`` or ``kfold:K``.

    Raises:
        InvalidEvidence: predictions are missing, doubled, in a wrong fold or of another corpus; all of these are named.
    """
    problems = completeness_problems(predictions, cell_facts(shard, scheme), seeds)
    if predictions.corpus_sha256 != shard.corpus_sha256:
        problems.append("the predictions belong to another corpus")
    if problems:
        raise InvalidEvidence(problems)


def _evidence(training: Training, predictions: Predictions, rows: Table, rules: Rules) -> dict[str, object]:
    corpus = Corpus(
        sha256=training.shard.corpus_sha256,
        source_ids=frozenset(_source_ids(training.shard)),
        max_rows_per_source=training.max_rows_per_source,
        fingerprints=fingerprints_of(training.shard.sources),
    )
    scores = formula_scores(rows, training.formula)
    facts = target(rows, training.shard.teacher, scores)
    baselines = dict(training.baselines)
    if scores is not None and facts["formula_known"]:
        baselines[contract.TEACHER_FORMULA] = formula_baseline(formula_predictions(predictions, rows, scores))
    cells = cell_facts(training.shard, training.folds)
    figures = evidence(predictions, rows, cells, baselines, corpus, unseen=training.unseen, version=rules.version)
    return {"target": facts, **figures}


def document(training: Training, judgement: Judgement, decided_by: str) -> dict[str, Any]:
    """Build the part of a verdict that follows from corpus and predictions: all but hashes, times and provenance."""
    gate, version = gate_as_json(judgement.gate, judgement.rules), judgement.rules.version
    result: dict[str, Any] = {
        "schema_version": version,
        "verdict": judgement.word(decided_by),
        "seeds": list(training.seeds),
        "decided_by": decided_by,
        "gate": gate,
        "expert_gate": asdict(judgement.expert),
        "corpus": _corpus_summary(training.shard),
        "evidence": dict(judgement.evidence),
        "demo": training.shard.demo,
    }
    if version == 1:
        del result["expert_gate"]["status"]
        return result
    return result | asdict(recommended(result))


def gate_as_json(gate: GateReport | None, rules: Rules = CURRENT) -> dict[str, Any]:
    """Build the ``gate`` object; of no gate the thresholds without figures."""
    if gate is not None:
        result = asdict(gate) | {"failing_seeds": list(gate.failing_seeds)}
    else:
        thresholds = rules.gate
        result = dict.fromkeys(GateReport.__dataclass_fields__) | {
            "passed": False,
            "per_seed_plccs": {},
            "mean_plcc_threshold": thresholds["mean_plcc_min"],
            "plcc_spread_max": thresholds["plcc_spread_max"],
            "per_seed_min": thresholds["per_seed_plcc_min"],
            "failing_seeds": [],
            "left_out_folds": {},
            "thresholds_sha256": thresholds_sha256(thresholds),
        }
    if rules.version == 1:
        del result["left_out_folds"]
    return result


def _source_ids(shard: Shard) -> list[str]:
    """Return the identities of the sources that have rows, sorted."""
    return sorted({entry.source_id for entry in shard.cells})


def _corpus_summary(shard: Shard) -> dict[str, object]:
    return {
        "sha256": shard.corpus_sha256,
        "teacher": shard.teacher and shard.teacher.described,
        "sources": len(_source_ids(shard)),
        "source_ids": _source_ids(shard),
        "groups": len(shard.groups),
        "cells": len(shard.cells),
        "failed_cells": len(shard.failed),
        "waived_cells": len(shard.failed) - len(shard.unwaived),
        "rows": shard.rows,
        "encoders": dict(sorted(Counter(entry.encoder for entry in shard.cells).items())),
        "boxes": [{name: value for name, value in asdict(box).items() if name != "scorers"} for box in shard.boxes],
    }
