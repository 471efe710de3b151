"""Step 2: encode and score every cell of the plan, and write a shard with its manifest."""

from __future__ import annotations

import contextlib
import logging
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial

from kit.cluster.security import link
from kit.core import layout
from kit.core.errors import BadInput
from kit.core.geometry import largest_frame
from kit.core.values import Cell, Source
from kit.corpus.make import resume
from kit.corpus.make.attempts import produce_with_retries
from kit.corpus.make.diskwait import DiskWait
from kit.corpus.make.produce import Bench, geometry_facts
from kit.corpus.make.schedule import Schedule
from kit.corpus.make.tally import Tally
from kit.corpus.plan import cells_at_once, plan_cells
from kit.corpus.store import alike, planned
from kit.corpus.store import shard as shards
from kit.corpus.store.boxes import BoxCounts
from kit.corpus.store.shard import Box, CellEntry, FailedCell, Shard
from kit.options.resolve import RunConfig
from kit.options.session import Session
from kit.platforms.registry import family_of, settings_for
from kit.prereqs.examine import identify
from kit.prereqs.report import Prereqs
from kit.system.pool import run_many
from kit.system.ui import Row, duration
from kit.video.scorers import teachers
from kit.video.sources.demo import demo_clips

NAME = "corpus"
#: Makes cells with a bench and waits for disk space.
ProduceAll = Callable[[Sequence[Cell], Bench, DiskWait], tuple[list[CellEntry], list[FailedCell]]]
log = logging.getLogger(__name__)
#: Number of slowest cells that are shown at the end.
_SLOWEST = 3


def run(config: RunConfig, previous: Prereqs, session: Session) -> Shard:
    """Make the cells that are not finished yet and write the manifest.

    A cell that fails is listed with its reason; the others continue.

    Raises:
        Several: clips that cannot be decoded, or two with the same content.
        DiskFull: the disk is full; finished cells are kept.
    """
    folder = config.out_dir / layout.CORPUS
    folder.mkdir(parents=True, exist_ok=True)
    sources = identify(previous, session)
    described = tuple(_describe(source) for source in sources)
    for line in alike.lines(alike.compared(described)):
        session.ui.say(line)
    bench = previous.bench(config, session, folder)
    disk = DiskWait(folder, say=session.ui.say, pause=session.processes.pause, patience=config.disk_wait)
    with _maker(config, previous, sources, session) as (cells, produce_all):
        report_conversions(cells, session)
        planned.write(folder, cells, elsewhere=config.scheduler is not None)
        done, missing = _split_plan(cells, bench, session)
        made, failed = produce_all(missing, bench, disk) if missing else ([], [])
    shard = Shard(
        folder=folder,
        boxes=(),
        demo=config.demo or bool(demo_clips(source.sha256 for source in sources)),
        teacher=previous.teacher,
        sources=described,
        cells=tuple(done + made),
        failed=tuple(failed),
        allow_partial=config.allow_partial,
    )
    shard = replace(shard, boxes=_boxes(shard, config, previous, cells))
    shards.write_manifest(shard)
    _report(shard, session)
    return shard


def _boxes(shard: Shard, config: RunConfig, previous: Prereqs, cells: Sequence[Cell]) -> tuple[Box, ...]:
    """Return this box and the others that made cells: workers of a cluster, or this box under an earlier name."""
    builds = {cell.encoder.name: cell.encoder.build for cell in cells}
    counts = BoxCounts()
    counts.add_box((config.box, previous.platform.tag), [asdict(previous.scorer)])
    for entry in shard.cells:
        counts.add_cell(entry, builds[entry.encoder], shards.observations(shard, entry))
    return counts.boxes()


@contextlib.contextmanager
def _maker(
    config: RunConfig, previous: Prereqs, sources: Sequence[Source], session: Session
) -> Iterator[tuple[Sequence[Cell], ProduceAll]]:
    """Give the cells of the run and the function that makes them: on this box, or on the workers of a scheduler."""
    scheduler = link(config)
    if scheduler is None:
        yield plan(config, previous, sources), partial(_produce_all, session=session, previous=previous)
        return
    # late: the import of Dask takes half a second
    from kit.cluster import corpus as cluster_corpus
    from kit.cluster.client import connected

    with connected(scheduler) as cluster:
        cluster_plan = cluster_corpus.plan(config, previous, sources, cluster, session)
        yield (
            cluster_plan.cells,
            partial(
                cluster_corpus.make,
                plan=cluster_plan,
                cluster=cluster,
                cost=_cost,
                patience=config.worker_wait,
                golden=previous.scorer.golden,
                session=session,
            ),
        )


def plan(config: RunConfig, previous: Prereqs, sources: Sequence[Source]) -> tuple[Cell, ...]:
    """Return the cells of a run on this box."""
    return plan_cells(
        sources,
        previous.points,
        encoders=previous.encoders,
        settings_for=settings_for,
        architecture=platform.machine(),
        teacher=previous.teacher,
        scorer_id=previous.scorer.id,
    )


