"""The command line: parse, resolve, call, show. Only this module prints errors and decides exit codes."""

from __future__ import annotations

import dataclasses
import errno
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import click

from kit import __version__
from kit.cli.binaries import binaries
from kit.cli.compare import compare
from kit.cli.corpus import CORPUS_COMMANDS
from kit.cli.dataset import dataset
from kit.cli.features import FEATURE_COMMANDS
from kit.cli.fit import export, fit
from kit.cli.loso import loso, tune
from kit.cli.merge import merge
from kit.cli.opening import config_texts, run_config, session_of
from kit.cli.output import Outcome, complain, print_json, settled
from kit.cli.platform import platform
from kit.cli.report import report
from kit.cli.score import score
from kit.cli.ship import SHIP_COMMANDS
from kit.cli.verify import verify
from kit.cli.worker import worker
from kit.cluster.security import link
from kit.core import exits, layout
from kit.core.errors import BadInput, DiskFull, KitError, Missing, Terminated
from kit.options import resolve
from kit.options.click_options import json, options, texts
from kit.options.command_tables import BOX
from kit.options.run_table import RUN, RUN_COMMANDS, STEPS, effective
from kit.system import telemetry
from kit.system.fsio import NO_ROOM

RUNS = Path("runs")
_ROOT = Path(__file__).resolve().parents[2]
#: What the system answers when a place is not there or may not be used: the user's to mend, unless it is the kit's.
_UNUSABLE = (errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOENT, errno.EROFS)

SETUP_NOTE = (
    "Setting up: the first start makes an environment beside the kit. --torch-index URL takes torch from another "
    "index (CPU builds), --wheels DIR installs without a network from a folder of wheels."
)


#: Reasons of a verdict that the end of a run shows.
_REASONS = 20
_PLACES = (RUN["out_dir"], RUN_COMMANDS["config_file"])


def _names(*steps: str) -> set[str]:
    """Options that take effect in these steps, and those that take effect in every one."""
    return {option.name for option in (*effective(*steps), *_PLACES)}


#: Options that take effect in a run on a corpus that is there.
_ON_CORPUS = _names("adopt", *STEPS[2:])


