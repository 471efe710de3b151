"""The cells of a corpus, made by workers: what they offer, what is asked of them, and what is kept."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from kit.cluster import choice, reply
from kit.cluster.choice import Choice
from kit.cluster.client import Cluster
from kit.cluster.maker import Job
from kit.cluster.offer import Offer
from kit.core.errors import CheckFailed, DiskFull, PrerequisiteFailed
from kit.core.values import Cell, Source
from kit.corpus.make.diskwait import DiskWait, need
from kit.corpus.make.keep import keep
from kit.corpus.make.produce import Bench
from kit.corpus.make.tally import Tally
from kit.corpus.store.shard import CellEntry, FailedCell, cell_path, entry_for
from kit.options.resolve import RunConfig
from kit.options.session import Session
from kit.prereqs.report import Prereqs
from kit.system.fsio import NO_ROOM
from kit.system.ui import Row, duration

#: Seconds between two looks for results, and for workers that have come or gone.
_LOOK, _ASK = 0.2, 2.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The cells of a run and who may make them."""

    cells: tuple[Cell, ...]
    choices: Mapping[str, Choice]


def plan(config: RunConfig, previous: Prereqs, sources: Sequence[Source], cluster: Cluster, session: Session) -> Plan:
    """Plan with what the workers offer that are there now; those that join later are used if they offer the same.

    Raises:
        PrerequisiteFailed: no worker can be used, none has the anchor's encoder, or one scores otherwise.
    """
    offers = _usable(config, previous, cluster, session)
    for offer in offers:
        reply.check_golden(offer.box, offer.golden, previous.scorer.golden)
    choices = choice.choose(offers, sources)
    wanted = choice.points(offers, config.cqs, anchor=config.anchor)
    if lacking := {name for name, _ in wanted} - choices.keys():
        raise PrerequisiteFailed(
            f"no worker offers {', '.join(lacking)}, which the anchor needs",
            hint="Start a worker without --no-anchor, or give --no-anchor here too.",
        )
    used = {name: choices[name] for name in choices if name in {name for name, _ in wanted}}
    _say_choices(used, offers, session)
    cells = choice.plan(used, wanted, sources, teacher=previous.teacher, scorer=previous.scorer)
    return Plan(cells=cells, choices=used)


def _usable(config: RunConfig, previous: Prereqs, cluster: Cluster, session: Session) -> list[Offer]:
    """The offers that can be used, as soon as there is one."""
    end, said = time.monotonic() + config.worker_wait, False
    while True:
        found, others = cluster.workers()
        why = {
            address: choice.objection(offer, scorer=previous.scorer, teacher=previous.teacher)
            for address, offer in found.items()
        }
        usable = [offer for address, offer in found.items() if not why[address]]
        if usable or time.monotonic() >= end:
            break
        if not said:
            session.ui.say(f"Waiting for a worker, {duration(config.worker_wait)} at most.")
            said = True
        session.processes.pause(_LOOK)
    _show(found, why, others, session)
    if not usable:
        there = f"{len(found)} workers are there, none can be used" if found else "no worker is there"
        raise PrerequisiteFailed(there, hint='Start `kit worker` on the boxes that are to work; wait for "Ready".')
    return usable


def _show(found: Mapping[str, Offer], why: Mapping[str, str], others: int, session: Session) -> None:
    rows = sorted(
        (
            Row(
                cells=(
                    offer.box,
                    offer.architecture,
                    ", ".join(encoder.name for encoder in offer.encoders),
                    str(offer.places),
                    str(len(offer.sources)),
                    why[address] and f"not used: {why[address]}",
                ),
                style="yellow" if why[address] else "",
            )
            for address, offer in found.items()
        ),
        key=lambda row: row.cells,
    )
    session.ui.table("Workers", ("box", "processor", "encoders", "at once", "clips", ""), rows)
    if others:
        session.ui.say(f"{others} workers of the scheduler are none of this kit, or of another version; not used.")


def _say_choices(choices: Mapping[str, Choice], offers: Sequence[Offer], session: Session) -> None:
    """Say of an encoder that is offered in several builds which one is used."""
    for name, chosen in choices.items():
        builds = {
            offer.resource(encoder): f"{encoder.build} on {offer.architecture}"
            for offer in offers
            for encoder in offer.encoders
            if encoder.name == name
        }
        if len(builds) > 1:
            rest = ", ".join(sorted(words for resource, words in builds.items() if resource != chosen.resource))
            session.ui.say(f"{name}: {builds[chosen.resource]} is used throughout, not {rest}")


