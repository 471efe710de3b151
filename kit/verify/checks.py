"""Every check that applies to a received run, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from kit.core.errors import KitError
from kit.verify import models
from kit.verify.check import Check
from kit.verify.replay import ALWAYS, JUDGED, PREDICTED, ReceivedRun


def run_checks(seen: ReceivedRun) -> Iterator[Check]:
    """Every check that applies, in order; whatever goes wrong in one is what it has found."""
    yield from (_one(seen, *each) for each in ALWAYS)
    try:
        word = seen.word
    except KitError:
        return  # the first check has told why
    if word in ("PROMOTE", "HOLD"):
        yield from (_one(seen, *each) for each in PREDICTED)
    if word is not None:
        yield from (_one(seen, *each) for each in JUDGED)
    if word == "PROMOTE":
        yield from (_one(seen, *each) for each in models.CHECKS)


def _one(seen: ReceivedRun, name: str, expected: str, work: Callable[[ReceivedRun], str]) -> Check:
    try:
        return Check(name=name, passed=True, expected=expected, found=work(seen))
    except KitError as error:
        found = error.message
    except Exception as error:  # noqa: BLE001 - of what strangers send, anything can go wrong: that is a finding
        found = f"cannot be read: {type(error).__name__}: {str(error)[:300]}"
    return Check(name=name, passed=False, expected=expected, found=found)
