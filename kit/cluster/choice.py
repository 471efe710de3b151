"""Which of the workers' offers a run uses, and its cells. Pure."""

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
    """One encoder as one build on one architecture: who differs in that makes other cells.

    Attributes:
        resource: name of the Dask resource of the workers that have exactly this.
    """

    encoder: OfferedEncoder
    architecture: str
    resource: str


def objection(offer: Offer, *, scorer: Scorer, teacher: Teacher) -> str:
    """Why a worker cannot be used by this box's run; empty if it can."""
    if offer.kit_version != __version__:
        return f"it has version {offer.kit_version} of the kit, here is {__version__}"
    if offer.scorer_id != scorer.id:
        return f"its scorer is {offer.scorer_id}, here it is {scorer.id}"
    if offer.teacher != teacher.identity:
        theirs = offer.teacher["id"] or f"a file with SHA-256 {str(offer.teacher['sha256'])[:12]}"
        return f"its teacher is {theirs}, here it is {teacher}"
    return ""


def choose(offers: Sequence[Offer], sources: Sequence[Source]) -> dict[str, Choice]:
    """For each encoder that is offered the build that a run uses throughout, in the order of the vocabulary.

    Of several it is the one whose workers hold most of the sources, then the one with most places, then the first by
    name: the same workers give the same choice.
    """
    wanted = frozenset(source.sha256 for source in sources)
    found: dict[str, Choice] = {}
    held: dict[str, frozenset[str]] = {}
    places: dict[str, int] = {}
    for offer in offers:
        for encoder in offer.encoders:
            name = offer.resource(encoder)
            found.setdefault(name, Choice(encoder=encoder, architecture=offer.architecture, resource=name))
            held[name] = held.get(name, frozenset()) | (offer.sources & wanted)
            places[name] = places.get(name, 0) + offer.places
    ranked = sorted(found, key=lambda name: (-len(held[name]), -places[name], name))
    best: dict[str, Choice] = {}
    for name in ranked:
        best.setdefault(found[name].encoder.name, found[name])
    return {name: best[name] for name in contract.ENCODER_VOCAB if name in best}


def points(offers: Sequence[Offer], cqs: Sequence[int], *, anchor: bool) -> tuple[tuple[str, int], ...]:
    """(encoder, cq) of every encode of one source: encoders that are offered for more than the anchor, and that."""
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
    """Every cell of the run, each with the key that it has on the boxes that make it."""
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
    """The Dask resources that lead a cell to the workers that can make it."""
    return {choices[cell.encoder.name].resource: 1.0, source_resource(cell.source.sha256): 1.0}
