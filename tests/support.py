"""What several test modules share besides fixtures."""

from __future__ import annotations

import fnmatch
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kit.core import contract, layout
from kit.core.canon import sha256_json
from kit.core.values import NO_DEVICE, Cell, EncodeSettings, Geometry, ReadyEncoder, Source, SourceFile, Teacher
from kit.corpus.make.keep import keep
from kit.corpus.make.produce import geometry_facts
from kit.corpus.plan import plan_cells
from kit.corpus.store.cellfile import CellRows
from kit.corpus.store.shard import Box, CellEntry, FailedCell, Shard, cell_path, entry_for, write_manifest
from kit.options.resolve import RunConfig, complete
from kit.options.session import Session, open_session
from kit.platforms.registry import settings_for
from kit.system.fsio import sha256_file, write_json
from kit.system.ui import Ui
from kit.training.codec_block import codec_block
from kit.training.table import Table
from kit.video.scorers.golden import EXPECTED
from kit.video.scorers.teachers import CANONICAL

#: Pictures that differ in content and in how hard they are to encode.
PICTURES = {
    "Bars": "testsrc2=size=320x180:rate=25",
    "Fractal": "mandelbrot=size=320x180:rate=25",
    "Cells": "cellauto=size=320x180:rate=25:rule=110:seed=3,format=gray,boxblur=2",
    "Life": "life=size=320x180:rate=25:seed=7:mold=10:life_color=0xc0ff40:death_color=0x204060",
}
FRAMES = 10


def ready(name: str = "libx264", **facts: Any) -> ReadyEncoder:
    """An encoder as a probe leaves it, with facts of one's own."""
    values: dict[str, Any] = {
        "name": name, "family": "software", "build": f"{name} 1", "variant": "", "device": NO_DEVICE,
        "max_parallel": None, "megapixels_per_second": 1.0,
    }  # fmt: skip
    return ReadyEncoder(**(values | facts))


def planned(name: str, frames: int = 10, family: str = "software") -> Cell:
    """A cell that nobody makes: its label is its key."""
    geometry = Geometry(width=64, height=64, pix_fmt="yuv420p", range="tv", fps=Fraction(25), frames=frames)
    file = SourceFile(path=Path(f"/{name}.yuv"), kind="yuv", label=name, geometry=geometry)
    settings = EncodeSettings(encoder="libx264", preset="medium", cq=31, argv=(), encode_pix_fmt="yuv420p",
                              score_pix_fmt="yuv420p")  # fmt: skip
    source = Source(file=file, sha256=name, group=name)
    return Cell(key=name, keyed={}, source=source, settings=settings, encoder=ready(family=family), teacher=CANONICAL)


#: ``kit("run", "--epochs", "2", cwd=folder, env={...})`` runs the kit as a process.
Kit = Callable[..., "subprocess.CompletedProcess[str]"]
#: ``command(["score", …])`` runs the command line within this process and gives its exit code.
Command = Callable[[Sequence[str]], int]
#: ``ask("eval", "--model", M, "--json", code=2)`` gives what a command prints as JSON, and what it says in one line.
Ask = Callable[..., tuple[dict[str, Any], str]]


def below(folder: Path, pattern: str) -> list[Path]:
    """Files below a folder that another process is working in; ``rglob`` fails where a folder goes away meanwhile."""
    return [Path(place, name) for place, _, files in os.walk(folder) for name in fnmatch.filter(files, pattern)]


@contextmanager
def in_process() -> Iterator[Command]:
    """The command line within this process, whose signal handlers and environment are put back."""
    from kit.cli.main import main

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
        yield main
    for number, handler in before.items():
        signal.signal(number, handler)


#: ``make_clip(path, picture, *ffmpeg_output_args, frames=10)`` writes a clip.
MakeClip = Callable[..., Path]

#: Options of a run that is over quickly.
QUICK = ("--cqs", "25,37", "--seeds", "0,1", "--epochs", "3", "--device", "cpu", "--box", "testbox")


def write_model(path: Path, weight: float = 0.5) -> Path:
    """Write a model file that libvmaf loads: a linear machine with one support vector, 100 * ``weight`` * adm2."""
    machine = f"svm_type nu_svr\nkernel_type linear\nnr_class 2\ntotal_sv 1\nrho 0\nSV\n{weight} 1:1 2:0\n"
    model = {
        "model": machine, "model_type": "LIBSVMNUSVR", "norm_type": "linear_rescale", "score_clip": [0, 100],
        "feature_names": ["VMAF_integer_feature_adm2_score", "VMAF_integer_feature_motion2_score"],
        "slopes": [0.01, 1, 1], "intercepts": [0, 0, 0],
    }  # fmt: skip
    path.write_text(json.dumps({"param_dict": {}, "model_dict": model}))
    return path


