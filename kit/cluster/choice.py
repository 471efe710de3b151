"""Choose which of the workers' offers a run uses, and plan its cells. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kit import __version__
from kit.cluster.offer import Offer, OfferedEncoder, source_resource
from kit.core import contract
from kit.core.values import Cell, Scorer, Source, Teacher
from kit.corpus.plan import plan_cells, quality_points
from kit.platforms.registry import settings_for


@dataclass(frozen=True, kw_only=True)
class Choice:
    """An encoder of one build on one architecture; any other makes other cells.

    Attributes:
        resource: name of the Dask resource of the workers that have exactly this.
    """

    encoder: OfferedEncoder
    architecture: str
    resource: str


def objection(offer: Offer, *, scorer: Scorer, teacher: Teacher) -> str:
    """Return why a worker cannot be used by this box's run; empty if it can."""
    if offer.kit_version != __version__:
        return f"kit version differs: worker {offer.kit_version}, this box {__version__}"
    if offer.scorer_id != scorer.id:
        return f"scorer differs: worker {offer.scorer_id}, this box {scorer.id}"
    if offer.teacher != teacher.identity:
        theirs = offer.teacher["id"] or f"a file with SHA-256 {str(offer.teacher['sha256'])[:12]}"
        return f"teacher differs: worker {theirs}, this box {teacher}"
    return ""


def choose(offers: Sequence[Offer], sources: Sequence[Source]) -> dict[str, Choice]:
    """Return the build that a run uses for each offered encoder, in the order of the vocabulary.

    Of several builds, the one whose workers have most sources wins, then the one with most slots, then the first by
    name: the same workers give the same choice.
    """
    wanted = frozenset(source.sha256 for source in sources)
    choices: dict[str, Choice] = {}
    available: dict[str, frozenset[str]] = {}
    slots: dict[str, int] = {}
    for offer in offers:
        for encoder in offer.encoders:
            name = offer.resource(encoder)
            choices.setdefault(name, Choice(encoder=encoder, architecture=offer.architecture, resource=name))
            available[name] = available.get(name, frozenset()) | (offer.sources & wanted)
            slots[name] = slots.get(name, 0) + offer.places
    best: dict[str, Choice] = {}
    for name in sorted(choices, key=lambda name: (-len(available[name]), -slots[name], name)):
        best.setdefault(choices[name].encoder.name, choices[name])
    return {name: best[name] for name in contract.ENCODER_VOCAB if name in best}


def points(offers: Sequence[Offer], cqs: Sequence[int], *, anchor: bool) -> tuple[tuple[str, int], ...]:
    """Return (encoder, cq) of every encode of one source: encoders offered for more than the anchor, and the anchor."""
    names = {encoder.name for offer in offers for encoder in offer.encoders if not encoder.anchor_only}
    return quality_points([name for name in contract.ENCODER_VOCAB if name in names], cqs, anchor=anchor)


def plan(
    choices: Mapping[str, Choice],
    wanted: Sequence[tuple[str, int]],
    sources: Sequence[Source],
    *,
    teacher: Teacher,
    scorer: Scorer,
) -> tuple[Cell, ...]:
    """Return every cell of the run, each with the key that it has on the boxes that make it."""
    cells: list[Cell] = []
    for name, choice in choices.items():
        cells += plan_cells(
            sources,
            [point for point in wanted if point[0] == name],
            encoders=[choice.encoder.ready],
            settings_for=settings_for,
            architecture=choice.architecture,
            teacher=teacher,
            scorer_id=scorer.id,
        )
    return tuple(cells)


def needs(cell: Cell, choices: Mapping[str, Choice]) -> dict[str, float]:
    """Return the Dask resources of the workers that can make a cell."""
    return {choices[cell.encoder.name].resource: 1.0, source_resource(cell.source.sha256): 1.0}
