"""The trials of `tune`: drawn by Optuna, stored in a database that several folders may share, resumed after a kill.

A trial is written at once, with its parameters and the mark of its folder, so a kill leaves no incomplete trial. The
draw depends on the seed and on the results of earlier rounds, never on when a process was started or ended. So an
interrupted study ends with the same trials as one without interruption.
"""

from __future__ import annotations

import contextlib
import importlib
import secrets
import sqlite3
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kit.core.canon import sha256_json
from kit.core.errors import BadInput, DiskFull, PrerequisiteFailed
from kit.heads.params import Param, recipe_with
from kit.system.fsio import write_bytes
from kit.training.recipe import Recipe, read_recipe

#: File of the folder with the mark of its trials.
MARK = "tune.id"
#: The extra `tune` of pyproject.toml; not one of the pinned packages.
OPTUNA = "optuna==5.0.0"
#: Trials of a round: drawn and trained together, from the results of earlier rounds.
AT_ONCE = 8
#: Attempts to open a database, and seconds between them.
_TRIES, _PAUSE = 5, 0.2
#: Attributes of a trial besides its parameters.
_OUT, _RECIPE, _FIGURES = "out", "recipe", "figures"


def load_optuna() -> Any:
    """Import Optuna.

    Raises:
        PrerequisiteFailed: Optuna is missing.
    """
    try:
        optuna: Any = importlib.import_module("optuna")
    except ModuleNotFoundError as error:
        raise PrerequisiteFailed(
            f"`tune` needs Optuna, which cannot be imported: {error}",
            hint=f"Install it: {sys.executable} -m pip install {OPTUNA}",
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


@dataclass(frozen=True, kw_only=True)
class StudySettings:
    """Everything that decides the results of a study.

    Attributes:
        recipe: for everything that is not a parameter.
        folds: scheme of :func:`kit.heads.loso.folds_of`.
    """

    recipe: Recipe
    params: tuple[Param, ...]
    seed: int
    folds: str
    features_sha256: str

    @property
    def name(self) -> str:
        """Name of the study in its database."""
        settings = {
            "recipe": self.recipe.as_dict(),
            "params": [param.as_dict() for param in self.params],
            "seed": self.seed,
            "folds": self.folds,
            "features_sha256": self.features_sha256,
        }
        return f"tune-{sha256_json(settings)[:16]}"


class Study:
    """The trials of one study.

    Args:
        optuna: see :func:`load_optuna`.
        address: of the database, for SQLAlchemy.
        out: folder of this process; locked by the caller.

    Every method raises DiskFull if the disk of the database is full, and BadInput if the database does not respond.
    """

    def __init__(self, optuna: Any, address: str, settings: StudySettings, out: Path) -> None:
        self.name, self.optuna_version = settings.name, optuna.__version__
        self._optuna, self._settings = optuna, settings
        self._state = optuna.trial.TrialState
        self._mark = _mark(out)
        with _answering(
            Exception,
            "cannot be opened",
            "--storage takes an address for SQLAlchemy, such as "
            "sqlite:////path/to/study.db; its driver and its folder must exist.",
        ):
            self._storage, self._study = self._opened(address)

    def _opened(self, address: str) -> tuple[Any, Any]:
        """Open database and study; of two processes that create its tables together one fails, and tries again."""

        def once() -> tuple[Any, Any]:
            storage = self._optuna.storages.get_storage(address)
            return storage, self._optuna.create_study(
                study_name=self.name, direction="minimize", load_if_exists=True, storage=storage
            )

        database_error = importlib.import_module("sqlalchemy.exc").DatabaseError
        for _ in range(_TRIES - 1):
            with contextlib.suppress(database_error, self._optuna.exceptions.StorageInternalError):
                return once()
            time.sleep(_PAUSE)
        return once()

    def ended(self) -> list[Any]:
        """Return the finished trials of this folder in order; a diverged trial counts as pruned."""
        return [trial for trial in self._own(self._trials()) if trial.state.is_finished()]

    def others(self) -> tuple[int, int]:
        """Return how many trials of other folders are finished, and how many may still be running."""
        ended = [trial.state.is_finished() for trial in self._trials() if trial.user_attrs.get(_OUT) != self._mark]
        return sum(ended), len(ended) - sum(ended)

    def upcoming(self, total: int) -> list[Any]:
        """Return the trials to train next until ``total`` are finished: those of this folder that are not.

        New ones are drawn until a round is full, and a round begins when the one before it is finished.
        """
        own = self._own(self._trials())
        started = [trial for trial in own if not trial.state.is_finished()]
        left = total - len(own) + len(started)
        room = -len(own) % AT_ONCE or (0 if started else AT_ONCE)
        for _ in range(min(room, left - len(started))):
            self._draw()
        return [trial for trial in self._own(self._trials()) if not trial.state.is_finished()][: max(left, 0)]

    def finish(self, number: int, figures: Mapping[str, float | None] | None) -> None:
        """Record the result of a trial of this folder; None if it diverged."""
        with self._answering():
            if figures is None:
                self._study.tell(number, state=self._state.PRUNED)
                return
            study = self._storage.get_study_id_from_name(self.name)
            trial = self._storage.get_trial_id_from_study_id_trial_number(study, number)
            self._storage.set_trial_user_attr(trial, _FIGURES, dict(figures))
            self._study.tell(number, figures["rmse"])

    def _trials(self) -> list[Any]:
        """Return all trials in order, except those that were declared failed by hand."""
        states = (self._state.RUNNING, self._state.COMPLETE, self._state.PRUNED)
        with self._answering():
            return list(self._study.get_trials(deepcopy=False, states=states))

    def _own(self, trials: Sequence[Any]) -> list[Any]:
        return [trial for trial in trials if trial.user_attrs.get(_OUT) == self._mark]

    def _draw(self) -> None:
        """Draw a trial, and write it at once."""
        trials = self._trials()
        own = self._own(trials)
        this_round = {trial.number for trial in own[len(own) - len(own) % AT_ONCE :]}
        aside = self._optuna.create_study(direction="minimize", sampler=self._sampler(alone=len(own) == len(trials)))
        for trial in trials:
            aside.add_trial(self._unended(trial) if trial.number in this_round else trial)
        chosen = aside.ask()
        recipe = recipe_with(
            self._settings.recipe, {param.name: _suggested(chosen, param) for param in self._settings.params}
        )
        with self._answering():
            self._study.add_trial(self._unended(chosen, {_OUT: self._mark, _RECIPE: recipe.as_dict()}))

    def _sampler(self, *, alone: bool) -> Any:
        """Return a sampler with a seed of its own for every draw, and for every folder if there are several."""
        with self._answering():
            count = len(self._study.get_trials(deepcopy=False))
        decides = {"seed": self._settings.seed, "trials": count} | ({} if alone else {_OUT: self._mark})
        return self._optuna.samplers.TPESampler(seed=int(sha256_json(decides)[:8], 16))

    def _unended(self, trial: Any, marks: Mapping[str, object] | None = None) -> Any:
        return self._optuna.trial.create_trial(
            state=self._state.RUNNING, params=trial.params, distributions=trial.distributions, user_attrs=marks
        )

    def _answering(self) -> contextlib.AbstractContextManager[None]:
        hint = "Start the same command again when the database responds; finished trials are kept."
        return _answering(self._optuna.exceptions.StorageInternalError, "cannot be read or written", hint)


def recipe_of(trial: Any) -> Recipe:
    """Return the recipe of a trial."""
    return read_recipe(trial.user_attrs[_RECIPE])


def trial_facts(trial: Any) -> Mapping[str, Any]:
    """Return a finished trial as JSON; ``figures`` are the means over folds, None if it diverged."""
    return {
        "number": trial.number,
        "params": dict(trial.params),
        "recipe": trial.user_attrs[_RECIPE],
        "figures": trial.user_attrs.get(_FIGURES),
    }


def _mark(out: Path) -> str:
    """Return the mark of this folder's trials, which is kept in the folder."""
    if not (out / MARK).is_file():
        write_bytes(out / MARK, secrets.token_hex(8).encode())
    return (out / MARK).read_text()


def _suggested(trial: Any, param: Param) -> Any:
    if param.choices:
        return trial.suggest_categorical(param.name, list(param.choices))
    suggest = trial.suggest_int if param.whole else trial.suggest_float
    return suggest(param.name, param.low, param.high, log=param.log)


@contextlib.contextmanager
def _answering(failures: type[Exception], what: str, hint: str) -> Iterator[None]:
    """Raise the errors of a database as errors of the kit.

    Args:
        failures: their class; while a database is opened, SQLAlchemy, its drivers and Optuna have none in common.
    """
    try:
        yield
    except failures as error:
        reason: BaseException = error
        while reason.__cause__ is not None:
            reason = reason.__cause__
        if getattr(reason, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            raise DiskFull("the disk is full: cannot write the study") from error
        raise BadInput(f"the study {what}: {str(reason).splitlines()[0]:.200}", hint=hint) from error
