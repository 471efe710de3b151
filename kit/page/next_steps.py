"""What to try after a HOLD, an INVALID or a PROMOTE that may not ship, computed from the evidence. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from kit.core import contract
from kit.core.texts import correlation
from kit.verdict.baselines import EPOCHS_TO_TELL, convergence

#: Steps that are shown at most, the most telling first.
MOST = 5
#: An encoder or a source stands out with an RMSE above this many times that of all rows.
_STANDS_OUT = 1.5
#: Shares of the rows above which saturation and extrapolation are worth naming.
_SATURATED, _OUTSIDE = 0.5, 0.25
#: Content groups below which the expert gate has too little evidence.
_GROUPS = contract.EXPERT_THRESHOLDS["evidence_groups_min"]


def next_steps(verdict: Mapping[str, Any], losses: Mapping[int, Sequence[float]]) -> tuple[str, ...]:
    """List what to try next; nothing where the models may ship, and for demo clips.

    Args:
        losses: training loss of each seed by epoch, where known.
    """
    if verdict.get("demo") and verdict["verdict"] != "INVALID":
        return ()
    if verdict["verdict"] == "INVALID":
        return tuple(_invalid(verdict)) or (
            "Fix what is missing, and run the same command again; finished work is kept.",
        )
    ships = verdict.get("may_ship", verdict.get("expert_gate", {}).get("passed", True))
    if verdict["verdict"] == "PROMOTE" and ships:
        return ()
    return tuple(dict.fromkeys(_steps(verdict, losses)))[:MOST]


def _invalid(verdict: Mapping[str, Any]) -> Iterator[str]:
    corpus = verdict["corpus"]
    if failed := corpus.get("failed_cells", 0) - corpus["waived_cells"]:
        yield (
            f"Run the same command again: finished cells are kept and the {failed} failed ones are tried again. "
            "--allow-partial leaves them out."
        )
    groups = corpus.get("groups", 0)
    if groups < contract.GATE_THRESHOLDS["groups_min"]:
        yield (
            f"Add sources: the corpus has {groups} content groups, at least "
            f"{contract.GATE_THRESHOLDS['groups_min']} are needed, {_GROUPS} to ship."
        )
    if len(seeds := verdict.get("seeds", ())) < contract.GATE_THRESHOLDS["seeds_min"]:
        yield f"Train more seeds, at least --seeds 0,1,2: {len(seeds)} were requested."


def _steps(verdict: Mapping[str, Any], losses: Mapping[int, Sequence[float]]) -> Iterator[str]:
    evidence = verdict["evidence"]
    yield from _training(evidence, losses)
    yield from _content(verdict, evidence)
    yield from _encoders(evidence)
    yield from _corpus(verdict, evidence)


def _training(evidence: Mapping[str, Any], losses: Mapping[int, Sequence[float]]) -> Iterator[str]:
    trends = [convergence(np.asarray(loss, dtype=np.float64)) for loss in losses.values()]
    falling = [trend for trend in trends if not trend.converged]
    if falling:
        epochs = len(next(iter(losses.values())))
        shares = [trend.last_tenth / trend.tenth_before for trend in falling if trend.last_tenth and trend.tenth_before]
        why = f"fewer than {EPOCHS_TO_TELL} epochs do not tell whether the training has converged, it had {epochs}"
        if shares:
            drop = 100 * (1 - min(shares))
            why = f"after {epochs} epochs the loss still fell by up to {drop:.0f} % from one tenth of them to the next"
        yield f"Train longer, --epochs {2 * max(epochs, EPOCHS_TO_TELL)}: {why}."
    rmse, line = evidence.get("ensemble_mean", {}).get("rmse"), (evidence.get("baselines") or {}).get("linear") or {}
    if not falling and rmse is not None and line.get("rmse") is not None and line["rmse"] < rmse:
        yield (
            f"Train longer or with another recipe: a straight line has RMSE {line['rmse']:.2f}, the ensemble "
            f"{rmse:.2f}."
        )


def _content(verdict: Mapping[str, Any], evidence: Mapping[str, Any]) -> Iterator[str]:
    gate = verdict["gate"]
    without = ((evidence.get("uncertainty") or {}).get("mean_plcc") or {}).get("without_one_max")
    if without and not gate["mean_plcc_pass"] and without["value"] >= gate["mean_plcc_threshold"]:
        yield (
            f"Look at {without['group']}: without it the mean PLCC would be {correlation(without['value'])}, with it "
            f"{correlation(gate['mean_plcc'])}. Add sources that resemble it."
        )
    worst, rmse = evidence.get("worst_source"), evidence.get("ensemble_mean", {}).get("rmse")
    if worst and rmse and worst["rmse"] > _STANDS_OUT * rmse:
        yield (
            f"Look at {worst['name']}, the worst source: RMSE {worst['rmse']:.2f}, all rows {rmse:.2f}. Check its "
            "encodes, and add sources that resemble it."
        )
    outside = (evidence.get("coverage") or {}).get("outside_training") or {}
    rows = verdict["corpus"].get("rows", 0)
    if outside.get("worst") and rows and outside["rows"] > _OUTSIDE * rows:
        cell = outside["worst"][0]
        yield (
            f"Add sources with other {', '.join(cell['features'])}: {100 * outside['rows'] / rows:.0f} % of the rows "
            f"are outside the range that their fold was trained on, most of all {cell['cell']}."
        )


def _encoders(evidence: Mapping[str, Any]) -> Iterator[str]:
    rmse = evidence.get("ensemble_mean", {}).get("rmse")
    encoders = ((evidence.get("errors") or {}).get("frame") or {}).get("per_encoder") or {}
    if len(encoders) > 1 and rmse:
        name = max(encoders, key=lambda encoder: encoders[encoder]["rmse"])
        if encoders[name]["rmse"] > _STANDS_OUT * rmse:
            yield (
                f"Look at {name}, the worst encoder: RMSE {encoders[name]['rmse']:.2f}, all rows {rmse:.2f}. Add "
                "quality points and sources of it."
            )
    block = evidence.get("codec_block")
    unseen = block.get("unseen") if isinstance(block, Mapping) else None
    if unseen:
        name = max(unseen, key=lambda encoder: unseen[encoder]["rmse_with"])
        if rmse and unseen[name]["rmse_with"] > 2 * _STANDS_OUT * rmse:
            yield (
                f"Add encoders that resemble {name}: held out of the training it has RMSE "
                f"{unseen[name]['rmse_with']:.2f}."
            )


def _corpus(verdict: Mapping[str, Any], evidence: Mapping[str, Any]) -> Iterator[str]:
    coverage, groups = evidence.get("coverage") or {}, verdict["corpus"].get("groups", _GROUPS)
    if groups < _GROUPS:
        yield f"Add sources: {groups} content groups are few, the expert gate needs {_GROUPS}."
    if pairs := (coverage.get("near_duplicates") or {}).get("pairs"):
        names = " and ".join(pairs[0]["sources"])
        yield f"Put sources with the same content into one group, or leave one out: {names}."
    share = coverage.get("rows_by_source") or {}
    if share.get("warn"):
        yield (
            f"Limit the weight of {share['largest']}, which has {100 * share['share']:.0f} % of the training rows: "
            "--max-rows-per-source."
        )
    saturated = coverage.get("saturated") or {}
    if saturated.get("share", 0) > _SATURATED:
        yield (
            f"Add coarser quality points, --cqs: {100 * saturated['share']:.0f} % of the rows have a score of "
            f"{saturated['score']:g}."
        )
    if encoders := (coverage.get("thin_encoders") or {}).get("encoders"):
        yield f"Add cells of {', '.join(encoders)}: there are too few to judge."
    if verdict["gate"].get("plcc_spread_pass") is False:
        seeds = verdict["gate"]["per_seed_plccs"]
        low, high = min(seeds, key=seeds.__getitem__), max(seeds, key=seeds.__getitem__)
        yield (
            f"Train longer or more seeds: seed {low} has a mean PLCC of {correlation(seeds[low])}, seed {high} "
            f"{correlation(seeds[high])}."
        )