def plan(
    sources: Sequence[str] = ("Highway", "Park"),
    encoders: Sequence[str] = ("libx264",),
    cqs: Sequence[int] = (25, 37),
    *,
    build: str = "x264 - core 164",
    frames: int = 5,
    content: str = "",
    **facts: Any,
) -> tuple[Cell, ...]:
    """Cells of clips that are nowhere; ``content`` changes what they show."""
    geometry = Geometry(width=64, height=64, pix_fmt="yuv420p", range="tv", fps=Fraction(25), frames=frames)
    clips = [
        Source(
            file=SourceFile(path=Path(label), kind="yuv", label=label, geometry=geometry),
            sha256=sha256_json(label + content),
            group=label,
        )
        for label in sources
    ]
    encoding = [ready(name, build=build) for name in encoders]
    told = {
        "architecture": "x86_64",
        "teacher": Teacher(id=contract.DEFAULT_TEACHER),
        "scorer_id": "cpu/golden-1",
        "settings_for": settings_for,
    }
    points = [(name, cq) for name in encoders for cq in cqs]
    return plan_cells(clips, points, encoders=encoding, **(told | facts))


def rows_of(cell: Cell) -> CellRows:
    """Rows of a cell; better scores and more bytes at finer quality points."""
    frames, cq = cell.source.geometry.frames, cell.settings.cq
    noise = np.random.default_rng(int(cell.key[:8], 16)).uniform(0, 1, (frames, 6))
    rows = CellRows(
        labels={
            "cell_key": cell.key,
            "src": cell.source.label,
            "src_sha256": cell.source.sha256,
            "group": cell.source.group,
            "corpus": "local",
            "encoder": cell.settings.encoder,
            "preset": cell.settings.preset,
        },
        cq=cq,
        features=noise,
        vmaf=99.0 - cq + noise[:, 0],
        facts={},
    )
    facts = {**cell.keyed, "geometry": geometry_facts(cell.source.geometry), "converted": False,
             "encoded_bytes": 10_000 - 100 * cq, "content_sha256": rows.content_sha256()}  # fmt: skip
    return CellRows(labels=rows.labels, cq=cq, features=rows.features, vmaf=rows.vmaf, facts=facts)


def altered(cell: Cell, by: float) -> CellRows:
    """Rows of a cell as a scorer gives them that is off by so many VMAF points."""
    rows = replace(rows_of(cell), vmaf=rows_of(cell).vmaf + by)
    return replace(rows, facts={**rows.facts, "content_sha256": rows.content_sha256()})


def keep_all(
    folder: Path, cells: Sequence[Cell], box: str = "b", rows: Callable[[Cell], CellRows] = rows_of
) -> list[CellEntry]:
    """Write cells as a run does."""
    for cell in cells:
        keep(folder, cell_path(cell), rows(cell), [{"box": box, "platform": "p", "seconds": 1.0}])
    return [entry_for(cell, rows(cell)) for cell in cells]


def box_of(cells: Sequence[Cell], box: str = "b", golden: float = 0.0) -> Box:
    """The box that has made all of them; its answers to the golden pairs are off by ``golden``."""
    scorer_id = str(cells[0].keyed["scorer_id"]) if cells else "cpu/golden-1"
    answers = {pair: means[-1] + golden for pair, means in EXPECTED.items()}
    return Box(
        box=box, platform="p", scorers=({"id": scorer_id, "version": "3", "golden": answers},),
        encoders={cell.encoder.name: (cell.encoder.build,) for cell in cells}, cells=len(cells),
        rows=sum(cell.source.geometry.frames for cell in cells),
    )  # fmt: skip


def shard_of(
    folder: Path, cells: Sequence[Cell], failed: Sequence[FailedCell] = (), *, box: str = "b", golden: float = 0.0,
    teacher: Teacher = CANONICAL, rows: Callable[[Cell], CellRows] = rows_of,
) -> Shard:  # fmt: skip
    """Write cells and their manifest."""
    sources = {
        cell.source.label: {
            "label": cell.source.label,
            "sha256": cell.source.sha256,
            "group": cell.source.group,
            "geometry": geometry_facts(cell.source.geometry),
        }
        for cell in cells
    }
    shard = Shard(
        folder=folder,
        boxes=(box_of(cells, box, golden),),
        demo=False,
        teacher=teacher,
        sources=tuple(sources.values()),
        cells=tuple(keep_all(folder, cells, box, rows)),
        failed=tuple(failed),
    )
    write_manifest(shard)
    return shard


def run_in(folder: Path, **options: object) -> tuple[RunConfig, Session]:
    """Options and session of a run in this folder."""
    defaults: dict[str, object] = {"seeds": (0, 1), "epochs": 400, "device": "cpu"}
    config = complete(defaults | options, {}, out_dir=folder, box="testbox", box_origin="given")
    return config, open_session(config, ui=Ui(), cache=folder / "cache", argv=["run"])


