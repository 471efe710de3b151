"""``kit score``: score a corpus, or one pair of clips, with an exported model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kit.cli.opening import ffmpeg_session, require_onnxruntime
from kit.cli.output import MOST_LINES, Result, Table, json_option, row
from kit.core import contract
from kit.core.errors import BadInput
from kit.core.texts import correlation
from kit.options.click_options import options, texts
from kit.options.command_tables import SCORE
from kit.options.run_table import RUN
from kit.system.ui import Row

if TYPE_CHECKING:
    from kit.heads.scoring import Encode, Scored
    from kit.models.model_file import ModelFile
    from kit.video.scorers.log import Scores


@click.command()
@options(*SCORE.pick("model", "corpus", "ref", "dis", "encoder", "cq", "preset"))
@texts(*RUN.pick("geometry", "ffmpeg", "vmaf_bin"))
@options(SCORE["csv_file"])
@json_option
def score(
    *,
    model: Path,
    corpus: Path | None,
    ref: Path | None,
    dis: Path | None,
    encoder: str | None,
    cq: int | None,
    preset: str | None,
    csv_file: Path | None,
    **given: str | None,
) -> Result:
    """Score frames of a corpus or of a pair of clips with a model.

    Shows libvmaf's own score too, the interval around each clip's mean at 95 %, what is outside the model's training
    range, and the disagreement of an ensemble's seeds. Both clips of a pair need the same geometry and number of
    frames.

    Exit codes: 0 done, 2 bad input, 3 model and sidecar do not belong together.
    """
    about_encode = {"encoder": encoder, "cq": cq, "preset": preset}
    texts = {name: text for name, text in given.items() if text is not None}
    if (corpus is None) == (ref is None and dis is None) or (ref is None) != (dis is None):
        raise click.UsageError("Give either --corpus, or --ref and --dis.")
    if corpus is not None and (idle := [*texts, *(name for name, value in about_encode.items() if value is not None)]):
        raise click.UsageError(f"--{idle[0].replace('_', '-')} is about --ref and --dis; leave it out with --corpus.")
    if csv_file is not None:
        from kit.models.registry import refuse_overwrite

        refuse_overwrite(
            [csv_file], [path for path in (model, model.with_suffix(".json"), ref, dis) if path is not None]
        )
    require_onnxruntime()
    from kit.models.model_file import open_model

    loaded = open_model(model)
    if corpus is not None:
        scored, libvmaf = _score_corpus(loaded, corpus)
    elif ref is not None and dis is not None:
        from kit.heads.scoring import score_pair

        encode = _checked_encode(loaded, encoder, cq, preset)
        features, resolution = _features(ref, dis, texts)
        scored = (score_pair(loaded, dis.name, features, encode, resolution),)
        libvmaf = contract.CANONICAL_MODEL
    if csv_file is not None:
        _write_csv(csv_file, loaded, scored, libvmaf)
    return Result(shown=tuple(_tables(loaded, scored, libvmaf)), data=_document(loaded, scored, libvmaf))


def _score_corpus(model: ModelFile, folder: Path) -> tuple[tuple[Scored, ...], str]:
    """Score every cell of a corpus; return the scores and the name of its teacher."""
    from kit.corpus.store import shard as shards
    from kit.corpus.store.planned import shard_folder
    from kit.heads.scoring import score_corpus
    from kit.models.shown import resolutions_of
    from kit.training import table

    shard = shards.read_manifest(shard_folder(folder))
    if not shard.cells:
        raise BadInput(f"{folder} has no finished cell", hint="Make cells with `corpus`.")
    resolutions = {str(source["label"]): size for source in shard.sources for size in resolutions_of([source])}
    return score_corpus(model, table.load(shard), resolutions), shard.teacher.id if shard.teacher else "teacher"


def _checked_encode(model: ModelFile, encoder: str | None, cq: int | None, preset: str | None) -> Encode:
    """Return how the distorted clip was made, as far as the model takes it as an input.

    Raises:
        BadInput: an input of the model is missing, the model does not take an option, or the preset is not known.
    """
    from kit.heads.scoring import Encode
    from kit.training.codec_block import PRESETS, preset_ordinal

    given = [f"--{name}" for name, value in (("encoder", encoder), ("cq", cq), ("preset", preset)) if value is not None]
    if not model.codec_aware:
        if given:
            raise BadInput(f"{', '.join(given)}: {model.path.name} has no such input", hint="Leave it out.")
        return Encode()
    if encoder is None or cq is None:
        raise BadInput(
            f"{model.path.name} is codec-aware: --encoder and --cq are missing",
            hint="For example --encoder libx264 --cq 31, and --preset if you know it.",
        )
    if preset is not None and encoder not in PRESETS:
        raise BadInput(f"--preset: the model does not distinguish presets of {encoder}", hint="Leave it out.")
    preset_ordinal(encoder, preset)
    return Encode(encoder=encoder, preset=preset, cq=cq)


def _features(ref: Path, dis: Path, texts: Mapping[str, str]) -> tuple[Scores, str]:
    """Compute the features of a pair with a verified scorer; return them and the resolution."""
    from kit.platforms.detect import classify, usable_cores
    from kit.prereqs.examine import facts_for, scorer_for
    from kit.video.ffmpeg import scoring_partner
    from kit.video.scorers import choose, pair, teachers
    from kit.video.sources.read import Tools
    from kit.video.sources.scan import inspect

    for path in (ref, dis):
        if not path.is_file():
            raise BadInput(f"{path} is not a file", hint="Give a clip: .yuv, .y4m or a video file.")
    if "geometry" in texts and ".yuv" not in (ref.suffix.lower(), dis.suffix.lower()):
        raise BadInput("--geometry: neither clip is a .yuv", hint="Leave it out; the files have their geometry.")
    config, session, encoding = ffmpeg_session(texts)
    ffmpeg, processes = scoring_partner(encoding, session.processes), session.processes
    tools = Tools(ffmpeg=ffmpeg, processes=processes)
    reference, distorted = (inspect(path, path.name, assumed=config.geometry, tools=tools) for path in (ref, dis))
    pair.check_same_geometry(reference, distorted)
    scorer = scorer_for(config, classify(facts_for(config, session)).tag, ffmpeg, session)
    proof = choose.verify_scorer(scorer, teacher=teachers.CANONICAL, processes=processes)
    session.ui.say(f"Features of {reference.geometry.frames} frames by {scorer.name} ({proof.id})")
    scores = pair.extract(scorer, reference, distorted, processes=processes, threads=usable_cores())
    return scores, f"{reference.geometry.width}x{reference.geometry.height}"


def _tables(model: ModelFile, scored: Sequence[Scored], libvmaf: str) -> Iterator[str | Table]:
    from kit.heads.scoring import agreement_of, remarks

    yield f"{model.path.name}: {model.sidecar['name'] if model.sidecar else 'no sidecar'}"
    if model.sidecar is None:
        yield (
            f"{model.path.with_suffix('.json').name} is missing: the encoders that the model was trained on are not "
            "known, and its SHA-256 is not checked."
        )
    yield from remarks(model, scored, libvmaf)
    spread = ("disagreement",) if model.ensemble else ()
    yield Table(
        title="Scores",
        columns=("encode", "frames", "mean", "95 % interval", "harmonic mean", "min", *spread, libvmaf),
        rows=[_line(model, cell) for cell in scored],
        limit=MOST_LINES,
        complete_in="--csv and --json have all",
    )
    agreement: Mapping[str, Any] = agreement_of(scored)
    plcc, srocc = correlation(agreement["plcc"]), correlation(agreement["srocc"])
    agreed = agreement["undefined"] or f"PLCC {plcc}, SROCC {srocc}"
    yield (
        f"Agreement with {libvmaf} over {agreement['n']} frames: {agreed}; RMSE {agreement['rmse']:.2f}, bias "
        f"{agreement['bias']:+.2f} VMAF points"
    )


def _line(model: ModelFile, cell: Scored) -> Row:
    from kit.heads.scoring import interval_of

    pooled, interval = cell.pooled, interval_of(model, cell)
    between = "none" if interval is None else f"{interval.low:.2f} to {interval.high:.2f}"
    figures = [pooled.harmonic_mean, pooled.min]
    figures += [] if cell.mean_spread is None else [cell.mean_spread]
    figures.append(float(cell.libvmaf.mean()))
    return row(cell.name, len(cell.score), f"{pooled.mean:.3f}", between, *(f"{value:.3f}" for value in figures))


def _write_csv(path: Path, model: ModelFile, scored: Sequence[Scored], libvmaf: str) -> None:
    from kit.heads.scoring import csv_text
    from kit.system.fsio import write_bytes

    try:
        write_bytes(path, csv_text(model, scored, libvmaf).encode())
    except OSError as error:
        raise BadInput(f"--csv: {path} cannot be written: {error.strerror}") from error


def _document(model: ModelFile, scored: Sequence[Scored], libvmaf: str) -> dict[str, object]:
    from kit.heads.scoring import agreement_of, remarks

    return {
        "model": {
            "file": model.path.name,
            "sha256": model.sha256,
            "id": model.sidecar and model.sidecar["id"],
            "codec_aware": model.codec_aware,
            "ensemble": model.ensemble,
            "teacher": model.teacher,
            "half_widths": model.half_widths,
        },
        "libvmaf": libvmaf,
        "remarks": remarks(model, scored, libvmaf),
        "agreement": agreement_of(scored),
        "encodes": [_cell_json(model, cell) for cell in scored],
    }


def _cell_json(model: ModelFile, cell: Scored) -> dict[str, object]:
    from kit.heads.scoring import agreement_of, interval_of

    interval = interval_of(model, cell)
    return {
        "name": cell.name,
        **asdict(cell.encode),
        "frames": len(cell.score),
        "resolution": cell.resolution,
        "outside": list(cell.outside),
        "outside_frames": int(cell.outside_rows.sum()),
        "pooled": {
            **asdict(cell.pooled),
            "interval": interval and asdict(interval),
            "mean_spread": cell.mean_spread,
            "libvmaf_mean": float(cell.libvmaf.mean()),
        },
        "agreement": agreement_of([cell]),
        "score": cell.score.tolist(),
        "score_std": None if cell.spread is None else cell.spread.tolist(),
        "libvmaf": cell.libvmaf.tolist(),
    }
