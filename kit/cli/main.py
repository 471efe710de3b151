"""The command line: all commands, and the one place that prints errors and decides exit codes."""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import click

from kit import __version__
from kit.cli.binaries import binaries
from kit.cli.clean import clean
from kit.cli.compare import compare
from kit.cli.corpus import CORPUS_COMMANDS
from kit.cli.dataset import dataset
from kit.cli.extract import extract_features
from kit.cli.features import combine, join_mos
from kit.cli.fit import export, fit
from kit.cli.loso import loso, tune
from kit.cli.merge import merge
from kit.cli.output import Result, finish, show_error
from kit.cli.platform import platform
from kit.cli.report import report
from kit.cli.run import COMMANDS, SETUP_NOTE, corpus
from kit.cli.score import score
from kit.cli.ship import SHIP_COMMANDS
from kit.cli.verify import verify
from kit.cli.worker import worker
from kit.core import exits
from kit.core.errors import DiskFull, KitError, Terminated
from kit.options.click_options import options
from kit.options.command_tables import BOX
from kit.system import telemetry
from kit.system.fsio import NO_ROOM

_ROOT = Path(__file__).resolve().parents[2]
#: Errors of paths that do not exist or may not be used: the user's to fix, unless the path is the kit's.
_UNUSABLE = (errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOENT, errno.EROFS)


@click.group(name="vmaf-ensemble-kit", epilog=SETUP_NOTE, context_settings={"max_content_width": 100})
@click.version_option(__version__, message="vmaf-ensemble-kit %(version)s")
def cli() -> None:
    """Build a VMAF corpus on this box, train an ensemble, give a verdict."""


cli.result_callback()(finish)


@cli.command(context_settings={"ignore_unknown_options": True})
@options(BOX["everything"])
@click.argument("pytest_args", nargs=-1, type=click.UNPROCESSED)
def selftest(everything: bool, pytest_args: tuple[str, ...]) -> Result:
    """Run the kit's own tests on this box.

    Without --all: the essential end-to-end checks, in about three minutes on two cores. Further arguments go to pytest,
    e.g. -n 0 for one process instead of up to four.
    """
    import pytest

    from kit.options.session import KIT_ROOT

    os.chdir(KIT_ROOT)
    chosen = () if everything else ("-m", "essential")
    shared = ("-q", "-n", "auto", "--maxprocesses", "4", "--dist", "worksteal")
    passed = pytest.main([*shared, *chosen, *pytest_args]) == pytest.ExitCode.OK
    return Result(code=exits.OK if passed else exits.INVALID)


for _command in (
    *COMMANDS,
    *(binaries, dataset, merge, platform, score, worker, verify, compare, report, clean),
    *(extract_features, combine, join_mos),
    *(fit, export, loso, tune),
    *SHIP_COMMANDS,
):
    cli.add_command(_command)
for _command in CORPUS_COMMANDS:
    corpus.add_command(_command)


def main(argv: Sequence[str]) -> int:
    """Run a command and return its exit code, also after any error; 1 comes from a written HOLD.json only."""
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123 - a closed stderr must not end in a crash
    signal.signal(signal.SIGTERM, _terminated)
    if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
        # a dropped connection ends the run in order; under nohup the signal stays ignored
        signal.signal(signal.SIGHUP, _terminated)
    try:
        # so that nvidia-smi and CUDA count GPUs in the same order
        os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
        telemetry.disable(os.environ)
        result = cli.main(list(argv), prog_name="python3 -m kit", standalone_mode=False, obj=os.environ)
    except BaseException as error:  # noqa: BLE001 - also a SystemExit of a library: its 1 would read as HOLD
        message, hint, code = describe_error(error)
        if code == exits.INTERNAL:
            traceback.print_exc()
        show_error(message, hint)
        return code
    if isinstance(result, Result):
        return result.code
    # otherwise click itself has ended the command: 0 after --help; no other number may look like a verdict
    return exits.OK if result in (None, exits.OK) else exits.BAD_INPUT


def describe_error(error: BaseException) -> tuple[str, str, int]:
    """Return message, hint and exit code of an error."""
    match error:
        case click.Abort() | KeyboardInterrupt():
            return "Interrupted; finished work is kept.", "Start the same command to continue.", exits.INTERRUPTED
        case Terminated():
            return "Terminated; finished work is kept.", error.default_hint, error.exit_code
        case click.exceptions.NoArgsIsHelpError():
            names = ", ".join(cli.commands)
            return f"No command was given; expected one of {names}.", "See --help.", exits.BAD_INPUT
        case click.ClickException():
            return error.format_message(), "See --help of the command.", exits.BAD_INPUT
        case KitError():
            return error.message, error.hint or error.default_hint, error.exit_code
        case ImportError() | SyntaxError():
            from kit.bootstrap import start

            damage = start.damaged(error, _ROOT)
            return damage.message, damage.hint or damage.default_hint, damage.exit_code
        case OSError() if described := _describe_file_error(error):
            return described
    return "This is a fault of the kit, not of your input.", KitError.default_hint, exits.INTERNAL


def _describe_file_error(error: OSError) -> tuple[str, str, int] | None:
    """Describe a full disk, or a path that cannot be used; None if the path is the kit's own or not known."""
    if error.errno in NO_ROOM:
        where = f" at {error.filename}" if error.filename else ""
        return f"The disk is full{where}; finished work is kept.", DiskFull.default_hint, exits.DISK_FULL
    if error.errno in _UNUSABLE and error.filename and not Path(str(error.filename)).absolute().is_relative_to(_ROOT):
        return f"{error.filename}: {error.strerror}", "Give a path that can be read and written.", exits.BAD_INPUT
    return None


def _terminated(_signum: int, _frame: object) -> NoReturn:
    raise Terminated("SIGTERM")


def console() -> NoReturn:
    """Entry point of an installed kit."""
    sys.exit(main(sys.argv[1:]))