def run_folder(folder: Path, **options: object) -> tuple[RunConfig, Session]:
    """A run folder with a corpus of four sources that a network learns quickly, as `corpus` leaves it."""
    write_json(folder / layout.PREREQS, {"box": "testbox"})
    shard_of(folder / layout.CORPUS, plan(("Highway", "Park", "Tango", "Crowd"), cqs=(19, 31, 43), frames=12))
    return run_in(folder, **options)


#: Label of each source's group.
GROUPS = {"Fuente1": "Fuente", "Fuente2": "Fuente", "Highway": "Highway", "Tango": "Tango", "Crowd": "Crowd"}


def make_table(frames: int = 20, groups: dict[str, str] | None = None) -> Table:
    """Rows whose target is a smooth function of features and quality point."""
    generator = np.random.default_rng(3)
    places = [(source, group, cq) for source, group in (groups or GROUPS).items() for cq in (19, 37)]
    entries = tuple(
        CellEntry(
            key=f"{number:02d}", source=source, src_sha256=source.rjust(64, "0"), group=group, encoder="libx264",
            preset="medium", cq=cq, rows=frames, encoded_bytes=1, content_sha256="", path="",
        )
        for number, (source, group, cq) in enumerate(places)
    )  # fmt: skip
    count = frames * len(entries)
    features = generator.uniform(0.3, 1.0, (count, 6)).astype(np.float32)
    features[:, 5] *= 10
    cell = np.repeat(np.arange(len(entries), dtype=np.int32), frames)
    blocks = np.array([codec_block(entry.encoder, entry.preset, entry.cq) for entry in entries], dtype=np.float32)
    codec = blocks[cell]
    target = 20 + 50 * features[:, 0] * features[:, 1] + 15 * features[:, 2] + 10 * codec[:, -1] - features[:, 5]
    return Table(
        cells=entries, cell=cell, frame=np.tile(np.arange(frames, dtype=np.int32), len(entries)),
        features=features, codec=codec, target=target.astype(np.float32),
    )  # fmt: skip


def judged_run(
    folder: Path, *, sources: int = 4, encoders: Sequence[str] = ("libx264", "libx265"),
    cqs: Sequence[int] = (19, 31, 43), frames: int = 12, noise: float = 12.0, failed: Sequence[FailedCell] = (),
    **options: object,
) -> Path:  # fmt: skip
    """A run folder with a verdict, whose predictions are the targets with noise (VMAF points): HOLD by default.

    With ``failed`` cells it is INVALID.
    """
    from kit.steps import step_03_train, step_04_verdict
    from kit.training import folds, predictions, table
    from kit.verdict.baselines import Baseline, expected_baselines

    write_json(folder / layout.PREREQS, {"box": "testbox", "ffmpeg": {"version": "7.1"}})
    cells = plan([f"Clip{number}" for number in range(sources)], encoders, cqs, frames=frames)
    shard = shard_of(folder / layout.CORPUS, cells, failed)
    config, session = run_in(folder, **({"epochs": 3} | options))
    generator = np.random.default_rng(5)
    if not failed:
        rows = table.load(shard)
        parts = folds.by_group(rows, config.folds)
        found, *others = (
            step_03_train._columns(shard, rows, [
                (seed, fold, np.clip(rows.target[fold.held] + generator.normal(0, off, len(fold.held)), 0, 100))
                for seed in config.seeds for fold in parts])
            for off in (noise, 2 * noise, 2 * noise, noise)
        )  # fmt: skip
        predictions.write(folder / layout.PREDICTIONS, found)
        baselines = {}
        for name, other in zip(expected_baselines(config.arch), others, strict=True):
            predictions.write(folder / layout.baseline_predictions(name), other)
            baseline = Baseline(predictions=other, problems=(), model=None)
            baselines[name] = step_03_train._baseline_json(config, name, baseline)
        losses = np.geomspace(900, 4, config.epochs)
        spent = {seed: step_03_train._Spent(seconds=1.0, loss=losses * (1 + seed / 9)) for seed in config.seeds}
        study = step_03_train._Study(rows=rows, parts=parts, file=layout.PREDICTIONS)
        for name, report in step_03_train._reports(config, shard, study, found, spent):
            step_03_train._write(config, shard, session, name, report)
        digest = sha256_file(folder / layout.PREDICTIONS)
        told = {"corpus_sha256": shard.corpus_sha256, "seeds": list(config.seeds), "epochs": config.epochs,
                "arch": config.arch, "folds": config.folds, "holdout": [], "predictions_sha256": digest,
                "baselines": baselines, "problems": [], "schema_version": 1}  # fmt: skip
        write_json(folder / layout.TRAINING, told)
        trained = step_03_train.load(config, session)
    else:
        trained = step_03_train.run(config, shard, session)
    step_04_verdict.run(config, trained, session)
    return folder
