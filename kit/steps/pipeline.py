"""The run: a tuple of steps, each of which gets the result of the one before it."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kit.core import contract, exits, layout
from kit.core.errors import BadInput, Missing, PageFailed, ToolFailed
from kit.corpus.store.shard import Shard
from kit.options.resolve import RunConfig, as_texts
from kit.options.run_table import TOLERANCES
from kit.options.session import Session
from kit.page.make import make as make_page
from kit.steps import step_01_prereqs, step_02_adopt, step_02_corpus, step_03_train, step_04_verdict, step_05_bundle
from kit.steps.results import Bundle, Verdict
from kit.system.fsio import (
    TEMPORARY_PREFIX,
    locked,
    read_json,
    remove_abandoned,
    remove_temporaries,
    scratch_folders,
    temporaries,
    write_json,
)
from kit.system.outputs import require_writable
from kit.system.privacy import Redactor
from kit.system.ui import size
from kit.verdict.judge import Training

EXIT_OF_VERDICT = {"PROMOTE": exits.OK, "HOLD": exits.HOLD, "INVALID": exits.INVALID}


#: Name of an unfinished bundle; the folder around a run may contain anything else.
_UNFINISHED_BUNDLE = re.compile(rf"{re.escape(TEMPORARY_PREFIX)}[0-9a-f]{{16}}\.gz")


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step: ``run`` makes its result, ``load`` reads that of an earlier run."""

    name: str
    run: Callable[[RunConfig, Any, Session], Any]
    load: Callable[[RunConfig, Session], Any]


def _nothing(config: RunConfig, session: Session) -> None:
    return None


STEPS: tuple[Step, ...] = (
    Step(name=step_01_prereqs.NAME, run=step_01_prereqs.run, load=step_01_prereqs.load),
    Step(name=step_02_corpus.NAME, run=step_02_corpus.run, load=step_02_corpus.load),
    Step(name=step_03_train.NAME, run=step_03_train.run, load=step_03_train.load),
    Step(name=step_04_verdict.NAME, run=step_04_verdict.run, load=step_04_verdict.load),
    Step(name=step_05_bundle.NAME, run=step_05_bundle.run, load=_nothing),
)
#: Replaces the second step where the corpus exists already.
ADOPT = Step(name=step_02_adopt.NAME, run=step_02_adopt.run, load=step_02_corpus.load)
NAMES = tuple(step.name for step in STEPS)
#: Steps of ``--shard-only``.
SHARD_STEPS = (step_01_prereqs.NAME, step_02_corpus.NAME, step_05_bundle.NAME)


def chosen_steps(*, first: int, last: int, shard_only: bool, adopts: bool = False) -> tuple[Step, ...]:
    """Return steps ``first`` to ``last`` (1 to 5, both included).

    Args:
        adopts: the corpus exists already: it is copied instead of made, without prerequisites.
    """
    picked = tuple(step for step in (ADOPT, *STEPS[2:]) if first <= NAMES.index(step.name) + 1 <= last)
    picked = picked if adopts else STEPS[first - 1 : last]
    return tuple(step for step in picked if not shard_only or step.name in SHARD_STEPS)


def execute(config: RunConfig, steps: tuple[Step, ...], session: Session) -> dict[str, Any]:
    """Run steps in order in the run folder; return each step's result by name.

    Raises:
        KitError: a step failed; the results of the steps before it are kept.
    """
    if steps[0] not in (STEPS[0], ADOPT) and not config.out_dir.is_dir():
        raise Missing(
            f"no run folder: {config.out_dir} does not exist", hint="Start with `run`, or give its --out-dir."
        )
    require_writable(config.out_dir, option="--out-dir", hint="Give another folder.")
    with locked(config.out_dir), _logged(config.out_dir, session.redact):
        # first: a command that is refused here has changed nothing
        previous = _before(steps[0], config, session)
        if any(step.name == step_03_train.NAME for step in steps):
            step_03_train.check(config)
        _sweep(config.out_dir, session.cache)
        write_json(config.out_dir / layout.CONFIG, _remembered(config))
        (config.out_dir / layout.MANIFEST).unlink(missing_ok=True)
        if steps[0].name != step_05_bundle.NAME:
            layout.withdraw_verdict(config.out_dir)
        results: dict[str, Any] = {}
        page_error = None
        for step in steps:
            session.ui.say(f"Step {NAMES.index(step.name) + 1} of {len(NAMES)}: {step.name}")
            if step.name == step_05_bundle.NAME:
                previous = None if config.shard_only else previous
                page_error = _make_page(config, previous, session)
            previous = results[step.name] = step.run(config, previous, session)
        if steps[-1].name == step_04_verdict.NAME:
            page_error = _make_page(config, previous, session)
        if page_error is not None:
            last = results[steps[-1].name]
            hint = PageFailed.default_hint
            hint += f"\nSend back: {last.path}" if isinstance(last, Bundle) else ""
            raise PageFailed(f"{last.described}, without its page:\n{page_error.message}", hint=hint) from page_error
    return results


def _make_page(config: RunConfig, verdict: Verdict | None, session: Session) -> ToolFailed | None:
    """Make the page of a verdict that has none; return the failure, which must not prevent the verdict."""
    page = config.out_dir / layout.REPORT_PAGE
    if verdict is None or page.is_file():
        return None
    try:
        make_page(config.out_dir, page.parent, session.processes)
    except ToolFailed as error:
        session.ui.say(f"Without a report page: {error.tried} failed: {error.status}")
        return error
    session.ui.say(f"Page: {page} ({size(page.stat().st_size)})")
    return None


