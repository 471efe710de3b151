"""Run every check that applies to a received run, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from kit.core.errors import KitError
from kit.verify import models
from kit.verify.check import Check
from kit.verify.received_run import ReceivedRun
from kit.verify.replay import ALWAYS, JUDGED, PREDICTED


def run_checks(run: ReceivedRun) -> Iterator[Check]:
    """Yield the result of every check that applies, in order; an error within a check is its result.

    A file that cannot be used fails every check that reads it: its error is given once.
    """
    first: dict[str, str] = {}
    for check in _all(run):
        name = check.name if check.passed else first.setdefault(check.found, check.name)
        yield check if name == check.name else replace(check, found=f"not possible, see {name}")


def _all(run: ReceivedRun) -> Iterator[Check]:
    yield from (_result(run, *check) for check in ALWAYS)
    try:
        word = run.word
    except KitError:
        return  # the manifest cannot be read: the first check has failed
    if word in ("PROMOTE", "HOLD"):
        yield from (_result(run, *check) for check in PREDICTED)
    if word is not None:
        yield from (_result(run, *check) for check in JUDGED)
    if word == "PROMOTE":
        yield from (_result(run, *check) for check in models.CHECKS)


def _result(run: ReceivedRun, name: str, expected: str, work: Callable[[ReceivedRun], str]) -> Check:
    try:
        return Check(name=name, passed=True, expected=expected, found=work(run))
    except KitError as error:
        found = error.message
    except Exception as error:  # noqa: BLE001 - a file of another box can break anything: then the check has failed
        found = f"cannot be read: {type(error).__name__}: {str(error)[:300]}"
    return Check(name=name, passed=False, expected=expected, found=found)
