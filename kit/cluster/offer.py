"""The offer of a worker, and the Dask resources by which a cell reaches a worker that can make it."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from kit import __version__
from kit.core import contract
from kit.core.canon import sha256_json
from kit.core.values import NO_DEVICE, ReadyEncoder, Scorer, Teacher

#: Key of a worker's offer in the information that Dask gives about the worker.
STARTUP = "vmaf_kit"
_SOURCE = "src-"


@dataclass(frozen=True, kw_only=True)
class OfferedEncoder:
    """An encoder of a worker: a :class:`kit.core.values.ReadyEncoder` without what is local to its box.

    Attributes:
        anchor_only: offered for the anchor only, not for every quality point.
    """

    name: str
    family: str
    build: str
    variant: str
    megapixels_per_second: float
    anchor_only: bool

    @property
    def ready(self) -> ReadyEncoder:
        """The encoder for a plan; the worker limits how many run at once."""
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
    """The abilities of one worker: the encoders of one family of its box.

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
        """Return the resource of an encoder, named by everything that decides numbers except the source."""
        deciding = {
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
        return f"{encoder.name}-{sha256_json(deciding)[:12]}"

    @property
    def resources(self) -> dict[str, float]:
        """All resources, each as often as the worker makes cells at once, so that none of them is a limit."""
        names = [self.resource(encoder) for encoder in self.encoders] + [source_resource(s) for s in self.sources]
        return dict.fromkeys(names, float(self.places))

    @property
    def as_json(self) -> dict[str, object]:
        """The offer as JSON, without the sources, which the resources name."""
        return {name: value for name, value in asdict(self).items() if name != "sources"}


def source_resource(sha256: str) -> str:
    """Return the resource of a clip, named by its content."""
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
    """Return the offers of this box, one per family of encoders, so that a full device delays no other family.

    Args:
        everywhere: the encoders that make every quality point; others are offered for the anchor only.
        places: cells that this box can make at once.
    """
    by_family: dict[str, list[ReadyEncoder]] = {}
    for encoder in encoders:
        by_family.setdefault(encoder.family, []).append(encoder)
    full, available = frozenset(everywhere), frozenset(sources)
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
                    anchor_only=encoder.name not in full,
                )
                for encoder in members
            ),
            places=min(places, *(encoder.max_parallel or places for encoder in members)),
            sources=available,
        )
        for family, members in by_family.items()
    }


def read(worker: Mapping[str, Any]) -> Offer | None:
    """Return a worker's offer; None for a worker that is not the kit's, or of an incompatible version.

    Args:
        worker: the information that Dask gives about it.
    """
    try:
        value = worker[STARTUP]
        sources = [name.removeprefix(_SOURCE) for name in worker["resources"] if name.startswith(_SOURCE)]
        encoders = tuple(OfferedEncoder(**encoder) for encoder in value["encoders"])
        return Offer(**{**value, "encoders": encoders, "sources": frozenset(sources)})
    except (KeyError, TypeError):
        return None
