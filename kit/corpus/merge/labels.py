"""Resolve labels and groups of the sources of several shards, independent of the order and grouping of merges.

The rule uses sets only, which a merged shard keeps: the labels that inputs gave a source, the names of its group, and
the sources that share a group. Sets only grow, so the order of unions does not matter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kit.core.canon import canonical_json
from kit.core.errors import CheckFailed
from kit.core.graph import components
from kit.corpus.store.shard import Shard


@dataclass(kw_only=True)
class _SourceNames:
    """The names that all inputs give a source, and its geometry."""

    sha256: str | None
    labels: set[str] = field(default_factory=set)
    groups: set[str] = field(default_factory=set)
    geometry: Any = None
    fingerprint: Any = None


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """Label and group of each source, by identity (``CellEntry.source_id``), and the manifest's list of sources."""

    label: Mapping[str, str]
    group: Mapping[str, str]
    sources: tuple[Mapping[str, object], ...]


def source_id(source: Mapping[str, Any]) -> str:
    """Return the identity of a source in a manifest, as ``CellEntry.source_id``."""
    return str(source["sha256"] or f"label:{source['label']}")


def resolve(shards: Sequence[Shard]) -> Resolved:
    """Return one label and one group for each source.

    A source gets the smallest of its labels; sources with the same label get the beginning of their identity appended.
    Sources are one group if an input has them in one, if inputs use one name for their groups, or if one without
    identity has a label of the other: a group too large costs a fold, a group too small invalidates the evidence.

    Raises:
        CheckFailed: a source has two geometries, or the labels cannot be made unique.
    """
    names_of = _source_names(shards)
    label = _unique_labels({name: min(one.labels) for name, one in names_of.items()}, names_of)
    group = _groups(shards, names_of, label)
    sources = [
        {
            "label": label[name],
            "sha256": names_of[name].sha256,
            "group": group[name],
            "geometry": names_of[name].geometry,
            **({"fingerprint": names_of[name].fingerprint} if names_of[name].fingerprint else {}),
            "labels": sorted(names_of[name].labels),
            "groups": sorted(names_of[name].groups),
        }
        for name in sorted(names_of, key=lambda name: label[name])
    ]
    return Resolved(label=label, group=group, sources=tuple(sources))


def _source_names(shards: Sequence[Shard]) -> dict[str, _SourceNames]:
    names_of: dict[str, _SourceNames] = {}
    for shard in shards:
        for source in shard.sources:
            one = names_of.setdefault(source_id(source), _SourceNames(sha256=_text_or_none(source["sha256"])))
            own: Any = source
            one.labels.update(own.get("labels", [own["label"]]))
            # a group with its source's label carries no information
            one.groups.update(own.get("groups", [own["group"]] if own["group"] != own["label"] else []))
            if None not in (one.geometry, own["geometry"]) and one.geometry != own["geometry"]:
                raise CheckFailed(
                    f"the source {own['label']} has two geometries: {one.geometry}, {own['geometry']}",
                    hint="One of the shards with this source is damaged; leave it out.",
                )
            one.geometry = one.geometry or own["geometry"]
            given = [known for known in (one.fingerprint, own.get("fingerprint")) if known is not None]
            one.fingerprint = min(given, key=canonical_json, default=None)
    return names_of


def _text_or_none(value: object) -> str | None:
    return None if value is None else str(value)


def _unique_labels(label: Mapping[str, str], names_of: Mapping[str, _SourceNames]) -> dict[str, str]:
    """Return the labels, equal ones with the beginning of the source's identity."""
    unique = dict(label)
    for digits in (8, 64):
        for names in _duplicates(unique):
            for name in names:
                if (sha256 := names_of[name].sha256) is not None:
                    unique[name] = f"{label[name]}-{sha256[:digits]}"
    if duplicates := _duplicates(unique):
        raise CheckFailed(
            f"several sources would have the label {unique[duplicates[0][0]]}", hint="Give one of them another label."
        )
    return unique


def _duplicates(label: Mapping[str, str]) -> list[list[str]]:
    """Return the sources that share a label."""
    by_label: dict[str, list[str]] = {}
    for name, own in label.items():
        by_label.setdefault(own, []).append(name)
    return [names for names in by_label.values() if len(names) > 1]


def _groups(shards: Sequence[Shard], names_of: Mapping[str, _SourceNames], label: Mapping[str, str]) -> dict[str, str]:
    """Return the name of each source's group."""
    ties: dict[object, set[str]] = {}
    for number, shard in enumerate(shards):
        for source in shard.sources:
            ties.setdefault((number, source["group"]), set()).add(source_id(source))
    named = {group for one in names_of.values() for group in one.groups}
    nameless = {min(one.labels) for one in names_of.values() if one.sha256 is None}
    for name, one in names_of.items():
        for shared in one.groups | (one.labels & (named | nameless)):
            ties.setdefault(shared, set()).add(name)
    group: dict[str, str] = {}
    for members in components(names_of, ties.values()):
        names = {name for member in members for name in names_of[member].groups}
        chosen = min(names or {label[member] for member in members})
        if chosen in group.values():
            raise CheckFailed(f"two groups would have the name {chosen}", hint="Give one of them another label.")
        group.update(dict.fromkeys(members, chosen))
    return group