def _refuse_force(_context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        raise BadInput(
            "--force: there is no way around the gate; models leave the kit after PROMOTE, and no option changes that",
            hint="The verdict says what it lacks: see its table, or `evidence` in HOLD.json; more clips mostly help.",
        )


#: Asked for by those who know it from elsewhere, and answered.
_no_force = click.option(
    "--force", is_flag=True, hidden=True, expose_value=False, is_eager=True, callback=_refuse_force
)


@click.group(name="vmaf-ensemble-kit", epilog=SETUP_NOTE, context_settings={"max_content_width": 100})
@click.version_option(__version__, message="vmaf-ensemble-kit %(version)s")
def cli() -> None:
    """Build a VMAF corpus on this box, train an ensemble, give a verdict."""


cli.result_callback()(settled)


@cli.command(epilog=SETUP_NOTE)
@texts(*(option for option in effective("adopt", *STEPS) if not option.cluster), *_PLACES)
@json
@options(*RUN_COMMANDS.pick("first", "only", "dry_run"))
@_no_force
def run(first: int | None, only: int | None, dry_run: bool, as_json: bool, **given: str | None) -> Outcome:
    """Do all five steps: prereqs, corpus, train, verdict, bundle.

    With --corpus it starts at training.

    Exit codes: 0 PROMOTE, 1 HOLD, 2 bad input or set-up, 3 INVALID evidence, 4 disk full.
    """
    if given["corpus"] is not None:
        if only or first or dry_run:
            raise click.UsageError("--corpus starts at training; leave --from, --only and --dry-run out.")
        return _execute(given, first=1, last=5, as_json=as_json, verdict_decides=True)
    if only is not None and first is not None:
        raise click.UsageError("--from and --only exclude each other.")
    if dry_run:
        if only or first:
            raise click.UsageError("--dry-run shows the whole run; leave --from and --only out.")
        return _dry_run(given, as_json=as_json)
    start, end = only or first or 1, only or 5
    _refuse_idle(given, _names(*STEPS[start - 1 : end]), f"steps {start} to {end}")
    return _execute(given, first=start, last=end, as_json=as_json, verdict_decides=True)


def _refuse_idle(given: dict[str, str | None], used: set[str], what: str) -> None:
    if idle := [name for name, text in given.items() if text is not None and name not in used]:
        shown = ", ".join("--" + name.replace("_", "-") for name in idle)
        raise click.UsageError(f"{shown}: no effect on {what}; leave it out.")


@cli.command()
@texts(*effective("prereqs"), *_PLACES)
@json
def prereqs(as_json: bool, **given: str | None) -> Outcome:
    """Step 1: check what the run needs and what this box has."""
    return _execute(given, first=1, last=1, as_json=as_json)


@cli.group(invoke_without_command=True, subcommand_metavar="[COMMAND [ARGS]...]")
@texts(*effective("corpus"), *_PLACES)
@json
@click.pass_context
def corpus(context: click.Context, /, as_json: bool, **given: str | None) -> Outcome | None:
    """Step 2: encode and score every missing cell.

    With --scheduler: on the boxes that run `worker`, with their encoders. Subcommands inspect, import or export a
    corpus.

    Exit codes: 0 done, 2 bad input, 3 a cell is missing, 4 disk full.
    """
    if context.invoked_subcommand is None:
        return _execute(given, first=2, last=2, as_json=as_json)
    if as_json or any(text is not None for text in given.values()):
        name = context.invoked_subcommand
        raise click.UsageError(f"Options before {name!r} are those of step 2; write its own behind it.")
    return None


@cli.command()
@texts(*effective("train"), *_PLACES)
@json
def train(as_json: bool, **given: str | None) -> Outcome:
    """Step 3: train every seed on every fold."""
    return _execute(given, first=3, last=3, as_json=as_json)


@cli.command()
@texts(*effective("verdict"), *_PLACES)
@json
@_no_force
def verdict(as_json: bool, **given: str | None) -> Outcome:
    """Step 4: apply the gate; after PROMOTE fit and export the models.

    Exit codes: 0 PROMOTE, 1 HOLD, 2 bad input, 3 INVALID evidence, 4 disk full.
    """
    return _execute(given, first=4, last=4, as_json=as_json, verdict_decides=True)


@cli.command()
@texts(*effective("bundle"), *_PLACES)
@json
@options(RUN_COMMANDS["show"])
def bundle(show: bool, as_json: bool, **given: str | None) -> Outcome:
    """Step 5: pack the bundle to send back."""
    if show:
        return _show_bundle(given, as_json=as_json)
    return _execute(given, first=5, last=5, as_json=as_json)


@cli.command(context_settings={"ignore_unknown_options": True})
@options(BOX["everything"])
@click.argument("pytest_args", nargs=-1, type=click.UNPROCESSED)
def selftest(everything: bool, pytest_args: tuple[str, ...]) -> Outcome:
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
    return Outcome(code=exits.OK if passed else exits.INVALID)


for _command in CORPUS_COMMANDS:
    corpus.add_command(_command)
for _command in FEATURE_COMMANDS:
    cli.add_command(_command)
cli.add_command(binaries)
cli.add_command(dataset)
cli.add_command(merge)
cli.add_command(platform)
cli.add_command(score)
cli.add_command(worker)
cli.add_command(verify)
cli.add_command(compare)
cli.add_command(report)
for _command in (fit, export, loso, tune, *SHIP_COMMANDS):
    cli.add_command(_command)


def _resolve(given: dict[str, str | None], *, continues: bool) -> resolve.RunConfig:
    """Resolve the options of a command and settle its run folder.

    Args:
        continues: the command goes on with an existing run.
    """
    from kit.steps import pipeline

    named, file = config_texts(given)
    out_dir = named.get("out_dir", file.get("out_dir"))
    place = None if out_dir is None else RUN["out_dir"].read(out_dir)
    if place is None and continues:
        place = pipeline.newest_run(RUNS)
        if place is None:
            raise Missing("there is no run under runs/ to go on with", hint="Start with `run`, or give --out-dir.")
    remembered = pipeline.remembered(place) if place else {}
    resolved = run_config(named, file, out_dir=place or RUNS, remembered=remembered)
    link(resolved)  # an address that must not be used is refused before anything is done
    if place is not None:
        return resolved
    earlier = pipeline.unfinished_run(RUNS, resolve.as_texts(resolved))
    new = RUNS / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{resolved.box}"
    return dataclasses.replace(resolved, out_dir=(earlier or new).absolute())


def _execute(
    given: dict[str, str | None], *, first: int, last: int, as_json: bool, verdict_decides: bool = False
) -> Outcome:
    from kit.steps import pipeline

    resolved = _resolve(given, continues=first > 1)
    session = session_of(resolved)
    _show_config(resolved, session.ui)
    adopts = resolved.corpus is not None
    if adopts:
        _refuse_idle(given, _ON_CORPUS, "a run with --corpus")
    steps = pipeline.chosen_steps(first=first, last=last, shard_only=resolved.shard_only, adopts=adopts)
    if not steps:
        kind = "--corpus" if adopts else "--shard-only"
        raise click.UsageError(f"step {pipeline.NAMES[first - 1]} is no part of a {kind} run.")
    results = pipeline.execute(resolved, steps, session)
    if resolved.shard_only and first == 1 and last == len(pipeline.STEPS):
        session.ui.say("Shard only: no verdict was requested.")
    if steps[-1].name == pipeline.NAMES[2]:
        for problem in results[steps[-1].name].problems:
            session.ui.say(f"The evidence is not valid: {problem}")
    if verdict_decides and not resolved.shard_only:
        _show_end(resolved, results, session.ui)
    if as_json:
        print_json(_result_json(resolved, steps[-1].name, results))
    if packed := results.get(pipeline.NAMES[-1]):
        session.ui.say(f"Send back: {packed.path}")
    return Outcome(code=pipeline.exit_code(results, results[steps[-1].name], verdict_decides=verdict_decides))


def _show_config(resolved: resolve.RunConfig, ui: Any) -> None:
    """Every option that takes effect, with its value and where it came from."""
    from kit.system.ui import Row

    if (resolved.out_dir / layout.CONFIG).is_file():
        ui.say(f"Going on in {resolved.out_dir}; what is finished there stays. Another --out-dir starts anew.")
    shown = {name: RUN[name].otherwise for name in ("ref_dir", "encoders", "ffmpeg", "vmaf_bin")}
    if resolved.ref_dir is not None:
        shown["ref_dir"] = str(resolved.ref_dir)
    texts = shown | resolve.as_texts(resolved) | {"out_dir": str(resolved.out_dir)}
    if resolved.scheduler is not None:
        texts["scheduler"] = resolved.scheduler
    names = texts.keys() if resolved.corpus is None else texts.keys() & _ON_CORPUS
    rows = [
        Row(cells=(name.replace("_", "-"), texts[name], resolved.origins.get(name, "default")))
        for name in sorted(names)
    ]
    ui.table("Options", ("option", "value", "from"), rows)


def _show_end(resolved: resolve.RunConfig, results: dict[str, Any], ui: Any) -> None:
    """What a run has come to, short enough for one screen."""
    from kit.page.headline import headline
    from kit.steps import pipeline
    from kit.system.ui import Row

    verdict = results.get(pipeline.NAMES[3])
    if verdict is None:
        return
    head, page = headline(verdict.document), resolved.out_dir / layout.REPORT_PAGE
    lines = [("verdict", head.word), *(("reason", reason) for reason in head.reasons[:_REASONS]), *head.numbers]
    lines += [("worst source", head.worst)] if head.worst else []
    lines += [("run folder", str(resolved.out_dir)), ("page", str(page) if page.is_file() else "none")]
    ui.table("Result", ("", ""), [Row(cells=line) for line in lines])


def _show_bundle(given: dict[str, str | None], *, as_json: bool) -> Outcome:
    """What a bundle would hold, and what it would not."""
    from kit.steps import pipeline
    from kit.system.ui import Row, size

    resolved = _resolve(given, continues=True)
    session = session_of(resolved)
    sizes = pipeline.would_leave(resolved, session)
    session.ui.table(
        "What would leave this box", ("file", "size"), [Row(cells=(name, size(count))) for name, count in sizes.items()]
    )
    session.ui.say(
        f"{len(sizes)} files, {size(sum(sizes.values()))} before packing. Paths, user and host are replaced "
        f"by tokens as files are written; {layout.CONFIG} and {layout.CHECKPOINTS} stay here."
    )
    if as_json:
        print_json({"run": str(resolved.out_dir), "files": [{"path": n, "size": c} for n, c in sizes.items()]})
    return Outcome(code=exits.OK)


def _result_json(resolved: resolve.RunConfig, last: str, results: dict[str, Any]) -> Any:
    from kit.steps import pipeline
    from kit.system.fsio import read_json

    run_dir = resolved.out_dir
    left = {
        "prereqs": layout.PREREQS,
        "corpus": f"{layout.CORPUS}/shard.json",
        "train": layout.TRAINING,
        "verdict": next((layout.verdict_file(word) for word in layout.verdicts_in(run_dir)), ""),
    }
    if last != pipeline.NAMES[-1]:
        return read_json(run_dir / left[last])
    packed = results[last]
    return {
        "run": str(run_dir),
        "bundle": {"path": str(packed.path), "size": packed.size, "sha256": packed.sha256},
        "verdict": read_json(run_dir / left["verdict"]) if left["verdict"] and not resolved.shard_only else None,
    }


def _dry_run(given: dict[str, str | None], *, as_json: bool) -> Outcome:
    from kit.prereqs.estimate import estimate
    from kit.prereqs.examine import examine
    from kit.steps import step_01_prereqs
    from kit.system.ui import Row, duration, size

    resolved = _resolve(given, continues=False)
    if resolved.corpus is not None:
        raise click.UsageError("--dry-run shows what making a corpus costs; this run has one already.")
    session = session_of(resolved)
    seen = examine(resolved, session)
    step_01_prereqs.show(seen)
    found = seen.prereqs()
    if found is None:
        raise step_01_prereqs.failure(seen)
    plan = estimate(resolved, found)
    session.ui.table(
        "Sources",
        ("source", "size", "format", "rate", "frames"),
        [
            Row(
                cells=(
                    f.label,
                    f"{f.geometry.width}x{f.geometry.height}",
                    f.geometry.pix_fmt,
                    str(f.geometry.fps),
                    str(f.geometry.frames),
                )
            )
            for f in found.files
        ],
    )
    session.ui.table(
        "Plan",
        ("", ""),
        [
            Row(cells=("encodes of each source", ", ".join(f"{name} cq {cq}" for name, cq in found.points))),
            Row(cells=("cells", f"{plan.cells} ({plan.rows} rows)")),
            Row(cells=("members to train", f"{plan.members} ({resolved.epochs} epochs)")),
            Row(cells=("disk", f"about {size(plan.disk_bytes)}")),
            Row(
                cells=(
                    "time",
                    f"corpus about {duration(plan.corpus_seconds)}, training about "
                    f"{duration(plan.training_seconds)} on {found.facts.cores} cores",
                )
            ),
        ],
    )
    if as_json:
        print_json(
            {
                "sources": [f.label for f in found.files],
                "points": list(map(list, found.points)),
                **dataclasses.asdict(plan),
            }
        )
    return Outcome(code=exits.OK)


def main(argv: Sequence[str]) -> int:
    """Run a command and turn whatever happens into its exit code; 1 comes from a written HOLD.json only."""
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123 - a closed stderr must not end in a crash
    signal.signal(signal.SIGTERM, _terminated)
    if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
        # a connection that drops ends the run in order; nohup's wish to be left alone is kept
        signal.signal(signal.SIGHUP, _terminated)
    try:
        # nvidia-smi and CUDA are to count GPUs alike
        os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
        telemetry.disable(os.environ)
        result = cli.main(list(argv), prog_name="python3 -m kit", standalone_mode=False, obj=os.environ)
    except BaseException as error:  # noqa: BLE001 - also a SystemExit of a library: its 1 would read as HOLD
        message, hint, code = _told(error)
        if code == exits.INTERNAL:
            traceback.print_exc()
        complain(message, hint)
        return code
    if isinstance(result, Outcome):
        return result.code
    # anything else is an exit of click's own: 0 after --help, and nothing else may pass for a verdict
    return exits.OK if result in (None, exits.OK) else exits.BAD_INPUT


def _told(error: BaseException) -> tuple[str, str, int]:
    """What to say of an error, what to do about it, and the exit code."""
    match error:
        case click.Abort() | KeyboardInterrupt():
            return "Interrupted; what was finished is kept.", "Run the same command again to go on.", exits.INTERRUPTED
        case Terminated():
            return "Terminated; what was finished is kept.", error.default_hint, error.exit_code
        case click.exceptions.NoArgsIsHelpError():
            names = ", ".join(cli.commands)
            return f"No command was given; expected one of {names}.", "--help tells more.", exits.BAD_INPUT
        case click.ClickException():
            return error.format_message(), "--help shows what there is.", exits.BAD_INPUT
        case KitError():
            return error.message, error.hint or error.default_hint, error.exit_code
        case ImportError() | SyntaxError():
            from kit.bootstrap import start

            damage = start.damaged(error, _ROOT)
            return damage.message, damage.hint or damage.default_hint, damage.exit_code
        case OSError() if told := _of_place(error):
            return told
    return "This is a fault of the kit, not of your input.", KitError.default_hint, exits.INTERNAL


def _of_place(error: OSError) -> tuple[str, str, int] | None:
    """The same of a place that cannot be used; None where it is the kit's own, or none is named."""
    if error.errno in NO_ROOM:
        where = f" at {error.filename}" if error.filename else ""
        return f"The disk is full{where}; what was finished is kept.", DiskFull.default_hint, exits.DISK_FULL
    if error.errno in _UNUSABLE and error.filename and not Path(str(error.filename)).absolute().is_relative_to(_ROOT):
        hint = "Give a place that is there and can be read and written."
        return f"{error.filename}: {error.strerror}", hint, exits.BAD_INPUT
    return None


def _terminated(_signum: int, _frame: object) -> NoReturn:
    raise Terminated("SIGTERM")


def console() -> NoReturn:
    """Entry point of an installed kit."""
    sys.exit(main(sys.argv[1:]))