def make(
    missing: Sequence[Cell],
    bench: Bench,
    disk: DiskWait,
    *,
    plan: Plan,
    cluster: Cluster,
    cost: Callable[[Cell], float],
    patience: float,
    golden: Mapping[str, float],
    session: Session,
) -> tuple[list[CellEntry], list[FailedCell]]:
    """Have cells made, the longest first, and keep each as it comes.

    Args:
        cost: seconds that a cell may take, roughly.
        patience: seconds to wait when no worker is there for any of the cells that are left.
        golden: this box's answers to the golden pairs.

    Raises:
        DiskFull: there is no room and came none.
        PrerequisiteFailed: the scheduler has gone, or a worker scores otherwise.
    """
    for cell in missing:
        cluster.ask(cell, _job(cell, bench), choice.needs(cell, plan.choices), cost(cell))
    tally, absent = Tally(missing, cost), _Absent(patience, session)
    results: list[CellEntry | FailedCell] = []
    with session.ui.gauge("Corpus") as show:
        while cluster.waiting:
            for cell, came in cluster.came():
                results.append(_kept(cell, came, bench, disk, golden))
                tally.ended(cell)
            for cell, reason in absent.given_up(cluster):
                results.append(reply.failed(cell, reason))
                tally.ended(cell)
            show(*tally.look())
            session.processes.pause(_LOOK)
    made = [result for result in results if isinstance(result, CellEntry)]
    return made, [result for result in results if isinstance(result, FailedCell)]


def _job(cell: Cell, bench: Bench) -> Job:
    return Job(
        key=cell.key,
        src_sha256=cell.source.sha256,
        encoder=cell.settings.encoder,
        cq=cell.settings.cq,
        label=cell.source.label,
        group=cell.source.group,
        corpus=bench.corpus,
        stall_timeout=bench.stall_timeout,
    )


def _kept(cell: Cell, came: Any, bench: Bench, disk: DiskWait, golden: Mapping[str, float]) -> CellEntry | FailedCell:
    """Check and write what came back."""
    if isinstance(came, Exception):
        return reply.failed(cell, bench.processes.redact(f"no worker could make it: {came}"))
    if "failed" in came:
        return reply.failure_of(came["failed"], cell)
    try:
        rows, observation = reply.rows_of(came, cell, bench.corpus)
    except CheckFailed as error:
        return reply.failed(cell, error.message)
    reply.check_golden(observation["box"], came["golden"], golden)
    full: DiskFull | None = None
    while True:
        disk.hold(need(cell), after=full)
        try:
            keep(bench.folder, cell_path(cell), rows, [observation])
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            full = DiskFull(f"the disk filled up at {cell.id}")
        else:
            return entry_for(cell, rows)


class _Absent:
    """Notices cells that none of the workers can make.

    While others are being made they wait, since a box that was lost may come back; when nothing else is left they are
    given up after ``patience`` seconds.
    """

    def __init__(self, patience: float, session: Session) -> None:
        self._patience, self._say = patience, session.ui.say
        self._next = 0.0
        self._alone_since: float | None = None
        self._told: set[str] = set()

    def given_up(self, cluster: Cluster) -> list[tuple[Cell, str]]:
        """The cells that are no longer waited for, each with the reason; they are called off."""
        now = time.monotonic()
        if now < self._next:
            return []
        self._next = now + _ASK
        waiting, offered = cluster.waiting, [offer.resources.keys() for offer in cluster.workers()[0].values()]
        absent = {
            key: (cell, _lacking(cell, needs, offered))
            for key, (cell, needs) in waiting.items()
            if not any(needs.keys() <= names for names in offered)
        }
        reasons = Counter(reason for _, reason in absent.values())
        for reason in reasons.keys() - self._told:
            self._say(f"Waiting: {reason} ({reasons[reason]} cells)")
        self._told = set(reasons)
        if len(absent) < len(waiting) or not absent:
            self._alone_since = None
            return []
        if self._alone_since is None:
            self._alone_since = now
        if now - self._alone_since < self._patience:
            return []
        cluster.forget(list(absent))
        return list(absent.values())


def _lacking(cell: Cell, needs: Mapping[str, float], offered: Sequence[Set[str]]) -> str:
    """What is missing for a cell, in words."""
    encoder, _ = needs
    if any(encoder in names for names in offered):
        return f"no worker that offers {cell.encoder.name} holds {cell.source.label}"
    return f"no worker offers {cell.encoder.name} as {cell.encoder.build}"