def report_conversions(cells: Sequence[Cell], session: Session) -> None:
    """Show which encoders get another pixel format than a source has."""
    lines = sorted(
        {
            f"{cell.source.label}: {cell.settings.encoder} cannot take {cell.source.geometry.pix_fmt}; reference and "
            f"encode are converted to {cell.settings.score_pix_fmt}"
            for cell in cells
            if cell.settings.score_pix_fmt != cell.source.geometry.pix_fmt
        }
    )
    for line in lines:
        session.ui.say(line)


def _describe(source: Source) -> dict[str, object]:
    return {
        "label": source.label,
        "sha256": source.sha256,
        "group": source.group,
        "geometry": geometry_facts(source.geometry),
        **({"fingerprint": dict(source.fingerprint)} if source.fingerprint else {}),
    }


def _split_plan(cells: Sequence[Cell], bench: Bench, session: Session) -> tuple[list[CellEntry], list[Cell]]:
    """Split the plan into finished cells and cells to make; show why some are made again."""
    done, missing = resume.split_plan(cells, bench.folder)
    again: dict[str, list[str]] = {}
    for cell, reason in missing:
        again.setdefault(reason, []).append(str(cell.id))
    for reason, names in again.items():
        log.debug("to be made%s: %s", f" again, {reason}" if reason else "", ", ".join(names))
        if reason:
            which = names[0] if len(names) == 1 else f"{len(names)} cells ({names[0]} to {names[-1]})"
            session.ui.say(f"Making {which} again: {reason}")
    if done:
        session.ui.say(f"{len(done)} of {len(cells)} cells are already finished")
    return done, [cell for cell, _ in missing]


def _produce_all(
    cells: Sequence[Cell], bench: Bench, disk: DiskWait, *, session: Session, previous: Prereqs
) -> tuple[list[CellEntry], list[FailedCell]]:
    """Make cells on this box, the longest first, each family of encoders within its limit."""
    facts, largest = previous.facts, largest_frame(previous.files)
    workers = cells_at_once(cores=facts.cores, memory_bytes=facts.memory_bytes, largest_frame=largest)
    limits = {cell.encoder.family: cell.encoder.max_parallel for cell in cells}
    schedule = Schedule(cells, cost=_cost, limits=limits, workers=workers, cores=facts.cores)
    expected, tally = schedule.limits, Tally(cells, _cost)
    bench = replace(bench, tally=tally)

    def make(_turn: int) -> CellEntry | FailedCell:
        with schedule.take() as slot:
            cell = slot.cell
            result = produce_with_retries(slot, bench, family_of(cell.encoder.name).busy, disk=disk)
        tally.finish(cell)
        return result if isinstance(result, FailedCell) else shards.entry_for(cell, result)

    with session.ui.gauge("Corpus") as show:
        results = run_many(
            make, range(len(cells)), workers=workers, stop=session.processes.stop, tick=lambda: show(*tally.progress())
        )
    for family, limit in schedule.limits.items():
        if limit < expected[family]:
            session.ui.say(f"{family}: the device accepted {limit} encodes at once, expected {expected[family]}")
    slowest = ", ".join(f"{name} {duration(seconds)}" for seconds, name in tally.slowest(_SLOWEST))
    session.ui.say(f"Slowest: {slowest}")
    made = [result for result in results if isinstance(result, CellEntry)]
    return made, [result for result in results if isinstance(result, FailedCell)]


def _cost(cell: Cell) -> float:
    """Return the seconds that a cell may take, from the probe's speed; used to order and weigh cells only."""
    geometry = cell.source.geometry
    return geometry.width * geometry.height * geometry.frames / 1e6 / cell.encoder.megapixels_per_second


def _report(shard: Shard, session: Session) -> None:
    if shard.failed:
        rows = [Row(cells=(str(cell.id), str(cell.tries), cell.short_reason), style="red") for cell in shard.failed]
        session.ui.table("Failed cells", ("cell", "tries", "reason"), rows)
    session.ui.say(f"Corpus: {shard.totals}")
    if shard.unwaived:
        session.ui.say(
            "The corpus is incomplete. The same command tries the failed cells again; "
            "add --allow-partial to continue without those that fail."
        )
    elif shard.failed:
        session.ui.say("The failed cells are waived (--allow-partial): the corpus counts as complete without them.")


def load(config: RunConfig, session: Session) -> Shard:
    """Return the shard that an earlier run of this step wrote.

    Raises:
        Missing: no shard.
        BadInput: it has another teacher.
    """
    shard = shards.read_manifest(config.out_dir / layout.CORPUS)
    teacher = teachers.resolve(config.teacher)
    if shard.teacher is None:
        session.ui.say(f"The corpus names no teacher; {teacher} is assumed.")
    elif shard.teacher.identity != teacher.identity and config.origins["teacher"] != "default":
        raise BadInput(
            f"teachers differ: the corpus has {shard.teacher}; requested {teacher}",
            hint="Run `prereqs` and `corpus` again, or leave --teacher out.",
        )
    return shard
