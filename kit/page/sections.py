"""The sections of the page, one function each; a section without data is left out with the reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kit.page import evidence_parts, figures, rates
from kit.page.blocks import Block, Details, Figures, Items, Section, Table, TableCell, Text, correlation, number
from kit.page.gather import RunFacts, joined
from kit.verdict.out_of_fold import ENSEMBLE

#: Rows of the table of slow cells.
_SLOWEST = 10
_INVALID = "the verdict is INVALID, and figures of invalid evidence would mislead."
#: Columns of figures that every slice has.
_AGREEMENT = ("frames", "RMSE", "bias", "MAE", "PLCC", "SROCC", "KROCC")


def sections(run: RunFacts) -> Iterator[Section]:
    """Build every section in order; the last one lists what is left out."""
    left_out: dict[str, list[str]] = {}
    for part in _PARTS:
        if reason := part.missing(run):
            left_out.setdefault(reason, []).append(part.title)
        elif blocks := tuple(part.blocks(run)):
            yield Section(id=part.id, title=part.title, blocks=blocks)
    if left_out:
        items = tuple(f"{', '.join(titles)}: {reason}" for reason, titles in left_out.items())
        yield Section(id="left-out", title="Not on this page", blocks=(Items(items=items),))


def _predicted(run: RunFacts) -> Iterator[Block]:
    yield Text(
        text="Each dot is a frame, each outline the mean of a cell; on the dashed line prediction and teacher are "
        "equal. Every source was held out of the training that predicts it."
    )
    if len(run.sources) > figures.PANELS:
        yield Text(text=f"The {figures.PANELS} sources with the largest RMSE of {len(run.sources)}.")
    yield Figures(figures=figures.predicted(run))
    by_source = run.evidence["per_source"]
    yield Table(
        caption="By source, ensemble mean",
        columns=("source", *_AGREEMENT),
        rows=[[label, *_agreement(by_source[label])] for label in run.sources],
    )


def _agreement(figure: Mapping[str, Any]) -> list[TableCell]:
    return [
        number(figure["n"], "d"),
        number(figure["rmse"]),
        number(figure["bias"], "+.2f"),
        number(figure["mae"]),
        *(correlation(figure[name]) for name in ("plcc", "srocc", "krocc")),
    ]


def _errors(run: RunFacts) -> Iterator[Block]:
    yield Text(text="VMAF points, prediction minus teacher, no mapping applied.")
    yield Figures(figures=figures.errors(run))
    rows: list[list[TableCell | str]] = []
    for (encoder, cq), cells in run.by_point().items():
        scores = joined(cells)
        rows.append(
            [
                encoder,
                number(cq, "d"),
                number(len(cells), "d"),
                number(len(scores.target), "d"),
                number(scores.rmse),
                number(scores.bias, "+.2f"),
                number(float(abs(scores.error).max())),
            ]
        )
    yield Table(
        caption="By encoder and quality point, ensemble mean",
        rows=rows,
        columns=("encoder", "quality point", "cells", "frames", "RMSE", "bias", "largest error"),
    )
    by_resolution: dict[str, list[str]] = {}
    for label in run.sources:
        by_resolution.setdefault(run.resolution(label), []).append(label)
    yield Table(
        caption="By resolution, ensemble mean",
        rows=[_of_resolution(run, name, by_resolution[name]) for name in sorted(by_resolution, key=_pixels)],
        columns=("resolution", "sources", "cells", "frames", "RMSE", "bias", "largest error", "worst source"),
    )


def _pixels(resolution: str) -> tuple[int, str]:
    """Sort resolutions by size; the unknown one comes first."""
    width, _, height = resolution.partition("x")
    return (int(width) * int(height) if height else 0, resolution)


def _of_resolution(run: RunFacts, name: str, labels: Sequence[str]) -> list[TableCell | str]:
    """Return the row of a resolution; ``labels`` have the worst source first."""
    cells = [cell for label in labels for cell in run.of_source(label)]
    scores = joined(cells)
    return [
        name,
        number(len(labels), "d"),
        number(len(cells), "d"),
        number(len(scores.target), "d"),
        number(scores.rmse),
        number(scores.bias, "+.2f"),
        number(float(abs(scores.error).max())),
        labels[0],
    ]


def _over_time(run: RunFacts) -> Iterator[Block]:
    yield Text(
        text="Mean over the encodes of an encoder of prediction minus teacher, at each moment of the clip. An error "
        "that begins with a cut or a motion comes from the content, a constant one from the source as a whole."
    )
    if len(run.sources) > figures.PANELS:
        yield Text(text=f"The {figures.PANELS} sources with the largest RMSE of {len(run.sources)}.")
    yield Figures(figures=figures.over_time(run))
    yield Table(
        caption="The worst second of each source, over all its encodes",
        columns=("source", "from, s", "frames", "RMSE there", "bias there", "RMSE of the clip", "ratio"),
        rows=[_worst_second(run, label) for label in run.sources],
    )


def _worst_second(run: RunFacts, label: str) -> list[TableCell | str]:
    """Return the row of a source; without a frame rate a second has 25 frames, and the beginning is a frame."""
    cells, fps = run.of_source(label), run.fps(label)
    scores, frames = joined(cells), np.concatenate([cell.frames for cell in cells])
    second = (frames / (fps or 25.0)).astype(np.int64)
    counts, squares = np.bincount(second), np.bincount(second, weights=scores.error**2)
    rmse = np.sqrt(squares / np.maximum(counts, 1))
    worst = int(rmse.argmax())
    bias = float(scores.error[second == worst].mean())
    return [
        label,
        TableCell(text=f"{worst}" if fps else f"frame {25 * worst}", key=float(worst)),
        number(int(counts[worst]), "d"),
        number(float(rmse[worst])),
        number(bias, "+.2f"),
        number(scores.rmse),
        number(float(rmse[worst]) / scores.rmse if scores.rmse else None, ".1f"),
    ]


def _folds(run: RunFacts) -> Iterator[Block]:
    if drawn := figures.folds(run):
        yield Figures(figures=drawn)
    gate = run.verdict["gate"]
    plccs = {
        seed: {fold["held_out"]: fold["plcc"] for fold in report["folds"]} for seed, report in run.seed_reports.items()
    }
    yield Table(
        caption="PLCC by held-out fold and seed; RMSE and bias of the ensemble mean",
        columns=("held out", "frames", *(f"seed {seed}" for seed in plccs), "ensemble", "RMSE", "bias"),
        rows=[
            [
                str(fold["held_out"]),
                number(fold["n_val"], "d"),
                *(
                    correlation(plcc, bad=plcc is not None and plcc < gate["per_seed_min"])
                    for plcc in (of[fold["held_out"]] for of in plccs.values())
                ),
                correlation(fold["plcc"]),
                number(fold["rmse"]),
                number(fold["bias"], "+.2f"),
            ]
            for fold in run.reports[ENSEMBLE]["folds"]
        ],
    )
    yield Table(
        caption="By seed, all frames",
        columns=("seed", "mean PLCC over folds", *_AGREEMENT),
        rows=[
            [number(int(seed), "d"), correlation(gate["per_seed_plccs"][seed]), *_agreement(figure)]
            for seed, figure in run.evidence["per_seed"].items()
        ],
    )


def _rate_quality(run: RunFacts) -> Iterator[Block]:
    unit = "" if run.timed_rates else " The frame rate is unknown: rates are in bits per frame."
    yield Text(
        text="Solid lines with filled markers: the teacher. Dotted lines with open markers: the prediction. Every "
        "point is a cell, its score the mean over frames." + unit
    )
    yield Figures(figures=figures.rate_quality(run))
    yield from rates.bd_rates(run)


def _training(run: RunFacts) -> Iterator[Block]:
    yield Text(
        text="Square root of the mean squared error of each epoch during training (dropout on), mean over the "
        "members of a seed. The box that trained reports it; nothing in a bundle proves it."
    )
    yield Figures(figures=figures.training(run))


def _cells(run: RunFacts) -> Iterator[Block]:
    if run.times:
        yield Table(
            caption=f"The slowest of {len(run.times)} cells",
            columns=("cell", "seconds", "frames/s", "box"),
            rows=[
                [
                    one.cell,
                    number(one.seconds, ".3g"),
                    number(one.frames / one.seconds if one.seconds else None, ".3g"),
                    one.box,
                ]
                for one in run.times[:_SLOWEST]
            ],
        )
    else:
        yield Text(text="The corpus has no times of its cells.")
    failed = run.shard.failed
    if not failed:
        yield Text(text="No cell failed.")
        return
    yield Table(
        caption=f"{len(failed)} failed cells",
        columns=("cell", "tries", "reason"),
        rows=[
            [str(cell.id), number(cell.tries, "d"), TableCell(text=cell.reason.split("\n")[0], bad=True)]
            for cell in failed
        ],
    )
    for cell in failed:
        yield Details(
            title=f"{cell.id}: command and stderr",
            text="\n\n".join(text for text in (cell.command, cell.stderr_tail) if text),
        )


def _provenance(run: RunFacts) -> Iterator[Block]:
    verdict, made_by = run.verdict, run.verdict["run_provenance"]
    teacher = verdict["corpus"]["teacher"] or {"id": "unknown", "sha256": None}
    lines = {
        "made (UTC)": verdict["generated_at_utc"],
        "kit": made_by["kit_version"],
        "entry point, SHA-256": made_by["entrypoint"].get("sha256") or "unknown",
        "corpus, SHA-256": verdict["corpus"]["sha256"],
        "predictions, SHA-256": verdict["evidence"]["predictions_sha256"] or "none",
        "gate's thresholds, SHA-256": verdict["gate"]["thresholds_sha256"],
        "teacher": teacher["id"] if not teacher["sha256"] else f"{teacher['id']} (file, SHA-256 {teacher['sha256']})",
        "architecture and epochs": f"{run.training.get('arch', 'unknown')}, {run.training.get('epochs', '–')}",
        "seeds and folds": f"{', '.join(map(str, verdict['seeds']))}; {verdict['evidence']['folds']}",
        "corpus": "{cells} cells, {rows} rows, {sources} sources in {groups} groups".format_map(verdict["corpus"]),
        **{name: str(value or "not installed") for name, value in made_by["versions"].items()},
    }
    if "ffmpeg" in run.prereqs:
        lines["ffmpeg"] = str(run.prereqs["ffmpeg"].get("version"))
    yield Table(caption="Inputs and versions", columns=("item", "value"), rows=[[*line] for line in lines.items()])
    yield Table(
        caption="Boxes",
        columns=("box", "platform", "cells", "rows", "encoders and builds", "scorer"),
        rows=[
            [
                box.name,
                box.platform or "unknown",
                number(box.cells, "d"),
                number(box.rows, "d"),
                "; ".join(f"{name}: {', '.join(builds) or 'unknown'}" for name, builds in box.encoders.items()),
                "; ".join(f"{scorer['id']} ({scorer['version']})" for scorer in box.scorers) or "unknown",
            ]
            for box in run.shard.boxes
        ],
    )


def _invalid(run: RunFacts) -> str:
    return "" if run.cells else _INVALID


def _without_reports(run: RunFacts) -> str:
    return _invalid(run) or ("" if ENSEMBLE in run.reports else "the run has no reports of its seeds.")


def _without_sizes(run: RunFacts) -> str:
    known = any(cell.rate for cell in run.cells)
    return _invalid(run) or ("" if known else "the corpus has no encoded bytes.")


def _without_holdouts(run: RunFacts) -> str:
    known = bool(run.holdouts) or isinstance(run.evidence.get("codec_block"), Mapping)
    return _invalid(run) or ("" if known else "no encoder or box was held out (--holdout).")


def _without_losses(run: RunFacts) -> str:
    known = all(report.get("training_loss") for report in run.reports.values())
    return _without_reports(run) or ("" if known else "the reports are of a kit that kept no training loss.")


def _without(name: str) -> Callable[[RunFacts], str]:
    def missing(run: RunFacts) -> str:
        return _invalid(run) or ("" if run.evidence.get(name) else f"the verdict's evidence has no {name}.")

    return missing


def _nothing(_run: RunFacts) -> str:
    return ""


@dataclass(frozen=True, kw_only=True)
class _Part:
    """A section: ``missing`` returns the reason to leave it out, or an empty text."""

    id: str
    title: str
    missing: Callable[[RunFacts], str]
    blocks: Callable[[RunFacts], Iterator[Block]]


_PARTS = tuple(
    _Part(id=identity, title=title, missing=missing, blocks=blocks)
    for identity, title, missing, blocks in (
        ("predicted", "Predicted against teacher", _invalid, _predicted),
        ("errors", "Error by encoder, quality point and resolution", _invalid, _errors),
        ("slices", "Errors in VMAF points", _without("errors"), evidence_parts.errors),
        ("time", "Error over time", _invalid, _over_time),
        ("folds", "Seeds and folds", _without_reports, _folds),
        ("holdouts", "Encoders and boxes that were not in training", _without_holdouts, evidence_parts.holdouts),
        ("rate", "Rate and quality", _without_sizes, _rate_quality),
        ("training", "Training", _without_losses, _training),
        ("uncertainty", "Intervals of the figures", _without("uncertainty"), evidence_parts.uncertainty),
        ("baselines", "Comparison with other models", _without("baselines"), evidence_parts.baselines),
        ("calibration", "Intervals around a score", _without("calibration"), evidence_parts.calibration),
        ("coverage", "What the corpus covers", _without("coverage"), evidence_parts.coverage),
        ("cells", "Slowest and failed cells", _nothing, _cells),
        ("provenance", "Provenance", _nothing, _provenance),
    )
)
