"""Train members of a bundle again: predictions made of the teacher's scores and a little noise would pass any gate."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kit.core import contract, layout
from kit.models import runtime
from kit.models.sidecar import model_id
from kit.steps import unseen_encoders
from kit.system.proc import Processes
from kit.system.ui import Ui
from kit.training import folds
from kit.training.folds import Fold
from kit.training.loop import inputs_for
from kit.training.members import Ensemble, Members
from kit.training.model import restored
from kit.training.predictions import Predictions
from kit.training.run_members import train_members
from kit.verify.check import Check
from kit.verify.received_run import ReceivedRun

Floats = NDArray[np.float32] | NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Retraining:
    """Options of the training.

    Attributes:
        count: number of members, chosen at random; None for all.
        folder: of the members.
        ui: shows the progress.
    """

    count: int | None
    device: str
    workers: int
    folder: Path
    ui: Ui


def chosen(members: Sequence[tuple[int, str]], count: int | None) -> list[tuple[int, str]]:
    """Choose members that nobody can predict; sorted."""
    if count is None or count >= len(members):
        return sorted(members)
    return sorted(secrets.SystemRandom().sample(list(members), count))


@dataclass(frozen=True, kw_only=True)
class Again:
    """The scores of a member in a bundle and of the member trained again, VMAF points.

    Attributes:
        name: of the member, for people.
        rms: of the difference of their scores.
        rmse, rmse_again: their errors.
    """

    name: str
    rms: float
    rmse: float
    rmse_again: float

    @property
    def share(self) -> float:
        """The difference as a share of its limit; more than 1 fails."""
        return self.rms / (contract.RETRAINED_RMS_SHARE * self.rmse_again + contract.RETRAINED_MARGIN)

    def __str__(self) -> str:
        errors = f"RMSE {self.rmse:.3g}, again {self.rmse_again:.3g}"
        return f"{self.name}: scores differ by an RMS of {self.rms:.2g}, {errors}"


def compared(name: str, stored: Floats, again: Floats, target: Floats) -> Again:
    """Compare scores [n] of a member and of the member trained again."""
    return Again(name=name, rms=_rms(stored, again), rmse=_rms(stored, target), rmse_again=_rms(again, target))


def _rms(one: Floats, two: Floats) -> float:
    return float(np.sqrt(np.mean((one.astype(np.float64) - two) ** 2)))


def retrain(run: ReceivedRun, options: Retraining, processes: Processes) -> list[Check]:
    """Train members, a full fit and a member of each baseline from the shard; compare their scores with the bundle's.

    The full fit exists after PROMOTE only; it is compared with the export of its seed.
    """
    parts = {fold.held_out: fold for fold in run.folds}
    members = [(seed, label) for seed, label, _ in run.predictions.members()]
    plans = [_plan(run, run.recipe.arch, chosen(members, options.count), parts, options)]
    baselines = _baselines(run)
    for name, stored in baselines.items():
        one = chosen([(seed, label) for seed, label, _ in stored.members()], 1)
        plans.append(_plan(run, name, one, parts, options))
    (whole,) = folds.thinned(run.rows, [folds.everything(run.rows)], run.training.get("max_rows_per_source"))
    if run.word == "PROMOTE":
        ((seed, _),) = chosen([(seed, "") for seed in run.training["seeds"]], 1)
        plans.append(_plan(run, run.recipe.arch, [(seed, "")], {"": whole}, options))
    trained = train_members(plans, processes, options.ui, title="Training again")
    first = list(_held_out(run, run.predictions, trained[0], parts))
    checks = [_check("training", f"{len(first)} of {len(members)} members", first)]
    beside = [
        line
        for (name, stored), again in zip(baselines.items(), trained[1:], strict=False)
        for line in _held_out(run, stored, again, parts, prefix=f"{name}, ")
    ]
    if beside:
        checks.append(_check("training of baselines", f"{len(beside)} members", beside))
    if run.word == "PROMOTE":
        checks.append(_check("training of models", "1 model", [_export(run, trained[-1])]))
    if unseen := list(_unseen(run, options, processes)):
        checks.append(_check("training without an encoder", f"{len(unseen)} members", unseen))
    return checks


def _baselines(run: ReceivedRun) -> dict[str, Predictions]:
    """Return the predictions of the baselines that were trained, by name."""
    own = {name: baseline.predictions for name, baseline in run.baselines.items() if name != contract.SHIPPED}
    return {name: stored for name, stored in sorted(own.items()) if stored is not None}


def _plan(
    run: ReceivedRun, arch: str, members: Sequence[tuple[int, str]], parts: Mapping[str, Fold], options: Retraining
) -> Ensemble:
    return Ensemble(
        rows=run.rows,
        corpus_sha256=run.shard.corpus_sha256,
        members=[(seed, parts[label]) for seed, label in members],
        recipe=run.recipe_of(arch),
        device=options.device,
        folder=options.folder,
        workers=options.workers,
    )


def _held_out(
    run: ReceivedRun, stored: Predictions, trained: Members, parts: Mapping[str, Fold], prefix: str = ""
) -> Iterator[Again]:
    """Compare what members predict for the rows that they hold out."""
    rows_of = {(seed, label): rows for seed, label, rows in stored.members()}
    for (seed, label), member in trained.items():
        # the rows of a fold are in the order of the predictions: cells by key, frames in order
        before, again = stored.prediction[rows_of[seed, label]], member.arrays["predictions"]
        yield compared(f"{prefix}seed {seed}, {label}", before, again, run.rows.target[parts[label].held])


def _export(run: ReceivedRun, trained: Members) -> Again:
    """Compare an exported model with the full fit trained again, on rows of the corpus."""
    (((seed, _), member),) = trained.items()
    spread = np.linspace(0, len(run.rows) - 1, min(contract.EXPORT_ROWS, len(run.rows))).round()
    rows = np.unique(spread).astype(np.int32)
    network, scale = restored(run.recipe.architecture, member.arrays)
    again = network.scores(inputs_for(run.rows, rows, scale, codec_aware=network.arch.codec_aware))
    name = f"{model_id(run.recipe.arch, seed)}.onnx"
    session = runtime.open_session((run.folder / layout.EXPORTS / name).read_bytes())
    stored = runtime.compute(session, run.rows.features[rows], run.rows.codec[rows])[contract.SCORE_OUTPUT]
    return compared(name, stored, again, run.rows.target[rows])


def _unseen(run: ReceivedRun, options: Retraining, processes: Processes) -> Iterator[Again]:
    """Train a member of each architecture again that has not seen an encoder; compare its scores for that encoder."""
    for arch, baseline in sorted((run.unseen or {}).items()):
        stored = baseline.predictions
        if stored is None:
            continue
        ((seed, label),) = chosen([(seed, label) for seed, label, _ in stored.members()], 1)
        encoder = label.split("/")[0]
        others, parts = unseen_encoders.part_of(run.rows, encoder, run.training.get("max_rows_per_source"))
        (fold,) = (one for one in parts if folds.unseen_label(encoder, one.held_out) == label)
        plan = replace(_plan(run, arch, [(seed, fold.held_out)], {fold.held_out: fold}, options), rows=others)
        (trained,) = train_members([plan], processes, options.ui, title=f"Training again without {encoder}")
        held = unseen_encoders.unseen_rows(run.rows, encoder, fold)
        again = unseen_encoders.scores_of(run.rows, held, plan.recipe, trained[seed, fold.held_out].arrays)
        (rows,) = (own for one, name, own in stored.members() if (one, name) == (seed, label))
        yield compared(f"{arch}, seed {seed}, {label}", stored.prediction[rows], again, run.rows.target[held.held])


def _check(name: str, what: str, lines: Sequence[Again]) -> Check:
    worst = max(lines, key=lambda line: (np.isnan(line.share), line.share))
    failing = [line for line in lines if not line.share <= 1]
    found = f"{what}; the largest difference: {worst}" + (f"; {len(failing)} differ too much" if failing else "")
    return Check(
        name=name,
        passed=not failing,
        expected=(
            f"RMS of the difference at most {contract.RETRAINED_RMS_SHARE:g} of the RMSE of the member trained again, "
            f"plus {contract.RETRAINED_MARGIN:g}"
        ),
        found=found,
    )
