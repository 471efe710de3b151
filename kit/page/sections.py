"""The parts of the page, one function each; what a run has nothing for is left out with the reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kit.page import evidence_parts, figures
from kit.page.blocks import Block, Cell, Details, Figures, Section, Table, Text, left_out, number
from kit.page.gather import Facts, together
from kit.verdict import out_of_fold

Row = list[Cell | str]
#: Lines of the table of slow cells.
_SLOWEST = 10
_NO_PREDICTIONS = "the verdict is INVALID, and figures of evidence that does not hold would mislead."


def sections(facts: Facts) -> Iterator[Section]:
    """Every part in order."""
    for part in _PARTS:
        missing = part.needs(facts)
        yield (
            left_out(part.id, part.title, missing)
            if missing
            else Section(id=part.id, title=part.title, blocks=tuple(part.blocks(facts)))
        )


# ------------------------------------------------------------------------------------------------------ figures


def _predicted(facts: Facts) -> Iterator[Block]:
    yield Text(
        text="Each dot is a frame, each outline the mean of a cell; on the dashed line both are the same. Every "
        "source was held out of the training that predicts it."
    )
    if len(facts.sources) > figures.PANELS:
        yield Text(text=f"The {figures.PANELS} sources with the largest RMSE of {len(facts.sources)}.")
    yield Figures(figures=figures.predicted(facts))
    found = facts.evidence["per_source"]
    yield Table(
        caption="By source, ensemble mean",
        columns=("source", *_AGREEMENT),
        rows=[[label, *_agreement(found[label])] for label in facts.sources],
    )


#: Columns of figures that every slice has.
_AGREEMENT = ("frames", "RMSE", "bias", "MAE", "PLCC", "SROCC", "KROCC")


def _agreement(found: Mapping[str, Any]) -> list[Cell]:
    count = found.get("n", found.get("count"))
    return [
        number(count, "d"),
        number(found["rmse"]),
        number(found["bias"], "+.2f"),
        number(found["mae"]),
        *(number(found[name], ".4f") for name in ("plcc", "srocc", "krocc")),
    ]


def _errors(facts: Facts) -> Iterator[Block]:
    yield Text(text="VMAF points, predicted minus teacher, no mapping applied.")
    yield Figures(figures=figures.errors(facts))
    places = sorted({(cell.entry.encoder, cell.entry.cq) for cell in facts.cells})
    rows: list[Row] = []
    for encoder, cq in places:
        cells = [cell for cell in facts.cells if (cell.entry.encoder, cell.entry.cq) == (encoder, cq)]
        found = together(cells)
        rows.append(
            [
                encoder,
                number(cq, "d"),
                number(len(cells), "d"),
                number(len(found.target), "d"),
                number(found.rmse),
                number(found.bias, "+.2f"),
                number(float(abs(found.error).max())),
            ]
        )
    yield Table(
        caption="By encoder and quality point, ensemble mean",
        rows=rows,
        columns=("encoder", "quality point", "cells", "frames", "RMSE", "bias", "largest"),
    )


def _folds(facts: Facts) -> Iterator[Block]:
    seeds = {seed: {fold["held_out"]: fold for fold in report["folds"]} for seed, report in facts.reports.items()}
    mean = seeds.pop(out_of_fold.ENSEMBLE)
    least = facts.verdict["gate"]["per_seed_min"]
    yield Figures(figures=figures.folds(facts))
    rows: list[Row] = []
    for label, fold in mean.items():
        of = [seeds[seed][label]["plcc"] for seed in seeds]
        rows.append(
            [
                label,
                number(fold["n_val"], "d"),
                *(number(value, ".4f", bad=value < least) for value in of),
                number(fold["plcc"], ".4f"),
                number(fold["rmse"]),
                number(fold["bias"], "+.2f"),
            ]
        )
    yield Table(
        caption="PLCC by held-out fold and seed; RMSE and bias of the ensemble mean",
        columns=("held out", "frames", *(f"seed {seed}" for seed in seeds), "ensemble", "RMSE", "bias"),
        rows=rows,
    )
    whole = facts.evidence["per_seed"]
    yield Table(
        caption="By seed, all frames",
        columns=("seed", "mean PLCC over folds", *_AGREEMENT),
        rows=[
            [number(int(seed), "d"), number(facts.verdict["gate"]["per_seed_plccs"][seed], ".4f"), *_agreement(found)]
            for seed, found in whole.items()
        ],
    )


def _rate_quality(facts: Facts) -> Iterator[Block]:
    unit = "" if facts.timed_rates else " The frame rate is not known, so bits are counted a frame."
    yield Text(
        text="Solid with filled markers: the teacher. Dotted with open markers: the prediction. Every point is "
        "a cell, its score the mean over frames." + unit
    )
    yield Figures(figures=figures.rate_quality(facts))


def _training(facts: Facts) -> Iterator[Block]:
    yield Text(
        text="Square root of the mean squared error of each epoch while it went on (dropout on), mean over the "
        "members of a seed. It is told by whoever trained; nothing in a bundle proves it."
    )
    yield Figures(figures=figures.training(facts))


# ----------------------------------------------------------------------------------------------------- the corpus


def _cells(facts: Facts) -> Iterator[Block]:
    if facts.taken:
        yield Table(
            caption=f"The slowest of {len(facts.taken)} cells",
            columns=("cell", "seconds", "frames/s", "box"),
            rows=[
                [
                    one.name,
                    number(one.seconds, ".3g"),
                    number(one.frames / one.seconds if one.seconds else None, ".3g"),
                    one.box,
                ]
                for one in facts.taken[:_SLOWEST]
            ],
        )
    else:
        yield Text(text="The corpus does not tell how long its cells took.")
    if not facts.failed:
        yield Text(text="No cell failed.")
        return
    yield Table(
        caption=f"{len(facts.failed)} failed cells",
        columns=("cell", "tries", "reason"),
        rows=[
            [str(one.id), number(one.tries, "d"), Cell(text=one.reason.split("\n")[0], bad=True)]
            for one in facts.failed
        ],
    )
    for one in facts.failed:
        yield Details(
            title=f"{one.id}: command and stderr",
            text="\n\n".join(text for text in (one.command, one.stderr_tail) if text),
        )


def _provenance(facts: Facts) -> Iterator[Block]:
    verdict, made = facts.verdict, facts.verdict["run_provenance"]
    teacher = verdict["corpus"]["teacher"] or {"id": "not told", "sha256": None}
    lines = {
        "made (UTC)": verdict["generated_at_utc"],
        "kit": made["kit_version"],
        "entry point, SHA-256": made["entrypoint"].get("sha256") or "not told",
        "corpus, SHA-256": verdict["corpus"]["sha256"],
        "predictions, SHA-256": verdict["evidence"]["predictions_sha256"] or "none",
        "gate's thresholds, SHA-256": verdict["gate"]["thresholds_sha256"],
        "teacher": teacher["id"] if not teacher["sha256"] else f"{teacher['id']} (file, SHA-256 {teacher['sha256']})",
        "architecture and epochs": f"{facts.training.get('arch', 'not told')}, {facts.training.get('epochs', '–')}",
        "seeds and folds": f"{', '.join(map(str, verdict['seeds']))}; {verdict['evidence']['folds']}",
        "corpus": "{cells} cells, {rows} rows, {sources} sources in {groups} groups".format_map(verdict["corpus"]),
        **{name: str(value or "not there") for name, value in made["versions"].items()},
    }
    if "ffmpeg" in facts.prereqs:
        lines["ffmpeg"] = str(facts.prereqs["ffmpeg"].get("version"))
    yield Table(caption="What this was made of", columns=("what", "value"), rows=[[*line] for line in lines.items()])
    yield Table(
        caption="Boxes",
        columns=("box", "platform", "cells", "rows", "encoders and builds", "scorer"),
        rows=[
            [
                box.name,
                box.platform or "not told",
                number(box.cells, "d"),
                number(box.rows, "d"),
                "; ".join(f"{name}: {', '.join(builds) or 'not told'}" for name, builds in box.encoders.items()),
                "; ".join(f"{scorer['id']} ({scorer['version']})" for scorer in box.scorers) or "not told",
            ]
            for box in facts.shard.boxes
        ],
    )


# -------------------------------------------------------------------------------------------- which parts there are


def _judged(facts: Facts) -> str:
    return "" if facts.cells else _NO_PREDICTIONS


def _reported(facts: Facts) -> str:
    return _judged(facts) or (
        "" if out_of_fold.ENSEMBLE in facts.reports else "the reports of the seeds are not there."
    )


def _sized(facts: Facts) -> str:
    return _judged(facts) or (
        "" if any(cell.rate for cell in facts.cells) else "the corpus does not tell encoded bytes."
    )


def _curved(facts: Facts) -> str:
    there = all(report.get("training_loss") for report in facts.reports.values())
    return _reported(facts) or ("" if there else "the reports are of a kit that kept no training loss.")


def _has(name: str) -> Callable[[Facts], str]:
    def missing(facts: Facts) -> str:
        none = f"the verdict's evidence holds no {name}."
        return _judged(facts) or ("" if facts.evidence.get(name) else none)

    return missing


def _always(_facts: Facts) -> str:
    return ""


@dataclass(frozen=True, kw_only=True)
class _Part:
    """A part: what it is called, why a run has nothing for it (empty if it has), and what is in it."""

    id: str
    title: str
    needs: Callable[[Facts], str]
    blocks: Callable[[Facts], Iterator[Block]]


_PARTS = (
    _Part(id="predicted", title="Predicted against teacher", needs=_judged, blocks=_predicted),
    _Part(id="errors", title="Error by encoder and quality point", needs=_judged, blocks=_errors),
    _Part(id="slices", title="Errors in VMAF points", needs=_has("errors"), blocks=evidence_parts.errors),
    _Part(id="folds", title="Seeds and folds", needs=_reported, blocks=_folds),
    _Part(id="rate", title="Rate and quality", needs=_sized, blocks=_rate_quality),
    _Part(id="training", title="Training", needs=_curved, blocks=_training),
    _Part(
        id="uncertainty", title="How sure the figures are", needs=_has("uncertainty"), blocks=evidence_parts.uncertainty
    ),
    _Part(id="baselines", title="Against other models", needs=_has("baselines"), blocks=evidence_parts.baselines),
    _Part(
        id="calibration",
        title="How far off a score may be",
        needs=_has("calibration"),
        blocks=evidence_parts.calibration,
    ),
    _Part(id="coverage", title="What the corpus covers", needs=_has("coverage"), blocks=evidence_parts.coverage),
    _Part(id="cells", title="Slowest and failed cells", needs=_always, blocks=_cells),
    _Part(id="provenance", title="Provenance", needs=_always, blocks=_provenance),
)
