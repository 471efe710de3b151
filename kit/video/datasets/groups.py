"""Content groups of the user: ``groups.json`` in a folder of clips."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from kit.core.errors import BadInput, KitError, Several
from kit.core.values import SourceFile
from kit.system.validation import read_valid

FILE = "groups.json"

_IDENTITY = re.compile(r"[0-9a-f]{64}")
_HINT = 'Write {"schema_version": 1, "groups": {"<clip>": "<group of letters, digits, ., _ or ->"}}.'


def read(path: Path) -> dict[str, str]:
    """Read ``groups.json``: label, file name, relative path or ``src_sha256`` of a clip to its group.

    A shard's ``corpus/groups.json`` has the same format.

    Raises:
        BadInput: another format.
    """
    groups: dict[str, str] = read_valid(path, "groups", hint=_HINT)["groups"]
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
