"""Step 2: every cell of the plan, encoded and scored; a shard with its manifest."""

from __future__ import annotations

import platform
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from kit import layout
from kit.config import RunConfig
from kit.corpus import shard as shards
from kit.corpus.produce import Bench, geometry_facts, produce
from kit.corpus.shard import CellEntry, FailedCell, Shard
from kit.errors import BadInput, Wanting
from kit.fsio import remove_temporaries
from kit.plan import plan_cells
from kit.platforms.registry import settings_for
from kit.results import Prereqs
from kit.session import Session
from kit.sources.identity import identify_all
from kit.sources.read import Tools
from kit.types import Cell, Source
from kit.ui import Row

NAME = "corpus"


def run(config: RunConfig, previous: Prereqs, session: Session) -> Shard:
    """Make the cells that are not there yet and write the manifest.

    A cell that fails is listed with its reason; the others go on.

    Raises:
        Several: clips that cannot be decoded, or two with the same content.
        DiskFull: the disk is full; finished cells are kept.
    """
    folder = config.out_dir / layout.CORPUS
    folder.mkdir(parents=True, exist_ok=True)
    remove_temporaries(folder)
    sources = identify(previous, session)
    cells = plan(config, previous, sources)
    report_conversions(cells, session)
    bench = Bench(
        ffmpeg=previous.ffmpeg, processes=session.processes, folder=folder, box=config.box,
        platform=previous.platform.tag, corpus="demo" if config.demo else "local",
    )  # fmt: skip
    done, missing = _sort_out(cells, bench, session)
    made, failed = _produce_all(missing, bench, session, workers=previous.facts.cores) if missing else ([], [])
    used = {cell.encoder.name: cell.encoder.build for cell in cells}
    shard = Shard(
        folder=folder, box=config.box, platform=previous.platform.tag, demo=config.demo, teacher=config.teacher,
        scorer={"id": previous.scorer.id, "version": previous.scorer.version, "golden": dict(previous.scorer.golden)},
        encoders=used, sources=tuple(_described(source) for source in sources),
        cells=tuple(done + made), failed=tuple(failed),
    )  # fmt: skip
    shards.write_manifest(shard)
    _report(shard, session)
    return shard


def identify(previous: Prereqs, session: Session) -> tuple[Source, ...]:
    """The identity of every clip."""
    tools = Tools(ffmpeg=previous.ffmpeg, processes=session.processes)
    with session.ui.progress("Identifying sources", len(previous.files), "clips") as advance:
        return identify_all(
            previous.files, tools, session.cache, workers=previous.facts.cores, advance=lambda: advance("")
        )


def plan(config: RunConfig, previous: Prereqs, sources: Sequence[Source]) -> tuple[Cell, ...]:
    """The cells of the run."""
    return plan_cells(
        sources, previous.points, encoders=previous.encoders, settings_for=settings_for,
        architecture=platform.machine(), teacher=config.teacher, scorer_id=previous.scorer.id,
    )  # fmt: skip


def report_conversions(cells: Sequence[Cell], session: Session) -> None:
    """Say which encoders are fed with another pixel format than a source has."""
    said = sorted(
        {
            f"{cell.source.label}: {cell.settings.encoder} cannot take {cell.source.geometry.pix_fmt}; reference and "
            f"encode are converted to {cell.settings.score_pix_fmt}"
            for cell in cells
            if cell.settings.score_pix_fmt != cell.source.geometry.pix_fmt
        }
    )
    for line in said:
        session.ui.say(line)


def _described(source: Source) -> dict[str, object]:
    return {"label": source.label, "sha256": source.sha256, "group": source.group,
            "geometry": geometry_facts(source.geometry)}  # fmt: skip


def _sort_out(cells: Sequence[Cell], bench: Bench, session: Session) -> tuple[list[CellEntry], list[Cell]]:
    """Cells that are finished and whole, and those to be made; a damaged one is made again and said."""
    done, missing = [], []
    for cell in cells:
        try:
            rows = shards.finished(bench.folder, cell)
        except Wanting as error:
            session.ui.say(f"Making {cell.name} again: {error.message}")
            rows = None
        if rows is None:
            missing.append(cell)
        else:
            done.append(shards.entry_for(cell, rows))
    if done:
        session.ui.say(f"{len(done)} of {len(cells)} cells are there already")
    return done, missing


def _produce_all(
    cells: Sequence[Cell], bench: Bench, session: Session, *, workers: int
) -> tuple[list[CellEntry], list[FailedCell]]:
    """Make cells, as many at once as there are cores, each family within its own limit; longest first."""
    limits = {cell.encoder.name: threading.BoundedSemaphore(cell.encoder.max_parallel or workers) for cell in cells}

    def make(cell: Cell) -> CellEntry | FailedCell:
        with limits[cell.encoder.name]:
            result = produce(cell, bench)
        return result if isinstance(result, FailedCell) else shards.entry_for(cell, result)

    def cost(cell: Cell) -> float:
        geometry = cell.source.geometry
        return geometry.width * geometry.height * geometry.frames / cell.encoder.megapixels_per_second

    made: list[CellEntry] = []
    failed: list[FailedCell] = []
    with session.ui.progress("Corpus", len(cells), "cells") as advance:
        pool = ThreadPoolExecutor(max_workers=workers)
        waiting = {pool.submit(make, cell): cell for cell in sorted(cells, key=cost, reverse=True)}
        try:
            _gather(waiting, made, failed, advance)
        except BaseException:
            # also Ctrl-C: end what runs, start nothing more, keep what is finished
            for future in waiting:
                future.cancel()
            session.processes.stop()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    return made, failed


def _gather(
    waiting: dict[Future[CellEntry | FailedCell], Cell], made: list[CellEntry], failed: list[FailedCell],
    advance: Callable[[str], None],
) -> None:  # fmt: skip
    rest = set(waiting)
    while rest:
        # a finite wait, so that signals are handled while cells are made
        finished, rest = wait(rest, timeout=0.5, return_when=FIRST_COMPLETED)
        for future in finished:
            result = future.result()
            if isinstance(result, FailedCell):
                failed.append(result)
            else:
                made.append(result)
            advance(waiting[future].name)


def _report(shard: Shard, session: Session) -> None:
    if shard.failed:
        rows = [Row(cells=cell, style="red") for cell in shards.failures_table(shard.failed)]
        session.ui.table("Failed cells", ("cell", "why"), rows)
    session.ui.say(
        f"Corpus: {len(shard.cells)} cells, {shard.rows} rows, {len(shard.sources)} sources, "
        f"{len(shard.failed)} failed cells; corpus.sha256 {shard.corpus_sha256[:12]}"
    )


def load(config: RunConfig, session: Session) -> Shard:
    """The shard an earlier run of this step left.

    Raises:
        Missing: there is none.
        BadInput: it was made for another teacher.
    """
    shard = shards.read_manifest(config.out_dir / layout.CORPUS)
    if shard.teacher != config.teacher:
        raise BadInput(
            f"the corpus has the teacher {shard.teacher}, asked for is {config.teacher}",
            hint="Run `corpus` again, or leave --teacher out.",
        )
    return shard
