"""Check that shards may be merged: one teacher, one feature set, one scorer, the same golden answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from kit.core import contract
from kit.core.canon import canonical_json
from kit.core.errors import CheckFailed, KitError
from kit.core.values import Teacher
from kit.corpus.merge.inputs import Input
from kit.corpus.store.shard import UNKNOWN

_ASSUME = "If you know what scored the rows without a teacher, give it with --assume-teacher."
_SEPARATE = "Merge only those that agree; train corpora of different kinds separately."


def assume(inputs: Sequence[Input], teacher: Teacher | None) -> tuple[Input, ...]:
    """Return the inputs with the given teacher for those that do not name theirs."""
    return tuple(
        replace(one, shard=replace(one.shard, teacher=teacher)) if teacher and one.shard.teacher is None else one
        for one in inputs
    )


def check(inputs: Sequence[Input]) -> Teacher | None:
    """Return the teacher that all inputs share; None if no input names one.

    Raises:
        CheckFailed: teachers, feature sets or scorers differ, or golden answers differ too much.
    """
    problems = [*_teachers(inputs), *_feature_sets(inputs), *_scorers(inputs)]
    problems += [] if problems else _golden(inputs)
    if problems:
        lines = "".join(f"\n  - {problem.message}" for problem in problems)
        hints = " ".join(dict.fromkeys(problem.hint for problem in problems))
        raise CheckFailed(f"the inputs cannot be one corpus:{lines}", hint=hints)
    teachers = [one.shard.teacher for one in inputs if one.shard.teacher is not None]
    # the name of a model file is a local label
    return min(teachers, key=lambda teacher: teacher.id) if teachers else None


def _mixed(name: str, users: dict[str, list[str]], hint: str) -> Iterator[KitError]:
    """Yield a problem if there is more than one value.

    Args:
        users: value to the inputs or boxes that have it.
    """
    if len(users) > 1:
        values = "; ".join(f"{value} ({', '.join(sorted(set(names)))})" for value, names in sorted(users.items()))
        yield CheckFailed(f"mixed {name}: {values}", hint=hint)


def _teachers(inputs: Sequence[Input]) -> Iterator[KitError]:
    users: dict[str, list[str]] = {}
    names: dict[bytes | None, str] = {}
    for one in inputs:
        teacher = one.shard.teacher
        identity = None if teacher is None else canonical_json(teacher.identity)
        users.setdefault(names.setdefault(identity, str(teacher or UNKNOWN)), []).append(f"{one.name}: {one.boxes}")
    yield from _mixed("teachers", users, _ASSUME if None in names else _SEPARATE)


def _feature_sets(inputs: Sequence[Input]) -> Iterator[KitError]:
    users: dict[str, list[str]] = {contract.FEATURE_SET: []}
    for one in inputs:
        users.setdefault(one.shard.feature_set, []).append(f"{one.name}: {one.boxes}")
    yield from _mixed("feature sets", users, _SEPARATE)


def _scorers(inputs: Sequence[Input]) -> Iterator[KitError]:
    users: dict[str, list[str]] = {}
    for one in inputs:
        for box in one.shard.boxes:
            for scorer in box.scorers:
                users.setdefault(str(scorer["id"]), []).append(box.name)
    yield from _mixed("scorers", users, _SEPARATE)


def _golden(inputs: Sequence[Input]) -> Iterator[KitError]:
    """Yield golden pairs whose answers differ by more than the tolerance, or that some boxes did not score."""
    answers: dict[str, dict[str, list[float]]] = {}
    for one in inputs:
        for box in one.shard.boxes:
            for scorer in box.scorers:
                own = answers.setdefault(box.name, {})
                for pair, mean in scorer["golden"].items():
                    own.setdefault(pair, []).append(float(mean))
    for pair in sorted({pair for own in answers.values() for pair in own}):
        if missing := [name for name, own in answers.items() if pair not in own]:
            yield CheckFailed(f"no answer to the golden pair {pair} from {', '.join(sorted(missing))}", hint=_SEPARATE)
            continue
        high, highest = max((max(own[pair]), name) for name, own in answers.items())
        low, lowest = min((min(own[pair]), name) for name, own in answers.items())
        if high - low > contract.GOLDEN_TOLERANCE:
            yield CheckFailed(
                f"the golden pair {pair} scores {low:.6f} on {lowest} and {high:.6f} on {highest}: {high - low:.6f} "
                f"apart, expected {contract.GOLDEN_TOLERANCE} at most",
                hint="One of the scorers is broken; leave that box out.",
            )
