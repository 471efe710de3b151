"""Labels and groups of the sources of several shards, by a rule that any order and grouping of merges obeys.

Everything the rule looks at is a set that a merged shard carries on: the labels a source was given anywhere, the names
of its group, and which sources share a group. Sets only grow, so it does not matter what is united first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kit.core.errors import CheckFailed
from kit.core.graph import components
from kit.corpus.store.shard import Shard


@dataclass(kw_only=True)
class _Known:
    """What all inputs tell of a source."""

    sha256: str | None
    labels: set[str] = field(default_factory=set)
    groups: set[str] = field(default_factory=set)
    geometry: Any = None


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """Identity of each source (as ``CellEntry.source_id``) to its label and its group; what the manifest says of it."""

    label: Mapping[str, str]
    group: Mapping[str, str]
    sources: tuple[Mapping[str, object], ...]


def source_id(source: Mapping[str, Any]) -> str:
    """What tells a source of a manifest from others."""
    return str(source["sha256"] or f"label:{source['label']}")


def resolve(shards: Sequence[Shard]) -> Resolved:
    """One label and one group for each source.

    A source has the smallest of its labels; several that would have the same get the beginning of their identity
    behind it. Sources are one group if any input has them in one, if inputs call their groups by one name, and if one
    without identity has a label of the other: holding out too much costs a fold, too little the evidence.

    Raises:
        CheckFailed: a source has two geometries, or names that cannot be told apart.
    """
    known = _known(shards)
    label = _told_apart({name: min(one.labels) for name, one in known.items()}, known)
    group = _groups(shards, known, label)
    sources = [
        {
            "label": label[name],
            "sha256": known[name].sha256,
            "group": group[name],
            "geometry": known[name].geometry,
            "labels": sorted(known[name].labels),
            "groups": sorted(known[name].groups),
        }
        for name in sorted(known, key=lambda name: label[name])
    ]
    return Resolved(label=label, group=group, sources=tuple(sources))


def _known(shards: Sequence[Shard]) -> dict[str, _Known]:
    known: dict[str, _Known] = {}
    for shard in shards:
        for source in shard.sources:
            one = known.setdefault(source_id(source), _Known(sha256=_text_or_none(source["sha256"])))
            own: Any = source
            one.labels.update(own.get("labels", [own["label"]]))
            # a group that has its source's name says nothing
            one.groups.update(own.get("groups", [own["group"]] if own["group"] != own["label"] else []))
            if None not in (one.geometry, own["geometry"]) and one.geometry != own["geometry"]:
                raise CheckFailed(
                    f"the source {own['label']} has two geometries: {one.geometry}, {own['geometry']}",
                    hint="One of the shards that hold it is damaged; leave it out.",
                )
            one.geometry = one.geometry or own["geometry"]
    return known


def _text_or_none(value: object) -> str | None:
    return None if value is None else str(value)


def _told_apart(label: Mapping[str, str], known: Mapping[str, _Known]) -> dict[str, str]:
    """Labels of which no two are the same."""
    found = dict(label)
    for digits in (8, 64):
        for names in _alike(found):
            for name in names:
                if (sha256 := known[name].sha256) is not None:
                    found[name] = f"{label[name]}-{sha256[:digits]}"
    if twice := _alike(found):
        raise CheckFailed(
            f"several sources would be called {found[twice[0][0]]}", hint="Give one of them another label."
        )
    return found


def _alike(label: Mapping[str, str]) -> list[list[str]]:
    """Sources that have the same label."""
    by_label: dict[str, list[str]] = {}
    for name, own in label.items():
        by_label.setdefault(own, []).append(name)
    return [names for names in by_label.values() if len(names) > 1]


def _groups(shards: Sequence[Shard], known: Mapping[str, _Known], label: Mapping[str, str]) -> dict[str, str]:
    """Name of each source's group."""
    ties: dict[object, set[str]] = {}
    for number, shard in enumerate(shards):
        for source in shard.sources:
            ties.setdefault((number, source["group"]), set()).add(source_id(source))
    named = {group for one in known.values() for group in one.groups}
    nameless = {min(one.labels) for one in known.values() if one.sha256 is None}
    for name, one in known.items():
        for shared in one.groups | (one.labels & (named | nameless)):
            ties.setdefault(shared, set()).add(name)
    group: dict[str, str] = {}
    for members in components(known, ties.values()):
        names = {name for member in members for name in known[member].groups}
        chosen = min(names or {label[member] for member in members})
        if chosen in group.values():
            raise CheckFailed(f"two groups would be called {chosen}", hint="Give one of them another label.")
        group.update(dict.fromkeys(members, chosen))
    return group
