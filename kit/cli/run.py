"""`run`, and its five steps as commands."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kit.cli.opening import config_texts, run_config, session_of
from kit.cli.output import Result, Table, json_option, json_requested, row, show_table
from kit.cluster.security import link
from kit.core import layout
from kit.core.errors import BadInput, Missing
from kit.options import resolve
from kit.options.click_options import options, texts
from kit.options.run_table import RUN, RUN_COMMANDS, STEPS, effective
from kit.system.ui import counted, duration, size

if TYPE_CHECKING:
    from kit.page.headline import Headline

RUNS = Path("runs")
SETUP_NOTE = (
    "Setting up: the first start makes an environment beside the kit. --torch-index URL takes torch from another "
    "index (CPU builds), --wheels DIR installs without a network from a folder of wheels."
)
#: Reasons of a verdict that the end of a run shows.
_MOST_REASONS = 20
#: The problem of a failed cell among those of a verdict.
_FAILED_CELL = re.compile(r"cell \S.* failed: ")
_PLACES = (RUN["out_dir"], RUN_COMMANDS["config_file"])
#: Texts of options by name; None where an option was not given.
_Given = Mapping[str, str | None]


def _names(*steps: str) -> set[str]:
    """Return the options that take effect in these steps, and those that take effect in every step."""
    return {option.name for option in (*effective(*steps), *_PLACES)}


#: Options that take effect in a run on a finished corpus.
_ON_CORPUS = _names("adopt", *STEPS[2:])


def _refuse_force(_context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        raise BadInput(
            "--force does not exist: models are exported after PROMOTE only, and no option changes that",
            hint="The table of the verdict and `evidence` in HOLD.json show what is missing; more clips mostly help.",
        )


#: Users of other kits try this option; it is refused with the reason.
_no_force = click.option(
    "--force", is_flag=True, hidden=True, expose_value=False, is_eager=True, callback=_refuse_force
)


@click.command(epilog=SETUP_NOTE)
@texts(*(option for option in effective("adopt", *STEPS) if not option.cluster), *_PLACES)
@json_option
@options(*RUN_COMMANDS.pick("first", "only", "dry_run"))
@_no_force
def run(first: int | None, only: int | None, dry_run: bool, **given: str | None) -> Result:
    """Do all five steps: prereqs, corpus, train, verdict, bundle.

    With --corpus it starts at training.

    Exit codes: 0 PROMOTE, 1 HOLD, 2 bad input or set-up, 3 INVALID evidence, 4 disk full.
    """
    if given["corpus"] is not None:
        if only or first or dry_run:
            raise click.UsageError("--corpus starts at training; leave --from, --only and --dry-run out.")
        return _run_steps(given, first=1, last=5, verdict_decides=True)
    if only is not None and first is not None:
        raise click.UsageError("--from and --only exclude each other.")
    if dry_run:
        if only or first:
            raise click.UsageError("--dry-run shows the whole run; leave --from and --only out.")
        return _dry_run(given)
    start, end = only or first or 1, only or 5
    steps = STEPS[start - 1 : end]
    _refuse_idle(given, _names(*steps), f"the steps {', '.join(steps)}" if len(steps) > 1 else f"the step {steps[0]}")
    return _run_steps(given, first=start, last=end, verdict_decides=True)


@click.command()
@texts(*effective("prereqs"), *_PLACES)
@json_option
def prereqs(**given: str | None) -> Result:
    """Step 1: check what the run needs and what this box has."""
    return _run_steps(given, first=1, last=1)


@click.group(invoke_without_command=True, subcommand_metavar="[COMMAND [ARGS]...]")
@texts(*effective("corpus"), *_PLACES)
@json_option
@click.pass_context
def corpus(context: click.Context, /, **given: str | None) -> Result | None:
    """Step 2: encode and score every missing cell.

    With --scheduler: on the boxes that run `worker`, with their encoders. Subcommands inspect, import or export a
    corpus.

    Exit codes: 0 done, 2 bad input, 3 a cell is missing, 4 disk full.
    """
    if context.invoked_subcommand is None:
        return _run_steps(given, first=2, last=2)
    if json_requested() or any(text is not None for text in given.values()):
        name = context.invoked_subcommand
        raise click.UsageError(f"Options before {name!r} belong to step 2; put options of {name!r} after it.")
    return None


@click.command()
@texts(*effective("train"), *_PLACES)
@json_option
def train(**given: str | None) -> Result:
    """Step 3: train every seed on every fold."""
    return _run_steps(given, first=3, last=3)


@click.command()
@texts(*effective("verdict"), *_PLACES)
@json_option
@_no_force
def verdict(**given: str | None) -> Result:
    """Step 4: apply the gate; after PROMOTE fit and export the models.

    Exit codes: 0 PROMOTE, 1 HOLD, 2 bad input, 3 INVALID evidence, 4 disk full.
    """
    return _run_steps(given, first=4, last=4, verdict_decides=True)


@click.command()
@texts(*effective("bundle"), *_PLACES)
@json_option
@options(RUN_COMMANDS["show"])
def bundle(show: bool, **given: str | None) -> Result:
    """Step 5: pack the bundle to send back."""
    return _list_bundle(given) if show else _run_steps(given, first=5, last=5)


def _refuse_idle(given: _Given, used: set[str], what: str) -> None:
    if idle := [name for name, text in given.items() if text is not None and name not in used]:
        shown = ", ".join("--" + name.replace("_", "-") for name in idle)
        raise click.UsageError(f"{shown}: no effect on {what}; leave it out.")


def _resolve(given: _Given, *, continues: bool) -> resolve.RunConfig:
    """Resolve the options of a command and choose its run folder.

    Args:
        continues: the command needs an existing run.
    """
    from kit.steps import pipeline

    named, file = config_texts(given)
    out_dir = named.get("out_dir", file.get("out_dir"))
    folder = None if out_dir is None else RUN["out_dir"].read(out_dir)
    if folder is None and continues:
        folder = pipeline.newest_run(RUNS)
        if folder is None:
            raise Missing("runs/ has no run to continue", hint="Start with `run`, or give --out-dir.")
    remembered = pipeline.remembered(folder) if folder else {}
    config = run_config(named, file, out_dir=folder or RUNS, remembered=remembered)
    link(config)  # an address that must not be used is refused before anything is done
    if folder is not None:
        return config
    earlier = pipeline.unfinished_run(RUNS, resolve.as_texts(config))
    new = RUNS / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{config.box}"
    return dataclasses.replace(config, out_dir=(earlier or new).absolute())


def _run_steps(given: _Given, *, first: int, last: int, verdict_decides: bool = False) -> Result:
    """Run the steps ``first`` to ``last`` (1 to 5).

    Args:
        verdict_decides: the exit code is that of the verdict.
    """
    from kit.steps import pipeline

    config = _resolve(given, continues=first > 1)
    session = session_of(config)
    if (config.out_dir / layout.CONFIG).is_file():
        session.ui.say(f"Continuing in {config.out_dir}; finished work is kept. Another --out-dir starts a new run.")
    show_table(_options_table(config), session.ui)
    adopts = config.corpus is not None
    if adopts:
        _refuse_idle(given, _ON_CORPUS, "a run with --corpus")
    steps = pipeline.chosen_steps(first=first, last=last, shard_only=config.shard_only, adopts=adopts)
    if not steps:
        kind = "--corpus" if adopts else "--shard-only"
        raise click.UsageError(f"step {pipeline.NAMES[first - 1]} is not part of a {kind} run.")
    results = pipeline.execute(config, steps, session)
    last_name = steps[-1].name
    shown: list[str | Table] = []
    if config.shard_only and first == 1 and last == len(STEPS):
        shown.append("Shard only: no verdict was requested.")
    if last_name == "train":
        shown += [f"The evidence is not valid: {problem}" for problem in results["train"].problems]
    if verdict_decides and "verdict" in results and not config.shard_only:
        # step 2 has listed the failed cells; without them nothing is trained, so they are the only reasons
        failed = 0 if adopts or "corpus" not in results else len(results["corpus"].unwaived)
        shown.append(_result_table(config.out_dir, results["verdict"].document, failed_above=failed))
    return Result(
        code=pipeline.exit_code(results, results[last_name], verdict_decides=verdict_decides),
        shown=shown,
        data=_document(config, last_name, results[last_name]) if json_requested() else None,
        last_line=f"Send back: {results['bundle'].path}" if "bundle" in results else "",
    )


def _options_table(config: resolve.RunConfig) -> Table:
    """List every option that takes effect, with its value and its origin."""
    values = {name: RUN[name].otherwise for name in ("ref_dir", "encoders", "ffmpeg", "vmaf_bin")}
    if config.ref_dir is not None:
        values["ref_dir"] = str(config.ref_dir)
    values |= resolve.as_texts(config) | {"out_dir": str(config.out_dir)}
    if config.scheduler is not None:
        values["scheduler"] = config.scheduler
    names = values.keys() if config.corpus is None else values.keys() & _ON_CORPUS
    rows = [row(name.replace("_", "-"), values[name], config.origins.get(name, "default")) for name in sorted(names)]
    return Table(title="Options", columns=("option", "value", "from"), rows=rows)


def _result_table(out_dir: Path, document: Mapping[str, Any], *, failed_above: int) -> Table:
    """Summarise a verdict on one screen.

    Args:
        failed_above: number of failed cells that are the reasons and are listed above already.
    """
    from kit.page.gather import losses
    from kit.page.headline import headline

    summary: Headline = headline(document, losses(out_dir, document.get("seeds", ())))
    page = out_dir / layout.REPORT_PAGE
    listed = f"{counted(failed_above, 'cell')} failed, listed under Failed cells above"
    others = tuple(reason for reason in summary.reasons if not _FAILED_CELL.match(reason))
    reasons = (listed, *others) if failed_above else summary.reasons
    about = "missing" if summary.word == "INVALID" else "reason"
    # what is missing follows line by line
    first = summary.word if summary.word == "INVALID" else summary.text
    rows = [row("verdict", first), *(row(about, reason) for reason in reasons[:_MOST_REASONS])]
    if len(reasons) > _MOST_REASONS:
        rows.append(row("", f"and {len(reasons) - _MOST_REASONS} more, in {layout.verdict_file(summary.word)}"))
    rows += [row(*number) for number in summary.numbers]
    rows += [row("worst source", summary.worst)] if summary.worst else []
    rows += [row("warning", warning) for warning in summary.warnings]
    rows += [row("try next", step) for step in summary.next_steps]
    rows += [row("run folder", out_dir), row("page", page if page.is_file() else "none")]
    return Table(title="Result", columns=("", ""), rows=rows)


def _document(config: resolve.RunConfig, last: str, result: Any) -> Any:
    """Return what a command prints as JSON: the file of its last step, or the bundle with its verdict."""
    from kit.system.fsio import read_json

    words = layout.verdicts_in(config.out_dir)
    verdict_file = config.out_dir / layout.verdict_file(words[0]) if words else None
    if last == "bundle":
        return {
            "run": config.out_dir,
            "bundle": {"path": result.path, "size": result.size, "sha256": result.sha256},
            "verdict": read_json(verdict_file) if verdict_file and not config.shard_only else None,
        }
    files = {"prereqs": layout.PREREQS, "corpus": f"{layout.CORPUS}/shard.json", "train": layout.TRAINING}
    return read_json(config.out_dir / files[last] if last in files else verdict_file)  # type: ignore[arg-type]


def _list_bundle(given: _Given) -> Result:
    """List what a bundle would contain."""
    from kit.steps import pipeline

    config = _resolve(given, continues=True)
    sizes = pipeline.would_leave(config, session_of(config))
    rows = [row(name, size(count)) for name, count in sizes.items()]
    return Result(
        shown=(
            Table(title="Files that a bundle would take from this box", columns=("file", "size"), rows=rows),
            f"{len(sizes)} files, {size(sum(sizes.values()))} before packing. Paths, user and host are replaced "
            f"by tokens as files are written; {layout.CONFIG} and {layout.CHECKPOINTS} stay here.",
        ),
        data={"run": config.out_dir, "files": [{"path": name, "size": count} for name, count in sizes.items()]},
    )


def _dry_run(given: _Given) -> Result:
    """Show the sources and the cost of a run, and start nothing."""
    from kit.prereqs.estimate import estimate
    from kit.prereqs.examine import examine
    from kit.steps import step_01_prereqs

    config = _resolve(given, continues=False)
    if config.corpus is not None:
        raise click.UsageError("--dry-run shows the cost of a corpus; a run with --corpus makes none.")
    examined = examine(config, session_of(config))
    step_01_prereqs.show(examined)
    checked = examined.prereqs()
    if checked is None:
        raise step_01_prereqs.failure(examined)
    plan = estimate(config, checked)
    formats = [(file.label, file.geometry) for file in checked.files]
    seconds = f"corpus about {duration(plan.corpus_seconds)}, training about {duration(plan.training_seconds)}"
    points = ", ".join(f"{name} cq {cq}" for name, cq in checked.points)
    return Result(
        shown=(
            Table(
                title="Sources",
                columns=("source", "size", "format", "rate", "frames"),
                rows=[row(label, f"{g.width}x{g.height}", g.pix_fmt, g.fps, g.frames) for label, g in formats],
            ),
            Table(
                title="Plan",
                columns=("", ""),
                rows=[
                    row("encodes of each source", points),
                    row("cells", f"{plan.cells} ({plan.rows} rows)"),
                    row("members to train", f"{plan.members} ({config.epochs} epochs)"),
                    row("disk", f"about {size(plan.disk_bytes)}"),
                    row("time", f"{seconds} on {checked.facts.cores} cores"),
                ],
            ),
        ),
        data={
            "sources": [file.label for file in checked.files],
            "points": list(map(list, checked.points)),
            **dataclasses.asdict(plan),
        },
    )


COMMANDS = (run, prereqs, corpus, train, verdict, bundle)
