"""Connected components."""

from __future__ import annotations

from collections.abc import Iterable


def components(names: Iterable[str], ties: Iterable[set[str]]) -> list[list[str]]:
    """Return the groups of names that are connected by ties, directly or through other names."""
    parent = {name: name for name in names}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for tie in ties:
        first, *rest = sorted(tie)
        for other in rest:
            parent[root(other)] = root(first)
    groups: dict[str, list[str]] = {}
    for name in parent:
        groups.setdefault(root(name), []).append(name)
    return list(groups.values())
