"""What a worker offers, and the names of Dask resources that lead a cell to a worker that can make it."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from kit import __version__
from kit.core import contract
from kit.core.canon import sha256_json
from kit.core.values import NO_DEVICE, ReadyEncoder, Scorer, Teacher

#: Under this name a worker's offer stands in what Dask tells of it.
STARTUP = "vmaf_kit"
_SOURCE = "src-"


@dataclass(frozen=True, kw_only=True)
class OfferedEncoder:
    """An encoder of a worker; the same as :class:`kit.core.values.ReadyEncoder` without what is local to its box.

    Attributes:
        anchor_only: there for the anchor; nobody asked for it at every quality point.
    """

    name: str
    family: str
    build: str
    variant: str
    megapixels_per_second: float
    anchor_only: bool

    @property
    def ready(self) -> ReadyEncoder:
        """As a plan takes it; how many run at once is the worker's business."""
        return ReadyEncoder(
            name=self.name,
            family=self.family,
            build=self.build,
            variant=self.variant,
            device=NO_DEVICE,
            max_parallel=None,
            megapixels_per_second=self.megapixels_per_second,
        )


@dataclass(frozen=True, kw_only=True)
class Offer:
    """What one worker can do: the encoders of one family of its box.

    Attributes:
        teacher: its identity, ``{id, sha256}``.
        golden: answers to the golden pairs, pair name to mean VMAF.
        places: cells it makes at once.
        sources: content hashes of the clips in its reference folder.
    """

    box: str
    platform: str
    architecture: str
    kit_version: str
    teacher: Mapping[str, str | None]
    scorer_id: str
    golden: Mapping[str, float]
    encoders: tuple[OfferedEncoder, ...]
    places: int
    sources: frozenset[str]

    def resource(self, encoder: OfferedEncoder) -> str:
        """Name of the resource that stands for an encoder with all that decides numbers besides the source."""
        decides = {
            "name": encoder.name,
            "build": encoder.build,
            "variant": encoder.variant,
            "architecture": self.architecture,
            "teacher": dict(self.teacher),
            "scorer_id": self.scorer_id,
            "kit_version": self.kit_version,
            "feature_set": contract.FEATURE_SET,
            "schema_version": contract.SCHEMA_VERSION,
        }
        return f"{encoder.name}-{sha256_json(decides)[:12]}"

    @property
    def resources(self) -> dict[str, float]:
        """Every resource, each as many times as the worker makes cells at once: none is ever what limits it."""
        names = [self.resource(encoder) for encoder in self.encoders] + [source_resource(s) for s in self.sources]
        return dict.fromkeys(names, float(self.places))

    @property
    def told(self) -> dict[str, object]:
        """As JSON, without the sources, which the resources name."""
        return {name: value for name, value in asdict(self).items() if name != "sources"}


def source_resource(sha256: str) -> str:
    """Name of the resource that stands for a clip by its content."""
    return _SOURCE + sha256


def offers_of(
    *,
    box: str,
    platform_tag: str,
    teacher: Teacher,
    scorer: Scorer,
    encoders: Iterable[ReadyEncoder],
    everywhere: Iterable[str],
    places: int,
    sources: Iterable[str],
) -> dict[str, Offer]:
    """The offers of this box, one a family of encoders, so that a full device holds nothing else up.

    Args:
        everywhere: the encoders that make every quality point; others are there for the anchor.
        places: cells that fit on this box at once.
    """
    by_family: dict[str, list[ReadyEncoder]] = {}
    for encoder in encoders:
        by_family.setdefault(encoder.family, []).append(encoder)
    names, held = frozenset(everywhere), frozenset(sources)
    return {
        family: Offer(
            box=box,
            platform=platform_tag,
            architecture=platform.machine(),
            kit_version=__version__,
            teacher=teacher.identity,
            scorer_id=scorer.id,
            golden=scorer.golden,
            encoders=tuple(
                OfferedEncoder(
                    name=encoder.name,
                    family=family,
                    build=encoder.build,
                    variant=encoder.variant,
                    megapixels_per_second=encoder.megapixels_per_second,
                    anchor_only=encoder.name not in names,
                )
                for encoder in members
            ),
            places=min(places, *(encoder.max_parallel or places for encoder in members)),
            sources=held,
        )
        for family, members in by_family.items()
    }


def read(worker: Mapping[str, Any]) -> Offer | None:
    """The offer in what Dask tells of a worker; None for a worker that is none of the kit's, or of another version."""
    try:
        told = worker[STARTUP]
        sources = [name.removeprefix(_SOURCE) for name in worker["resources"] if name.startswith(_SOURCE)]
        encoders = tuple(OfferedEncoder(**encoder) for encoder in told["encoders"])
        return Offer(**{**told, "encoders": encoders, "sources": frozenset(sources)})
    except (KeyError, TypeError):
        return None