def would_leave(config: RunConfig, session: Session) -> dict[str, int]:
    """Return path and size of every file that `bundle` would pack; write nothing."""
    return step_05_bundle.listing(config, _before(STEPS[-1], config, session))


def pack(config: RunConfig, session: Session, target: Path) -> None:
    """Write the bundle that `bundle` would write, unsigned, to another place; the run folder stays as it is."""
    unsigned = replace(config, sign=None)
    step_05_bundle.pack(unsigned, _before(STEPS[-1], config, session), session, target, datetime.now(UTC))


def _sweep(out_dir: Path, cache: Path) -> None:
    """Remove what a killed run has left in the run folder and in shared places."""
    remove_temporaries(out_dir)
    bundles = (
        path for path in out_dir.parent.glob(f"{TEMPORARY_PREFIX}*.gz") if _UNFINISHED_BUNDLE.fullmatch(path.name)
    )
    remove_abandoned((*bundles, *temporaries(cache), *scratch_folders()))


def _before(step: Step, config: RunConfig, session: Session) -> Any:
    """Load the result of the step before the first one."""
    index = NAMES.index(step.name)
    if index == 0 or step is ADOPT or (step.name == step_05_bundle.NAME and config.shard_only):
        return None
    return STEPS[index - 1].load(config, session)


def exit_code(results: dict[str, Any], last: Any, *, verdict_decides: bool) -> int:
    """Return the exit code of a command. 1 needs a HOLD.json, written by the verdict step.

    Args:
        verdict_decides: the command reports the verdict (``run``, ``verdict``); ``bundle`` alone only packs.
    """
    verdict = results.get(step_04_verdict.NAME)
    word = verdict.word if verdict is not None else getattr(last, "verdict", None)
    if verdict_decides and word is not None:
        return EXIT_OF_VERDICT[word]
    unsound = (isinstance(value, Training) and value.problems for value in results.values())
    lacking = (isinstance(value, Shard) and value.unwaived for value in results.values())
    return exits.INVALID if any(unsound) or any(lacking) else exits.OK


def _remembered(config: RunConfig) -> dict[str, object]:
    """Build ``config.json``, which stays in the run folder and lets a single step run again."""
    options = {
        name: {"value": text, "origin": config.origins.get(name, "default")} for name, text in as_texts(config).items()
    }
    return {"schema_version": contract.SCHEMA_VERSION, "options": options}


def _stored(out_dir: Path) -> dict[str, tuple[str, str]]:
    """Read option name to (text, origin) of an earlier run in this folder; empty if it has none.

    Raises:
        BadInput: its ``config.json`` cannot be read.
    """
    path = out_dir / layout.CONFIG
    try:
        value: Any = read_json(path)
    except Missing:
        return {}
    try:
        return {name: (str(given["value"]), str(given["origin"])) for name, given in value["options"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"{path} has another format: {error!r}", hint="Give another --out-dir.") from error


def remembered(out_dir: Path) -> dict[str, str]:
    """Return the options given to an earlier run in this folder, without those that were defaults.

    Raises:
        BadInput: its ``config.json`` cannot be read.
    """
    return {name: text for name, (text, origin) in _stored(out_dir).items() if not origin.startswith("default")}


def newest_run(runs: Path) -> Path | None:
    """Return the run folder below ``runs`` that was started last."""
    folders = sorted(path.parent for path in runs.glob(f"*/{layout.CONFIG}"))
    return folders[-1] if folders else None


def unfinished_run(runs: Path, wanted: Mapping[str, str]) -> Path | None:
    """Return the newest run if it has the same options and no bundle yet, or one with INVALID."""
    newest = newest_run(runs)
    if newest is None:
        return None
    finished = (newest / layout.MANIFEST).is_file()
    if finished and "INVALID" not in layout.verdicts_in(newest):
        return None
    try:
        stored = {name: text for name, (text, _) in _stored(newest).items()}
    except BadInput:
        return None
    return newest if _without_tolerances(stored) == _without_tolerances(wanted) else None


def _without_tolerances(texts: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in texts.items() if name not in TOLERANCES}


@contextlib.contextmanager
def _logged(out_dir: Path, redact: Redactor) -> Iterator[None]:
    """Log to ``logs/`` while the block runs; names of this machine are replaced by tokens."""
    logs = out_dir / layout.LOGS
    logs.mkdir(exist_ok=True)
    handler = _LogFile(logs / f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}.log", encoding="utf-8", errors="backslashreplace")
    formatter = _RedactingFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    formatter.redact = redact
    handler.setFormatter(formatter)
    logger = logging.getLogger("kit")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield
    except BaseException:
        logger.exception("ended by an error")
        raise
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        handler.close()


class _LogFile(logging.FileHandler):
    """A log file whose write errors (a full disk) do not hide the error that is being logged."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802 - names of the library
        return


class _RedactingFormatter(logging.Formatter):
    """Format a record with its traceback, then redact the whole text."""

    redact: Callable[[str], str]

    def format(self, record: logging.LogRecord) -> str:
        return self.redact(super().format(record))
