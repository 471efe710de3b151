"""Agreement of an exported model with a table, and its latency."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kit.core import contract
from kit.core.errors import BadInput, CheckFailed
from kit.core.values import Teacher
from kit.features.table import FOLD, GROUP, TEXTS, FeatureTable
from kit.heads.table_facts import identifying_file, table_facts
from kit.models import latency
from kit.models.model_file import ModelFile
from kit.options.provenance import of_command
from kit.options.session import Session
from kit.verdict.metrics import Values, agreement_as_json

HELD_OUT = "held-out"
#: Figures that depend on the mapping of the scores.
_MAPPED = ("rmse", "mae", "bias")


def evaluate(model: ModelFile, table: FeatureTable, target: str) -> dict[str, object]:
    """Compare a model with a column of a table: ``vmaf`` frame by frame, ``mos`` clip by clip.

    Returns:
        ``n_samples`` (frames or clips), ``plcc, srocc, krocc, rmse, mae, bias, undefined``; ``mapping`` and
        ``teacher_itself``, both null for ``vmaf``, see :func:`against_mos`; ``latency_ms_p50_per_clip`` and
        ``latency_ms_p95_per_clip`` of 240 frames.

    Raises:
        BadInput: the model does not fit the table, or the table lacks the column.
        CheckFailed: a value is not finite, or fewer than three clips have a subjective score.
    """
    scores = predict(model, table)
    if target == "mos":
        figures = against_mos(scores, table, what=model.path.name)
        teacher = against_mos(table.frame["vmaf"].to_numpy(np.float64), table, what="the teacher")
        teacher["n_samples"] = teacher.pop("n")
    else:
        figures = agreement_as_json(scores, table.frame["vmaf"].to_numpy(np.float64), what=model.path.name) | {
            "mapping": None
        }
        teacher = None
    p50, p95 = latency.milliseconds(latency.bound(model.session, model.inputs))
    return {
        "target": target,
        "n_samples": figures.pop("n"),
        **figures,
        "teacher_itself": teacher,
        "latency_ms_p50_per_clip": p50,
        "latency_ms_p95_per_clip": p95,
    }


def select_rows(table: FeatureTable, split: str | None, model: ModelFile) -> FeatureTable:
    """Return the rows of a split.

    Args:
        split: ``held-out`` for sources that the model was not fitted to, ``COLUMN=VALUE``, or None for all.

    Raises:
        BadInput: unknown split, no row, or the sources that the model was fitted to are not recorded.
    """
    if split is None:
        return table
    if split == HELD_OUT:
        known = fitted_on(model, table)
        if known is None:
            raise BadInput(
                f"--split {HELD_OUT}: the sources that {model.path.name} was fitted to are not recorded",
                hint="Use a model of `export` together with its .json.",
            )
        kept, reason = ~known, "the model was fitted to all of these sources"
    else:
        column, _, value = split.partition("=")
        if column not in (*TEXTS, FOLD) or column not in table.frame:
            columns = ", ".join(name for name in (*TEXTS, FOLD) if name in table.frame)
            raise BadInput(f"--split {split!r}: expected {HELD_OUT}, or COLUMN=VALUE with a column of {columns}")
        kept = table.groups == value if column == GROUP else (table.frame[column] == value).to_numpy()
        reason = f"values of {column}: " + ", ".join(sorted(map(str, table.frame[column].unique()))[:20])
    if not kept.any():
        raise BadInput(f"--split {split}: no rows; {reason}")
    return table.only(kept)


def fitted_on(model: ModelFile, table: FeatureTable) -> NDArray[np.bool_] | None:
    """Return which rows have content that the model was fitted to, by its names; None if not recorded."""
    names = (model.sidecar or {}).get("corpus", {}).get("fitted_groups")
    return None if names is None else table.with_content(names)


def predict(model: ModelFile, table: FeatureTable) -> Values:
    """Return the score of every row, float64 [n], VMAF points.

    Raises:
        BadInput: the model needs the codec block or a feature that the table lacks, or has another teacher.
        CheckFailed: a value is not finite.
    """
    if model.codec_aware:
        raise BadInput(
            f"{model.path.name} needs the codec block, which feature tables do not have",
            hint="Use `score --corpus` for the cells of a corpus.",
        )
    teacher = model.teacher and Teacher(id=str(model.teacher["id"]), sha256=model.teacher["sha256"])
    if teacher and table.teacher and teacher.identity != table.teacher.identity:
        raise BadInput(
            f"teachers differ: {model.path.name} was fitted to {teacher}; the table has {table.teacher}",
            hint="Use a table of the same teacher.",
        )
    rows = table.rows(inputs=model.inputs)
    scores, _ = model.scores(rows.features, rows.codec)
    return scores.astype(np.float64)


def against_mos(scores: Values, table: FeatureTable, *, what: str) -> dict[str, object]:
    """Compare clip means with subjective scores.

    Returns:
        The figures of :func:`kit.verdict.metrics.agreement_as_json`; RMSE, MAE and bias on the scale of the subjective
        scores after ``mapping``: slope and intercept of the least-squares line from predicted to subjective score, the
        first-order mapping of ITU-T P.1401.

    Raises:
        BadInput: the table has no subjective scores.
        CheckFailed: fewer than three clips have one.
    """
    if "mos" not in table.frame:
        raise BadInput("the table has no subjective scores", hint="`join-mos` adds them.")
    mos = table.frame["mos"].to_numpy(np.float64)
    pairs = [(scores[rows].mean(), mos[rows][0]) for _, rows in table.clips() if np.isfinite(mos[rows][0])]
    if len(pairs) < 3:
        raise CheckFailed(
            f"{len(pairs)} of these clips have a subjective score; a correlation needs at least 3",
            hint="Join the scores of more clips with `join-mos`, or choose more rows with --split.",
        )
    mean, subjective = np.array(pairs).T
    slope, intercept = np.polyfit(mean, subjective, 1) if np.ptp(mean) > 0 else (0.0, subjective.mean())
    mapped = agreement_as_json(slope * mean + intercept, subjective, what=what)
    return {
        **agreement_as_json(mean, subjective, what=what),
        **{name: mapped[name] for name in _MAPPED},
        "mapping": {"slope": float(slope), "intercept": float(intercept)},
    }


def report_header(model: ModelFile, table: FeatureTable, split: str | None) -> dict[str, object]:
    """Return what a document records of the model and of the rows that it was compared on."""
    known = fitted_on(model, table)
    return {
        "schema_version": contract.SCHEMA_VERSION,
        "model": {**model.identity, "id": model.sidecar and model.sidecar["id"]},
        "features": table_facts(table),
        "split": split,
        "rows_fitted_on": None if known is None else int(known.sum()),
    }


def overlap_remark(model: ModelFile, table: FeatureTable) -> str:
    """Return how many rows the model was fitted to, in a sentence; empty for none."""
    known = fitted_on(model, table)
    if known is None:
        return f"The sources that {model.path.name} was fitted to are not recorded: it may know these."
    if not known.any():
        return ""
    return (
        f"{int(known.sum())} of {len(table)} rows are from sources that {model.path.name} was fitted to; the figures "
        f"say little about others. `--split {HELD_OUT}` leaves them out."
    )


def provenance(
    session: Session, args: Mapping[str, object], model: ModelFile, features: Path, out: Path | None
) -> dict[str, object]:
    """Return the provenance block of a document about a model and a table."""
    texts = {name: str(value) for name, value in args.items() if value is not None}
    inputs = {"model": model.path, "features": identifying_file(features)}
    return of_command(session, args=texts, inputs=inputs, outputs=[] if out is None else [out.name])
