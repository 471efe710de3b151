"""The trials of `tune`: drawn by Optuna, kept in a database that several folders may share, taken up after a kill.

A trial is written whole, with its parameters and a mark of the folder that draws it, so a kill leaves none half drawn.
What is drawn follows from the seed and from what the trials of earlier rounds have come to, never from when a process
was started or ended. So a study that was killed ends with the trials of one that was not.
"""

from __future__ import annotations

import contextlib
import importlib
import secrets
import sqlite3
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kit.core.canon import sha256_json
from kit.core.errors import BadInput, DiskFull, PrerequisiteFailed
from kit.heads.params import Param, recipe_with
from kit.system.fsio import write_bytes
from kit.training.recipe import Recipe

#: In the folder: what its trials are marked with.
MARK = "tune.id"
#: The extra `tune` of pyproject.toml, which is none of the pinned packages.
OPTUNA = "optuna==5.0.0"
#: Trials of a round: they are chosen and trained at once and see what those of earlier rounds have come to.
AT_ONCE = 8
#: Times that a database is opened before it is said to be unusable, and seconds between them.
_TRIES, _PAUSE = 5, 0.2
#: What is kept with a trial besides its parameters.
_OUT, _RECIPE, _FIGURES = "out", "recipe", "figures"


def load_optuna() -> Any:
    """The module.

    Raises:
        PrerequisiteFailed: Optuna is not there.
    """
    try:
        optuna: Any = importlib.import_module("optuna")
    except ModuleNotFoundError as error:
        raise PrerequisiteFailed(
            f"`tune` chooses with Optuna, which cannot be loaded here: {error}",
            hint=f"Install it: {sys.executable} -m pip install {OPTUNA}",
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


@dataclass(frozen=True, kw_only=True)
class Question:
    """What one study is about, and what decides its figures.

    Attributes:
        recipe: what holds where no parameter says otherwise.
        folds: as :func:`kit.heads.loso.folds_of` has them.
    """

    recipe: Recipe
    params: tuple[Param, ...]
    seed: int
    folds: str
    features_sha256: str

    @property
    def name(self) -> str:
        """Of its study."""
        return f"tune-{sha256_json(asdict(self) | {'params': [param.as_dict() for param in self.params]})[:16]}"


class Study:
    """The trials of one question.

    Args:
        optuna: see :func:`load_optuna`.
        address: the database, as SQLAlchemy has it.
        out: the folder that draws; locked by the caller.

    Every method raises DiskFull if the disk is full where the database lies, and BadInput if it does not answer.
    """

    def __init__(self, optuna: Any, address: str, question: Question, out: Path) -> None:
        self.name, self.optuna_version = question.name, optuna.__version__
        self._optuna, self._question = optuna, question
        self._state = optuna.trial.TrialState
        self._mark = _mark(out)
        with _answering(
            Exception,
            "cannot be opened",
            "--storage is an address as SQLAlchemy has it, such as "
            "sqlite:////path/to/study.db; its driver must be installed, and its place there.",
        ):
            self._storage, self._study = self._opened(address)

    def _opened(self, address: str) -> tuple[Any, Any]:
        """The database and the study in it; where two processes make its tables at the same time, one of them fails."""

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
        """Trials of this folder that have ended, in order; one that diverged counts as pruned."""
        return [trial for trial in self._own(self._trials()) if trial.state.is_finished()]

    def others(self) -> tuple[int, int]:
        """How many trials of other folders have ended, and how many have not: their processes may live."""
        ended = [trial.state.is_finished() for trial in self._trials() if trial.user_attrs.get(_OUT) != self._mark]
        return sum(ended), len(ended) - sum(ended)

    def upcoming(self, total: int) -> list[Any]:
        """The trials of this folder to be trained next, until so many have ended: those that were drawn and have not.

        New ones are drawn as long as a round has room, and a round begins when those before it have ended.
        """
        own = self._own(self._trials())
        started = [trial for trial in own if not trial.state.is_finished()]
        left = total - len(own) + len(started)
        room = -len(own) % AT_ONCE or (0 if started else AT_ONCE)
        for _ in range(min(room, left - len(started))):
            self._draw()
        return [trial for trial in self._own(self._trials()) if not trial.state.is_finished()][: max(left, 0)]

    def tell(self, number: int, figures: Mapping[str, float | None] | None) -> None:
        """What a trial of this folder has come to; None if it diverged."""
        with self._answering():
            if figures is None:
                self._study.tell(number, state=self._state.PRUNED)
                return
            study = self._storage.get_study_id_from_name(self.name)
            trial = self._storage.get_trial_id_from_study_id_trial_number(study, number)
            self._storage.set_trial_user_attr(trial, _FIGURES, dict(figures))
            self._study.tell(number, figures["rmse"])

    def _trials(self) -> list[Any]:
        """All in order, but those that somebody has declared failed: nothing becomes of them."""
        states = (self._state.RUNNING, self._state.COMPLETE, self._state.PRUNED)
        with self._answering():
            return list(self._study.get_trials(deepcopy=False, states=states))

    def _own(self, trials: Sequence[Any]) -> list[Any]:
        return [trial for trial in trials if trial.user_attrs.get(_OUT) == self._mark]

    def _draw(self) -> None:
        """Draw a trial, and write it whole."""
        trials = self._trials()
        own = self._own(trials)
        this_round = {trial.number for trial in own[len(own) - len(own) % AT_ONCE :]}
        aside = self._optuna.create_study(direction="minimize", sampler=self._sampler(alone=len(own) == len(trials)))
        for trial in trials:
            aside.add_trial(self._unended(trial) if trial.number in this_round else trial)
        chosen = aside.ask()
        recipe = recipe_with(
            self._question.recipe, {param.name: _suggested(chosen, param) for param in self._question.params}
        )
        with self._answering():
            self._study.add_trial(self._unended(chosen, {_OUT: self._mark, _RECIPE: asdict(recipe)}))

    def _sampler(self, *, alone: bool) -> Any:
        """One whose seed no other draw has; where a folder is not alone, no draw of another folder either."""
        with self._answering():
            count = len(self._study.get_trials(deepcopy=False))
        decides = {"seed": self._question.seed, "trials": count} | ({} if alone else {_OUT: self._mark})
        return self._optuna.samplers.TPESampler(seed=int(sha256_json(decides)[:8], 16))

    def _unended(self, trial: Any, marks: Mapping[str, object] | None = None) -> Any:
        return self._optuna.trial.create_trial(
            state=self._state.RUNNING, params=trial.params, distributions=trial.distributions, user_attrs=marks
        )

    def _answering(self) -> contextlib.AbstractContextManager[None]:
        hint = "Start the same command again once its database answers; what was finished is kept."
        return _answering(self._optuna.exceptions.StorageInternalError, "cannot be read or written", hint)


def recipe_of(trial: Any) -> Recipe:
    """What is to be trained."""
    return Recipe(**trial.user_attrs[_RECIPE])


def told(trial: Any) -> Mapping[str, Any]:
    """One trial that has ended; ``figures`` are the means over folds, None where it diverged."""
    return {
        "number": trial.number,
        "params": dict(trial.params),
        "recipe": trial.user_attrs[_RECIPE],
        "figures": trial.user_attrs.get(_FIGURES),
    }


def _mark(out: Path) -> str:
    """What tells the trials of this folder from those of others, as long as the folder is there."""
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
    """Raise what is wrong with a database as an error of the kit's own.

    Args:
        failures: what it raises; SQLAlchemy, its drivers and Optuna have no class in common while it is opened.
    """
    try:
        yield
    except failures as error:
        reason: BaseException = error
        while reason.__cause__ is not None:
            reason = reason.__cause__
        if getattr(reason, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            raise DiskFull("the disk is full where the study is kept") from error
        raise BadInput(f"the study {what}: {str(reason).splitlines()[0]:.200}", hint=hint) from error
