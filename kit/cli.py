"""The command line: parse, resolve, call, show. Only this module prints errors and decides exit codes."""

from __future__ import annotations

import dataclasses
import errno
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import click

from kit import __version__, config, contract, exits, layout
from kit.cli_binaries import binaries
from kit.cli_common import Outcome, complain, print_json
from kit.cli_corpus import CORPUS_COMMANDS
from kit.cli_dataset import dataset
from kit.cli_platform import platform
from kit.errors import BadInput, DiskFull, KitError, Missing, Terminated

RUNS = Path("runs")

SETUP_NOTE = (
    "Setting up: the first start makes an environment beside the kit. --torch-index URL takes torch from another "
    "index (CPU builds), --wheels DIR installs without a network from a folder of wheels."
)


def _options(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate a command with the options of these names."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for name in reversed(names):
            command = _OPTIONS[name](command)
        return command

    return decorate


def _flag_text(_context: click.Context, _parameter: click.Parameter, value: bool | None) -> str | None:  # noqa: FBT001
    """A flag as the text that the configuration reads."""
    return None if value is None else str(value).lower()


_CQS = ",".join(map(str, contract.DEFAULT_CQS))
_SEEDS = ",".join(map(str, contract.DEFAULT_SEEDS))
_OPTIONS: dict[str, Callable[[Callable[..., Any]], Callable[..., Any]]] = {
    "ref_dir": click.option(
        "--ref-dir", metavar="DIR",
        help="Folder of reference clips (.yuv, .y4m, video files; sub-folders too). Without it: the demo clips."),
    "dataset": click.option(
        "--dataset", metavar="NAME",
        help=f"What --ref-dir holds: {', '.join(contract.DATASETS)}. A data set named without --ref-dir is looked for "
             "in ${VMAF_DATA_ROOT:-~/.cache/vmaf-train}/datasets/NAME. Default: auto."),
    "encoders": click.option(
        "--encoders", metavar="A,B", help="Encoders to use, each of which must work. Default: what the box calls for."),
    "teacher": click.option(
        "--teacher", metavar="MODEL",
        help="VMAF model whose score is the target: a built-in one by name, or a model file (.json) by path. "
             f"Default: {contract.DEFAULT_TEACHER}."),
    "cqs": click.option("--cqs", metavar="N,N", help=f"Quality points, 0 to 51. Default: {_CQS}."),
    "seeds": click.option("--seeds", metavar="N,N", help=f"Ensemble seeds. Default: {_SEEDS}."),
    "epochs": click.option(
        "--epochs", metavar="N",
        help=f"Passes over the training rows. Default: {contract.DEFAULT_EPOCHS}, demo {contract.DEMO_EPOCHS}."),
    "out_dir": click.option(
        "--out-dir", metavar="DIR",
        help="Run folder. Default: a new one under runs/, or the last one there if it is to be continued."),
    "box": click.option("--box", metavar="NAME", help="Name of this box in the results. Default: a random tag."),
    "ffmpeg": click.option(
        "--ffmpeg", metavar="PATH",
        help="The ffmpeg that encodes; if it cannot score, the bundled one does. Environment: FFMPEG_BIN."),
    "vmaf_bin": click.option(
        "--vmaf-bin", metavar="PATH",
        help="The vmaf tool. Environment: LIBVMAF_BIN. Default: binaries/<platform>/vmaf, else ffmpeg's filter."),
    "scorer_backend": click.option(
        "--scorer-backend", metavar="NAME",
        help=f"What the vmaf tool computes with: {' or '.join(contract.SCORER_BACKENDS)}. Cells of different backends "
             f"never go into one corpus. Default: {contract.DEFAULT_SCORER_BACKEND}."),
    "gpu": click.option(
        "--gpu", metavar="INDEX", help="NVIDIA GPU that encodes, as nvidia-smi counts. Default: the first."),
    "render_node": click.option(
        "--render-node", metavar="NAME",
        help="Render node of the Intel GPU that encodes, e.g. renderD129. Default: the first with Intel's driver."),
    "geometry": click.option(
        "--geometry", metavar="WxH@FPS[:FMT]", help="Format of .yuv files that neither name nor sidecar tells."),
    "anchor": click.option(
        "--anchor/--no-anchor", default=None, callback=_flag_text,
        help=f"The cell that every box shares ({contract.ANCHOR_ENCODER}, cq {contract.ANCHOR_CQ}). Default: with it."),
    "shard_only": click.option(
        "--shard-only/--with-verdict", default=None, callback=_flag_text,
        help="Only prereqs, corpus and bundle; no verdict is asked for."),
    "allow_partial": click.option(
        "--allow-partial/--no-allow-partial", default=None, callback=_flag_text,
        help="Go on without cells that fail; the verdict counts them. Default: they make it INVALID, exit code 3."),
    "stall_timeout": click.option(
        "--stall-timeout", metavar="SECONDS",
        help=f"Stop and retry a cell that makes no progress for so long. Default: {config.STALL_TIMEOUT:g}."),
    "disk_wait": click.option(
        "--disk-wait", metavar="SECONDS",
        help=f"How long to wait for room when the disk is full. Default: {config.DISK_WAIT:g}."),
    "config": click.option("--config", "config_file", metavar="FILE", help="TOML file with options."),
    "json": click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout."),
}  # fmt: skip
_PLACES = ("out_dir", "config", "json")
_CORPUS_OPTIONS = (
    "ref_dir", "dataset", "encoders", "teacher", "cqs", "box", "ffmpeg", "vmaf_bin", "scorer_backend", "gpu",
    "render_node", "geometry", "anchor",
)  # fmt: skip
#: Options that take effect in each step.
_STEP_OPTIONS = (
    {*_CORPUS_OPTIONS, "shard_only"},
    {"cqs", "anchor", *config.TOLERANCES},
    {"seeds", "epochs"},
    set[str](),
    set[str](),
)


@click.group(name="vmaf-ensemble-kit", epilog=SETUP_NOTE, context_settings={"max_content_width": 100})
@click.version_option(__version__, message="vmaf-ensemble-kit %(version)s")
def cli() -> None:
    """Build a VMAF corpus on this box, train the ensemble, and give a verdict: PROMOTE or HOLD."""


@cli.command(epilog=SETUP_NOTE)
@_options(*_CORPUS_OPTIONS, "seeds", "epochs", "shard_only", *config.TOLERANCES, *_PLACES)
@click.option("--from", "first", type=click.IntRange(1, 5), help="Start at step N from what the run folder holds.")
@click.option("--only", type=click.IntRange(1, 5), help="Do step N alone.")
@click.option("--dry-run", is_flag=True, help="Print the plan and its cost; make nothing.")
def run(first: int | None, only: int | None, dry_run: bool, as_json: bool, **given: str | None) -> Outcome:  # noqa: FBT001
    """All five steps: prereqs, corpus, train, verdict, bundle.

    Exit codes: 0 PROMOTE, 1 HOLD, 2 bad input or set-up, 3 INVALID evidence, 4 disk full.
    """
    if only is not None and first is not None:
        raise click.UsageError("--from and --only exclude each other.")
    if dry_run:
        if only or first:
            raise click.UsageError("--dry-run shows the whole run; leave --from and --only out.")
        return _dry_run(given, as_json=as_json)
    start, end = only or first or 1, only or 5
    effective = set().union(*_STEP_OPTIONS[start - 1 : end], {"out_dir", "config_file"})
    if idle := [name for name, text in given.items() if text is not None and name not in effective]:
        shown = ", ".join("--" + name.replace("_", "-") for name in idle)
        raise click.UsageError(f"{shown}: no effect on steps {start} to {end}; leave it out.")
    return _execute(given, first=start, last=end, as_json=as_json, verdict_decides=True)


@cli.command()
@_options(*_CORPUS_OPTIONS, "shard_only", *_PLACES)
def prereqs(as_json: bool, **given: str | None) -> Outcome:  # noqa: FBT001
    """Step 1: check what the run needs and what this box has."""
    return _execute(given, first=1, last=1, as_json=as_json)


@cli.group(invoke_without_command=True, subcommand_metavar="[COMMAND [ARGS]...]")
@_options("cqs", "anchor", *config.TOLERANCES, *_PLACES)
@click.pass_context
def corpus(context: click.Context, /, as_json: bool, **given: str | None) -> Outcome | None:  # noqa: FBT001
    """Step 2: encode and score every cell that is not there yet.

    With a command of its own: look at a corpus, import or export one.

    Exit codes: 0 done, 2 bad input, 3 a cell is missing, 4 disk full.
    """
    if context.invoked_subcommand is None:
        return _execute(given, first=2, last=2, as_json=as_json)
    if as_json or any(text is not None for text in given.values()):
        name = context.invoked_subcommand
        raise click.UsageError(f"Options before {name!r} are those of step 2; write its own behind it.")
    return None


@cli.command()
@_options("seeds", "epochs", *_PLACES)
def train(as_json: bool, **given: str | None) -> Outcome:  # noqa: FBT001
    """Step 3: train every seed on every fold."""
    return _execute(given, first=3, last=3, as_json=as_json)


@cli.command()
@_options(*_PLACES)
def verdict(as_json: bool, **given: str | None) -> Outcome:  # noqa: FBT001
    """Step 4: apply the gate; exits as a run does (0 PROMOTE, 1 HOLD, 3 INVALID)."""
    return _execute(given, first=4, last=4, as_json=as_json, verdict_decides=True)


@cli.command()
@_options(*_PLACES)
def bundle(as_json: bool, **given: str | None) -> Outcome:  # noqa: FBT001
    """Step 5: pack the one file that goes back."""
    return _execute(given, first=5, last=5, as_json=as_json)


@cli.command(context_settings={"ignore_unknown_options": True})
@click.argument("pytest_args", nargs=-1, type=click.UNPROCESSED)
def selftest(pytest_args: tuple[str, ...]) -> Outcome:
    """Run the kit's own tests here; what follows goes to pytest."""
    import pytest

    from kit.session import KIT_ROOT

    os.chdir(KIT_ROOT)
    passed = pytest.main(["-q", *pytest_args]) == pytest.ExitCode.OK
    return Outcome(code=exits.OK if passed else exits.INVALID)


for _command in CORPUS_COMMANDS:
    corpus.add_command(_command)
cli.add_command(binaries)
cli.add_command(dataset)
cli.add_command(platform)


def _resolve(given: dict[str, str | None], *, continues: bool) -> config.RunConfig:
    """Resolve the options of a command and settle its run folder.

    Args:
        continues: the command goes on with an existing run.
    """
    from kit import local, pipeline

    named = {name: text for name, text in given.items() if text is not None and name != "config_file"}
    file: config.Texts = {}
    if path := given.get("config_file"):
        try:
            file = config.read_config_file(Path(path).read_text(encoding="utf-8"), path)
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(f"--config {path} cannot be read: {error}") from error
    asked = named.get("out_dir", file.get("out_dir"))
    place = None if asked is None else config.out_dir(asked)
    if place is None and continues:
        place = pipeline.newest_run(RUNS)
        if place is None:
            raise Missing("there is no run under runs/ to go on with", hint="Start with `run`, or give --out-dir.")
    remembered = pipeline.remembered(place) if place else {}
    found = config.gather(command_line=named, environ=os.environ, file=file, remembered=remembered)
    values = config.parse(found)
    tag, origin = local.box_tag() if "box" not in values else ("", "")
    resolved = config.complete(
        values, found.origins, out_dir=place or RUNS, box=tag, box_origin=origin,
    )  # fmt: skip
    if place is not None:
        return resolved
    earlier = pipeline.unfinished_run(RUNS, config.as_texts(resolved))
    new = RUNS / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{resolved.box}"
    return dataclasses.replace(resolved, out_dir=(earlier or new).absolute())


def _execute(
    given: dict[str, str | None], *, first: int, last: int, as_json: bool, verdict_decides: bool = False
) -> Outcome:
    from kit import local, pipeline
    from kit.session import open_session
    from kit.ui import Ui

    resolved = _resolve(given, continues=first > 1)
    session = open_session(resolved, ui=Ui(), cache=local.usable_cache(resolved.out_dir), argv=sys.argv[1:])
    _show_config(resolved, session.ui)
    steps = pipeline.chosen_steps(first=first, last=last, shard_only=resolved.shard_only)
    if not steps:
        raise click.UsageError(f"step {pipeline.NAMES[first - 1]} is no part of a --shard-only run.")
    results = pipeline.execute(resolved, steps, session)
    if resolved.shard_only and first == 1 and last == len(pipeline.STEPS):
        session.ui.say("Shard only: no verdict was asked for.")
    if as_json:
        print_json(_result_json(resolved, steps[-1].name, results))
    return Outcome(code=pipeline.exit_code(results, results[steps[-1].name], verdict_decides=verdict_decides))


def _show_config(resolved: config.RunConfig, ui: Any) -> None:
    """Every option with its value and where it came from."""
    from kit.ui import Row

    if (resolved.out_dir / layout.CONFIG).is_file():
        ui.say(f"Going on in {resolved.out_dir}; what is finished there stays. Another --out-dir starts anew.")
    shown = {
        "ref_dir": "demo clips",
        "encoders": "what the platform calls for",
        "ffmpeg": "bundled",
        "vmaf_bin": "none: ffmpeg's filter, or binaries/<tag>/vmaf",
    }
    if resolved.ref_dir is not None:
        shown["ref_dir"] = str(resolved.ref_dir)
    texts = shown | config.as_texts(resolved) | {"out_dir": str(resolved.out_dir)}
    rows = [Row(cells=(name.replace("_", "-"), texts[name], resolved.origins.get(name, "default")))
            for name in sorted(texts)]  # fmt: skip
    ui.table("Options", ("option", "value", "from"), rows)


def _result_json(resolved: config.RunConfig, last: str, results: dict[str, Any]) -> Any:
    from kit import pipeline
    from kit.fsio import read_json

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
    from kit import local
    from kit.estimate import estimate
    from kit.examine import examine
    from kit.session import open_session
    from kit.steps import step_01_prereqs
    from kit.ui import Row, Ui, duration, size

    resolved = _resolve(given, continues=False)
    session = open_session(resolved, ui=Ui(), cache=local.usable_cache(resolved.out_dir), argv=sys.argv[1:])
    seen = examine(resolved, session)
    step_01_prereqs.show(seen)
    found = seen.prereqs()
    if found is None:
        raise step_01_prereqs.failure(seen)
    plan = estimate(resolved, found)
    session.ui.table("Sources", ("source", "size", "format", "rate", "frames"), [
        Row(cells=(f.label, f"{f.geometry.width}x{f.geometry.height}", f.geometry.pix_fmt, str(f.geometry.fps),
                   str(f.geometry.frames))) for f in found.files])  # fmt: skip
    session.ui.table("Plan", ("", ""), [
        Row(cells=("encodes of each source", ", ".join(f"{name} cq {cq}" for name, cq in found.points))),
        Row(cells=("cells", f"{plan.cells} ({plan.rows} rows)")),
        Row(cells=("members to train", f"{plan.members} ({resolved.epochs} epochs)")),
        Row(cells=("disk", f"about {size(plan.disk_bytes)}")),
        Row(cells=("time", f"corpus about {duration(plan.corpus_seconds)}, training about "
                           f"{duration(plan.training_seconds)} on {found.facts.cores} cores")),
    ])  # fmt: skip
    if as_json:
        print_json({"sources": [f.label for f in found.files], "points": list(map(list, found.points)),
                     **dataclasses.asdict(plan)})  # fmt: skip
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
            return "Interrupted; what was finished is kept.", "Start the same command to go on.", exits.INTERRUPTED
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
            from kit import bootstrap

            damage = bootstrap.damaged(error, Path(__file__).resolve().parent.parent)
            return damage.message, damage.hint or damage.default_hint, damage.exit_code
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            where = f" at {error.filename}" if error.filename else ""
            return f"The disk is full{where}; what was finished is kept.", DiskFull.default_hint, exits.DISK_FULL
    return "This is a fault of the kit, not of your input.", KitError.default_hint, exits.INTERNAL


def _terminated(_signum: int, _frame: object) -> NoReturn:
    raise Terminated("SIGTERM")


def console() -> NoReturn:
    """Entry point of an installed kit."""
    sys.exit(main(sys.argv[1:]))
