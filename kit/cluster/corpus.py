"""Make the cells of a corpus with workers: collect offers, submit cells, check and store the results."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from kit.cluster import choice, reply
from kit.cluster.choice import Choice
from kit.cluster.client import Cluster
from kit.cluster.maker import CellRequest
from kit.cluster.offer import Offer
from kit.core.errors import CheckFailed, DiskFull, PrerequisiteFailed
from kit.core.values import Cell, Source
from kit.corpus.make.diskwait import DiskWait, bytes_needed
from kit.corpus.make.produce import Bench
from kit.corpus.make.tally import Tally
from kit.corpus.store.shard import CellEntry, FailedCell, cell_path, entry_for, write_cell
from kit.options.resolve import RunConfig
from kit.options.session import Session
from kit.prereqs.report import Prereqs
from kit.system.fsio import NO_ROOM
from kit.system.ui import Row, duration

#: Seconds between two checks for results, and for workers that have started or stopped.
_POLL, _POLL_WORKERS = 0.2, 2.0


@dataclass(frozen=True, kw_only=True)
class ClusterPlan:
    """The cells of a run and the encoder builds that make them."""

    cells: tuple[Cell, ...]
    choices: Mapping[str, Choice]


def plan(
    config: RunConfig, previous: Prereqs, sources: Sequence[Source], cluster: Cluster, session: Session
) -> ClusterPlan:
    """Plan with the offers of the current workers; workers that join later are used if they offer the same.

    Raises:
        PrerequisiteFailed: no usable worker, no worker with the anchor's encoder, or one whose golden answers differ.
    """
    offers = _usable(config, previous, cluster, session)
    for offer in offers:
        reply.check_golden(offer.box, offer.golden, previous.scorer.golden)
    choices = choice.choose(offers, sources)
    points = choice.points(offers, config.cqs, anchor=config.anchor)
    names = {name for name, _ in points}
    if missing := names - choices.keys():
        raise PrerequisiteFailed(
            f"no worker offers {', '.join(missing)}, which the anchor needs",
            hint="Start a worker without --no-anchor, or give --no-anchor here too.",
        )
    used = {name: choices[name] for name in choices if name in names}
    _say_choices(used, offers, session)
    cells = choice.plan(used, points, sources, teacher=previous.teacher, scorer=previous.scorer)
    return ClusterPlan(cells=cells, choices=used)


def _usable(config: RunConfig, previous: Prereqs, cluster: Cluster, session: Session) -> list[Offer]:
    """Wait for a usable worker and return all usable offers."""
    end, waited = time.monotonic() + config.worker_wait, False
    while True:
        offers, others = cluster.workers()
        objections = {
            address: choice.objection(offer, scorer=previous.scorer, teacher=previous.teacher)
            for address, offer in offers.items()
        }
        usable = [offer for address, offer in offers.items() if not objections[address]]
        if usable or time.monotonic() >= end:
            break
        if not waited:
            session.ui.say(f"Waiting for a worker, {duration(config.worker_wait)} at most.")
            waited = True
        session.processes.pause(_POLL)
    _show(offers, objections, others, session)
    if not usable:
        reason = f"{len(offers)} workers, none usable" if offers else "no worker"
        raise PrerequisiteFailed(
            f"cells cannot be made: {reason}", hint='Start `kit worker` on the boxes that work; wait for "Ready".'
        )
    return usable


def _show(offers: Mapping[str, Offer], objections: Mapping[str, str], others: int, session: Session) -> None:
    rows = sorted(
        (
            Row(
                cells=(
                    offer.box,
                    offer.architecture,
                    ", ".join(encoder.name for encoder in offer.encoders),
                    str(offer.places),
                    str(len(offer.sources)),
                    objections[address] and f"not used: {objections[address]}",
                ),
                style="yellow" if objections[address] else "",
            )
            for address, offer in offers.items()
        ),
        key=lambda row: row.cells,
    )
    session.ui.table("Workers", ("box", "processor", "encoders", "at once", "clips", ""), rows)
    if others:
        session.ui.say(f"Not used: {others} workers that are not the kit's, or of another version.")


def _say_choices(choices: Mapping[str, Choice], offers: Sequence[Offer], session: Session) -> None:
    """Show which build is used of an encoder that is offered in several."""
    for name, chosen in choices.items():
        builds = {
            offer.resource(encoder): f"{encoder.build} on {offer.architecture}"
            for offer in offers
            for encoder in offer.encoders
            if encoder.name == name
        }
        if len(builds) > 1:
            others = ", ".join(sorted(build for resource, build in builds.items() if resource != chosen.resource))
            session.ui.say(f"{name}: {builds[chosen.resource]} makes all cells, not {others}")


def make(
    missing: Sequence[Cell],
    bench: Bench,
    disk: DiskWait,
    *,
    plan: ClusterPlan,
    cluster: Cluster,
    cost: Callable[[Cell], float],
    patience: float,
    golden: Mapping[str, float],
    session: Session,
) -> tuple[list[CellEntry], list[FailedCell]]:
    """Have cells made, the longest first, and store each as it comes back.

    Args:
        cost: seconds that a cell may take, roughly.
        patience: seconds to wait if no worker can make any of the remaining cells.
        golden: this box's answers to the golden pairs.

    Raises:
        DiskFull: no space, and none in time.
        PrerequisiteFailed: the scheduler has stopped, or a worker's golden answers differ.
    """
    for cell in missing:
        cluster.submit(cell, _request(cell, bench), choice.needs(cell, plan.choices), cost(cell))
    tally, unmakeable = Tally(missing, cost), _Unmakeable(patience, session)
    results: list[CellEntry | FailedCell] = []
    with session.ui.gauge("Corpus") as show:
        while cluster.waiting:
            for cell, result in cluster.results():
                results.append(_store(cell, result, bench, disk, golden))
                tally.finish(cell)
            for cell, reason in unmakeable.cancel(cluster):
                results.append(FailedCell.of(cell, reason))
                tally.finish(cell)
            show(*tally.progress())
            session.processes.pause(_POLL)
    made = [result for result in results if isinstance(result, CellEntry)]
    return made, [result for result in results if isinstance(result, FailedCell)]


def _request(cell: Cell, bench: Bench) -> CellRequest:
    return CellRequest(
        key=cell.key,
        src_sha256=cell.source.sha256,
        encoder=cell.settings.encoder,
        cq=cell.settings.cq,
        label=cell.source.label,
        group=cell.source.group,
        corpus=bench.corpus,
        stall_timeout=bench.stall_timeout,
    )


def _store(
    cell: Cell, result: Any, bench: Bench, disk: DiskWait, golden: Mapping[str, float]
) -> CellEntry | FailedCell:
    """Check and write what a worker sent back."""
    if isinstance(result, Exception):
        return FailedCell.of(cell, bench.processes.redact(f"no worker could make it: {result}"))
    if "failed" in result:
        return reply.reported_failure(result["failed"], cell)
    try:
        rows, observation = reply.check_cell(result, cell, bench.corpus)
    except CheckFailed as error:
        return FailedCell.of(cell, error.message)
    reply.check_golden(observation["box"], result["golden"], golden)
    full: DiskFull | None = None
    while True:
        disk.wait_for(bytes_needed(cell), after=full)
        try:
            write_cell(bench.folder, cell_path(cell), rows, [observation])
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            full = DiskFull(f"the disk filled up at {cell.id}")
        else:
            return entry_for(cell, rows)


class _Unmakeable:
    """Cancels cells that no current worker can make.

    They wait while other cells are being made, since a lost box may come back. When no other cell is left, they are
    cancelled after ``patience`` seconds.
    """

    def __init__(self, patience: float, session: Session) -> None:
        self._patience, self._say = patience, session.ui.say
        self._next = 0.0
        self._alone_since: float | None = None
        self._shown: set[str] = set()

    def cancel(self, cluster: Cluster) -> list[tuple[Cell, str]]:
        """Cancel cells that have waited too long, and return them, each with the reason."""
        now = time.monotonic()
        if now < self._next:
            return []
        self._next = now + _POLL_WORKERS
        waiting, offered = cluster.waiting, [offer.resources.keys() for offer in cluster.workers()[0].values()]
        unmakeable = {
            key: (cell, _missing_resource(cell, needs, offered))
            for key, (cell, needs) in waiting.items()
            if not any(needs.keys() <= names for names in offered)
        }
        reasons = Counter(reason for _, reason in unmakeable.values())
        for reason in reasons.keys() - self._shown:
            self._say(f"Waiting: {reason} ({reasons[reason]} cells)")
        self._shown = set(reasons)
        if len(unmakeable) < len(waiting) or not unmakeable:
            self._alone_since = None
            return []
        if self._alone_since is None:
            self._alone_since = now
        if now - self._alone_since < self._patience:
            return []
        cluster.cancel(list(unmakeable))
        return list(unmakeable.values())


def _missing_resource(cell: Cell, needs: Mapping[str, float], offered: Sequence[Set[str]]) -> str:
    """Return what no worker has for a cell."""
    encoder, _ = needs
    if any(encoder in names for names in offered):
        return f"no worker that offers {cell.encoder.name} has the clip {cell.source.label}"
    return f"no worker offers {cell.encoder.name} as {cell.encoder.build}"
