"""Whether shards may be merged at all: one teacher, one set of features, one scorer, the same golden answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from kit.core import contract
from kit.core.canon import canonical_json
from kit.core.errors import CheckFailed, KitError
from kit.core.values import Teacher
from kit.corpus.merge.inputs import Input

_SAY_SO = "If you know the teacher of the rows that do not tell it, say so with --assume-teacher."
_APART = "Merge those that fit each other; corpora of different kinds are trained on their own."


def assume(inputs: Sequence[Input], teacher: Teacher | None) -> tuple[Input, ...]:
    """The inputs, those that do not tell their teacher with the one that the operator vouches for."""
    return tuple(
        replace(one, shard=replace(one.shard, teacher=teacher)) if teacher and one.shard.teacher is None else one
        for one in inputs
    )


def check(inputs: Sequence[Input]) -> Teacher | None:
    """The teacher that all have; None where none tells it.

    Raises:
        CheckFailed: they have different teachers, feature sets or scorers, or golden answers too far apart.
    """
    problems = [*_teachers(inputs), *_feature_sets(inputs), *_scorers(inputs)]
    problems += [] if problems else _golden(inputs)
    if problems:
        lines = "".join(f"\n  - {problem.message}" for problem in problems)
        hints = " ".join(dict.fromkeys(problem.hint for problem in problems))
        raise CheckFailed(f"these do not belong into one corpus:{lines}", hint=hints)
    told = [one.shard.teacher for one in inputs if one.shard.teacher is not None]
    # of a model file the name is a local label
    return min(told, key=lambda teacher: teacher.id) if told else None


def _mixed(what: str, of: dict[str, list[str]], hint: str) -> Iterator[KitError]:
    if len(of) > 1:
        parts = "; ".join(f"{value} ({', '.join(sorted(set(whose)))})" for value, whose in sorted(of.items()))
        yield CheckFailed(f"mixed {what}: {parts}", hint=hint)


def _teachers(inputs: Sequence[Input]) -> Iterator[KitError]:
    of: dict[str, list[str]] = {}
    names: dict[bytes | None, str] = {}
    for one in inputs:
        teacher = one.shard.teacher
        identity = None if teacher is None else canonical_json(teacher.identity)
        of.setdefault(names.setdefault(identity, str(teacher or "not told")), []).append(f"{one.name}: {one.boxes}")
    hint = (
        "If you know what scored the rows that do not tell it, say so: --assume-teacher." if None in names else _APART
    )
    yield from _mixed("teachers", of, hint)


def _feature_sets(inputs: Sequence[Input]) -> Iterator[KitError]:
    of: dict[str, list[str]] = {contract.FEATURE_SET: []}
    for one in inputs:
        of.setdefault(one.shard.feature_set, []).append(f"{one.name}: {one.boxes}")
    yield from _mixed("feature sets", of, _APART)


def _scorers(inputs: Sequence[Input]) -> Iterator[KitError]:
    of: dict[str, list[str]] = {}
    for one in inputs:
        for box in one.shard.boxes:
            for scorer in box.scorers:
                of.setdefault(str(scorer["id"]), []).append(box.name)
    yield from _mixed("scorers", of, _APART)


def _golden(inputs: Sequence[Input]) -> Iterator[KitError]:
    """Answers further apart than the tolerance, and boxes that lack an answer that others have."""
    answers: dict[str, dict[str, list[float]]] = {}
    for one in inputs:
        for box in one.shard.boxes:
            for scorer in box.scorers:
                own = answers.setdefault(box.name, {})
                for pair, mean in scorer["golden"].items():
                    own.setdefault(pair, []).append(float(mean))
    for pair in sorted({pair for own in answers.values() for pair in own}):
        if silent := [name for name, own in answers.items() if pair not in own]:
            yield CheckFailed(f"no answer to the golden pair {pair} from {', '.join(sorted(silent))}", hint=_APART)
            continue
        high, highest = max((max(own[pair]), name) for name, own in answers.items())
        low, lowest = min((min(own[pair]), name) for name, own in answers.items())
        if high - low > contract.GOLDEN_TOLERANCE:
            yield CheckFailed(
                f"the golden pair {pair} scores {low:.6f} on {lowest} and {high:.6f} on {highest}: {high - low:.6f} "
                f"apart, expected {contract.GOLDEN_TOLERANCE} at most",
                hint="One of the scorers is broken; leave that box out.",
            )
