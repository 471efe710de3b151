"""Verify a bundle, from the archive to the last check."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kit.core import contract, layout
from kit.core.errors import CheckFailed, InvalidEvidence, ToolFailed
from kit.corpus.store import received
from kit.options.session import KIT_ROOT
from kit.system import validation
from kit.system.confine import MEMORY, SECONDS
from kit.system.fsio import read_json
from kit.system.proc import Processes
from kit.system.signature import signer
from kit.verify.check import Check

if TYPE_CHECKING:
    from kit.verify.retrain import Retraining

_UNPACKED = "unpacked"
_MODULE = "kit.verify.process"
UNSIGNED, UNCHECKED, UNPROVEN = "unsigned", "signature not checked", "predictions unproven"


@dataclass(frozen=True, kw_only=True)
class Verified:
    """The result of a verification.

    Attributes:
        verdict: PROMOTE, HOLD or INVALID; None for a shard alone or where it could not be read.
        signed_by: the signer by the list of allowed signers; None where unknown.
        labels: reservations of a valid bundle: ``UNSIGNED``, ``UNCHECKED``, ``UNPROVEN``.
    """

    checks: tuple[Check, ...]
    verdict: str | None
    box: str | None
    signed_by: str | None
    labels: tuple[str, ...]

    @property
    def valid(self) -> bool:
        return all(check.passed for check in self.checks)


def verify(
    path: Path,
    scratch: Path,
    processes: Processes,
    *,
    allowed_signers: Path | None = None,
    retraining: Retraining | None = None,
    most_epochs: int = contract.MOST_EPOCHS,
) -> Verified:
    """Unpack a bundle into ``scratch`` and check everything in it.

    Args:
        allowed_signers: file of SSH keys; one of them must have signed the bundle.
        retraining: members to train again.
        most_epochs: that the bundle's training may have.

    Raises:
        BadInput, PrerequisiteFailed: an argument other than the bundle cannot be used.
    """
    expected = "a complete tar.gz of regular files, each as in its manifest"
    try:
        folder = received.open_bundle(path, scratch / _UNPACKED)
    except CheckFailed as error:
        failed = Check(name="archive", passed=False, expected=expected, found=error.message)
        return Verified(checks=(failed,), verdict=None, box=None, signed_by=None, labels=())
    count = sum(1 for file in folder.rglob("*") if file.is_file())
    checks = [Check(name="archive", passed=True, expected=expected, found=f"{count} files")]
    signed_by, labels = None, []
    if allowed_signers is not None:
        check, signed_by = _signature(folder, allowed_signers, processes)
        checks.append(check)
    else:
        labels.append(UNCHECKED if (folder / layout.SIGNATURE).is_file() else UNSIGNED)
    proven = False
    checks += _in_a_process(folder, processes, most_epochs)
    verdict, box = _verdict_and_box(folder)
    if retraining is not None and all(check.passed for check in checks):
        again = _retrained(folder, retraining, processes, most_epochs)
        checks += again
        proven = all(check.passed for check in again)
    if verdict in ("PROMOTE", "HOLD") and not proven:
        labels.append(UNPROVEN)
    return Verified(checks=tuple(checks), verdict=verdict, box=box, signed_by=signed_by, labels=tuple(labels))


def require_valid(path: Path, scratch: Path, processes: Processes) -> Verified:
    """Verify a bundle that other work depends on.

    Raises:
        CheckFailed: it is not valid.
    """
    result = verify(path.absolute(), scratch, processes)
    if failed := [check for check in result.checks if not check.passed]:
        raise CheckFailed(
            f"{path} is not valid: {failed[0].name}: {failed[0].found}",
            hint=f"`verify {path.name}` shows every check; ask the box for its bundle again.",
        )
    return result


def unpacked_folder(scratch: Path) -> Path:
    """Return the run folder of a bundle that has been verified with this ``scratch``."""
    (folder,) = (scratch / _UNPACKED).iterdir()
    return folder


def _verdict_and_box(folder: Path) -> tuple[str | None, str | None]:
    """Read verdict and box from the manifest; None if it does not fit its schema."""
    manifest: Any = read_json(folder / layout.MANIFEST)
    if validation.problems("manifest", manifest):
        return None, None
    return manifest["verdict"], manifest["box"]


def _signature(folder: Path, allowed: Path, processes: Processes) -> tuple[Check, str | None]:
    expected = "signed by one of the allowed signers"
    try:
        if not (folder / layout.SIGNATURE).is_file():
            raise CheckFailed("the bundle is unsigned")
        name = signer(folder / layout.MANIFEST, allowed, processes)
    except CheckFailed as error:
        return Check(name="signature", passed=False, expected=expected, found=error.message), None
    return Check(name="signature", passed=True, expected=expected, found=f"signed by {name}"), name


def _in_a_process(folder: Path, processes: Processes, most_epochs: int) -> list[Check]:
    """Run the checks that open files of another box, in a process with limits on memory and time."""
    argv = (sys.executable, "-m", _MODULE, str(folder), str(most_epochs))
    lines: list[bytes] = []
    failure = None
    try:
        with processes.stream(argv, tried="checking the bundle", cwd=KIT_ROOT) as (stdout, _):
            lines.extend(stdout)
    except ToolFailed as error:
        failure = error
    checks = [Check(**json.loads(line)) for line in lines if line.endswith(b"\n")]
    if failure is not None:
        found = f"the checking process ended after {len(checks)} checks: {failure.status}"
        expected = f"read within {MEMORY >> 30} GiB of memory and {SECONDS} s"
        checks.append(Check(name="limits", passed=False, expected=expected, found=found))
    return checks


def _retrained(folder: Path, retraining: Retraining, processes: Processes, most_epochs: int) -> list[Check]:
    from kit.verify.received_run import ReceivedRun  # late: torch takes seconds, and most verifications need none
    from kit.verify.retrain import retrain

    try:
        return retrain(ReceivedRun(folder, most_epochs), retraining, processes)
    except (CheckFailed, InvalidEvidence) as error:
        return [Check(name="training", passed=False, expected="members trained again", found=error.message)]
