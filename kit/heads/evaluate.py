"""How well an exported model says what a table holds, and how long it takes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kit.core import contract
from kit.core.errors import BadInput, CheckFailed
from kit.core.values import Teacher
from kit.features.table import FOLD, GROUP, TEXTS, FeatureTable
from kit.heads.fit import facts_of
from kit.heads.fitting import file_of
from kit.models import latency
from kit.models.model_file import ModelFile
from kit.options.provenance import of_command
from kit.options.session import Session
from kit.verdict.metrics import Values, agreement_as_json

HELD_OUT = "held-out"
#: Figures that a mapping of the scores changes.
_MAPPED = ("rmse", "mae", "bias")


def evaluate(model: ModelFile, table: FeatureTable, target: str) -> dict[str, object]:
    """Hold a model against a column of a table: ``vmaf`` frame by frame, ``mos`` clip by clip.

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
        found = against_mos(scores, table, what=model.path.name)
        teacher = against_mos(table.frame["vmaf"].to_numpy(np.float64), table, what="the teacher")
        teacher["n_samples"] = teacher.pop("n")
    else:
        found = agreement_as_json(scores, table.frame["vmaf"].to_numpy(np.float64), what=model.path.name) | {
            "mapping": None
        }
        teacher = None
    p50, p95 = latency.milliseconds(latency.bound(model.session))
    return {
        "target": target,
        "n_samples": found.pop("n"),
        **found,
        "teacher_itself": teacher,
        "latency_ms_p50_per_clip": p50,
        "latency_ms_p95_per_clip": p95,
    }


def select_rows(table: FeatureTable, split: str | None, model: ModelFile) -> FeatureTable:
    """The rows of a split: None for all, ``held-out`` for sources that the model was not fitted to, ``COLUMN=VALUE``.

    Raises:
        BadInput: it is none of these, there is no such row, or nothing tells what the model was fitted to.
    """
    if split is None:
        return table
    if split == HELD_OUT:
        known = fitted_on(model, table)
        if known is None:
            raise BadInput(
                f"--split {HELD_OUT}: nothing tells which sources {model.path.name} was fitted to",
                hint="Give a model that `export` wrote, its .json beside it.",
            )
        kept, there = ~known, "it was fitted to all of these sources"
    else:
        column, _, value = split.partition("=")
        if column not in (*TEXTS, FOLD) or column not in table.frame:
            columns = ", ".join(name for name in (*TEXTS, FOLD) if name in table.frame)
            raise BadInput(f"--split: {split!r} is neither {HELD_OUT} nor COLUMN=VALUE with a column of {columns}")
        kept = table.groups == value if column == GROUP else (table.frame[column] == value).to_numpy()
        there = "there are " + ", ".join(sorted(map(str, table.frame[column].unique()))[:20])
    if not kept.any():
        raise BadInput(f"--split {split}: no row is left; {there}")
    return table.only(kept)


def fitted_on(model: ModelFile, table: FeatureTable) -> NDArray[np.bool_] | None:
    """Which rows are of content that the model was fitted to, by its names; None where its sidecar does not tell."""
    names = (model.sidecar or {}).get("corpus", {}).get("fitted_groups")
    return None if names is None else table.with_content(names)


def predict(model: ModelFile, table: FeatureTable) -> Values:
    """What the model says of every row, float64 [n], VMAF points.

    Raises:
        BadInput: it looks at the codec block, which no table holds, or was fitted to another teacher's scores.
        CheckFailed: a value is not finite.
    """
    if model.codec_aware:
        raise BadInput(
            f"{model.path.name} looks at the codec block, which no feature table has",
            hint="`score --corpus` scores the cells of a corpus with it.",
        )
    teacher = model.teacher and Teacher(id=str(model.teacher["id"]), sha256=model.teacher["sha256"])
    if teacher and table.teacher and teacher.identity != table.teacher.identity:
        raise BadInput(
            f"{model.path.name} was fitted to {teacher}, the table holds scores of {table.teacher}",
            hint="Their difference would say nothing of the model.",
        )
    rows = table.rows()
    scores, _ = model.scores(rows.features, rows.codec)
    return scores.astype(np.float64)


def against_mos(scores: Values, table: FeatureTable, *, what: str) -> dict[str, object]:
    """Agreement of clip means with subjective scores.

    Returns:
        The figures of :func:`kit.verdict.metrics.described`; RMSE, MAE and bias on the scale of the subjective scores
        after ``mapping``: slope and intercept of the least-squares line from predicted to subjective score, the
        first-order mapping of ITU-T P.1401.

    Raises:
        BadInput: the table has no subjective scores.
        CheckFailed: fewer than three clips have one.
    """
    if "mos" not in table.frame:
        raise BadInput("the table holds no subjective scores", hint="`join-mos` adds them.")
    mos = table.frame["mos"].to_numpy(np.float64)
    pairs = [(scores[rows].mean(), mos[rows][0]) for _, rows in table.clips() if np.isfinite(mos[rows][0])]
    if len(pairs) < 3:
        raise CheckFailed(
            f"{len(pairs)} of these clips have a subjective score, a correlation needs at least three",
            hint="Join the scores of more clips with `join-mos`, or take more rows by --split.",
        )
    mean, wanted = np.array(pairs).T
    slope, intercept = np.polyfit(mean, wanted, 1) if np.ptp(mean) > 0 else (0.0, wanted.mean())
    mapped = agreement_as_json(slope * mean + intercept, wanted, what=what)
    return {
        **agreement_as_json(mean, wanted, what=what),
        **{name: mapped[name] for name in _MAPPED},
        "mapping": {"slope": float(slope), "intercept": float(intercept)},
    }


def report_header(model: ModelFile, table: FeatureTable, split: str | None) -> dict[str, object]:
    """What a document says of the model and of the rows it was held against."""
    known = fitted_on(model, table)
    return {
        "schema_version": contract.SCHEMA_VERSION,
        "model": {**model.identity, "id": model.sidecar and model.sidecar["id"]},
        "features": facts_of(table),
        "split": split,
        "rows_fitted_on": None if known is None else int(known.sum()),
    }


def overlap_remark(model: ModelFile, table: FeatureTable) -> str:
    """How much of the rows the model has seen, in a sentence; empty if none."""
    known = fitted_on(model, table)
    if known is None:
        return f"Nothing tells which sources {model.path.name} was fitted to: it may know these."
    if not known.any():
        return ""
    return (
        f"{int(known.sum())} of {len(table)} rows are of sources that {model.path.name} was fitted to; they say "
        f"little of others. `--split {HELD_OUT}` leaves them out."
    )


def provenance(
    session: Session, args: Mapping[str, object], model: ModelFile, features: Path, out: Path | None
) -> dict[str, object]:
    """The provenance block of a document about a model and a table."""
    texts = {name: str(value) for name, value in args.items() if value is not None}
    inputs = {"model": model.path, "features": file_of(features)}
    return of_command(session, args=texts, inputs=inputs, outputs=[] if out is None else [out.name])
