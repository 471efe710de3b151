"""Content groups of the user: ``groups.json`` in a folder of clips."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kit.core import contract
from kit.core.errors import BadInput, KitError, Several
from kit.core.values import SourceFile
from kit.system.fsio import read_json

FILE = "groups.json"

_IDENTITY = re.compile(r"[0-9a-f]{64}")
_GROUP = re.compile(r"[A-Za-z0-9][\w.-]{0,79}", re.ASCII)


def read(path: Path) -> dict[str, str]:
    """Read ``groups.json``: label, file name, relative path or ``src_sha256`` of a clip to its group.

    A shard's ``corpus/groups.json`` has the same format.

    Raises:
        BadInput: another format.
    """
    value: Any = read_json(path)
    if not isinstance(value, dict) or set(value) != {"schema_version", "groups"}:
        raise BadInput(
            f'{path}: expected {{"schema_version": {contract.SCHEMA_VERSION}, "groups": {{"<clip>": "<group>"}}}}'
        )
    if value["schema_version"] != contract.SCHEMA_VERSION:
        raise BadInput(f"{path}: schema version {value['schema_version']!r}, expected {contract.SCHEMA_VERSION}")
    groups = value["groups"]
    if not isinstance(groups, dict):
        raise BadInput(f"{path}: groups is a {type(groups).__name__}, expected an object: clip to group")
    bad = [clip for clip, group in groups.items() if not isinstance(group, str) or not _GROUP.fullmatch(group)]
    if bad:
        raise BadInput(f"{path}: the group of {', '.join(bad)} is not 1 to 80 letters, digits, '.', '_' or '-'")
    return groups


def assign(
    files: Sequence[SourceFile],
    named: Mapping[str, str],
    *,
    folder: Path,
    where: str,
    identity: Callable[[SourceFile], str],
) -> tuple[SourceFile, ...]:
    """Assign groups to clips by name; the others keep theirs.

    Args:
        named: the groups of :func:`read`.
        identity: returns a clip's ``src_sha256``; called only if a key is one.

    Raises:
        Several: a key that matches no clip or several clips, or a clip with two groups.
    """
    by_name: defaultdict[str, set[Path]] = defaultdict(set)
    for file in files:
        for name in (file.label, file.path.name, file.path.relative_to(folder).as_posix()):
            by_name[name].add(file.path)
    if any(_IDENTITY.fullmatch(key) for key in named):
        for file in files:
            by_name[identity(file)].add(file.path)
    problems: list[KitError] = []
    chosen: dict[Path, str] = {}
    for key, group in named.items():
        clips = by_name.get(key, set())
        if len(clips) != 1:
            problems.append(_not_one(key, clips, where))
            continue
        (path,) = clips
        if chosen.setdefault(path, group) != group:
            problems.append(BadInput(f"{where}: {path.name} has two groups: {chosen[path]} and {group}"))
    if problems:
        raise Several(f"{where} cannot be used", problems)
    return tuple(replace(file, group=chosen.get(file.path, file.group)) for file in files)


def _not_one(key: str, clips: set[Path], where: str) -> BadInput:
    if not clips:
        return BadInput(f"{where}: {key} matches no clip", hint="Use its label, its file name or its src_sha256.")
    return BadInput(f"{where}: {key} matches {len(clips)} clips", hint="Use their paths relative to this folder.")
