"""Parameters of a head, chosen by Optuna; several trials at once in the kit's own trainer."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kit import contract
from kit.canon import sha256_json
from kit.errors import BadInput, InvalidEvidence, PrerequisiteFailed
from kit.fsio import locked, write_json
from kit.provenance import of_command
from kit.session import Session
from kit.tiny import table as tables
from kit.tiny.fit import MEMBERS, facts_of
from kit.tiny.fitting import Fits, Members, diverged, file_of, fit, out_of_fold
from kit.tiny.loso import folds_of
from kit.tiny.params import Param, recipe_with
from kit.tiny.scored import FIGURES, scored
from kit.tiny.table import FeatureTable
from kit.training.folds import Fold
from kit.training.recipe import Recipe

RESULT, STORAGE = "tune.json", "study.db"
#: The extra `tune` of pyproject.toml, which is none of the pinned packages.
OPTUNA = "optuna==5.0.0"
#: Trials that are chosen and trained at once: as many see the same earlier ones.
AT_ONCE = 8
_WHAT = "mean over folds of RMSE on the rows held out, VMAF points"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is tried.

    Attributes:
        recipe: what holds where no parameter says otherwise.
        trials: in all, those of earlier calls among them.
        storage: a database as SQLAlchemy names it; None for a file in the folder.
    """

    features: Path
    recipe: Recipe
    params: tuple[Param, ...]
    trials: int
    seed: int
    folds: str
    device: str
    storage: str | None


def run(asked: Asked, out: Path, session: Session) -> dict[str, Any]:
    """Try until there are so many trials that ended, and write :data:`RESULT` into ``out``.

    Returns:
        What :data:`RESULT` holds.

    Raises:
        PrerequisiteFailed: Optuna is not there.
        BadInput: a parameter, the folds, the table or the storage cannot be used.
        InvalidEvidence: every trial diverged.
    """
    optuna = _optuna()
    for param in asked.params:  # what cannot be is refused before anything is trained
        recipe_with(asked.recipe, {param.name: param.choices[0] if param.choices else param.low})
    with locked(out):
        table = tables.read(asked.features)
        folds = folds_of(table, asked.folds)
        study = _study(optuna, asked, out, table)
        trainer = Trainer(asked, table, folds, out, session)
        while (left := asked.trials - len(_ended(optuna, study))) > 0:
            _round(optuna, asked, study, min(left, AT_ONCE), trainer)
        document = _document(optuna, asked, study, table, session)
        write_json(out / RESULT, document)
    return document


def _optuna() -> Any:
    try:
        optuna: Any = importlib.import_module("optuna")
    except ModuleNotFoundError as error:
        raise PrerequisiteFailed(f"`tune` chooses with Optuna, which cannot be loaded here: {error}",
                                 hint=f"Install it: {sys.executable} -m pip install {OPTUNA}") from error  # fmt: skip
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


class Trainer:
    """Trains several recipes at once and says how well each of them does."""

    def __init__(self, asked: Asked, table: FeatureTable, folds: Sequence[Fold], out: Path, session: Session) -> None:
        self._asked, self._table, self._folds, self._out, self._session = asked, table, folds, out, session

    def figures(self, recipes: Sequence[Recipe]) -> list[dict[str, float | None] | None]:
        """Mean over folds of each figure; None of a recipe that diverged."""
        once = tuple(dict.fromkeys(recipes))
        fits = Fits(table=self._table, folds=self._folds, seeds=(self._asked.seed,), recipes=once,
                    device=self._asked.device, folder=self._out / MEMBERS)  # fmt: skip
        trained = dict(zip(once, fit(fits, self._session, what="Trials"), strict=True))
        found = {recipe: self._figures(members) for recipe, members in trained.items()}
        return [found[recipe] for recipe in recipes]

    def _figures(self, members: Members) -> dict[str, float | None] | None:
        if any(map(diverged, members.values())):
            return None
        seed = self._asked.seed
        said: Any = scored(self._table, self._folds, {str(seed): out_of_fold(self._folds, members, seed)})
        return {name: said["mean"][name]["mean"] for name in FIGURES}


def _study(optuna: Any, asked: Asked, out: Path, table: FeatureTable) -> Any:
    """The study of this question, an earlier one if there is one; what a killed process was at is let go."""
    question = {
        "recipe": asdict(asked.recipe), "params": [param.as_dict() for param in asked.params], "seed": asked.seed,
        "folds": asked.folds, "features_sha256": table.sha256,
    }  # fmt: skip
    try:
        study = optuna.create_study(
            study_name=f"tune-{sha256_json(question)[:16]}", direction="minimize", load_if_exists=True,
            storage=asked.storage or f"sqlite:///{(out / STORAGE).absolute()}",
        )  # fmt: skip
    except Exception as error:  # SQLAlchemy, its drivers and Optuna have no class of errors in common
        raise BadInput(f"the study cannot be opened: {str(error).splitlines()[0]:.200}",
                       hint="--storage is an address as SQLAlchemy has it, such as sqlite:////path/to/study.db; "
                       "its driver must be installed, and its place there.") from error  # fmt: skip
    for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    return study


def _ended(optuna: Any, study: Any) -> list[Any]:
    """Trials that ended, in order; one that diverged counts as pruned."""
    states = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    return list(study.get_trials(deepcopy=False, states=states))


def _round(optuna: Any, asked: Asked, study: Any, count: int, trainer: Trainer) -> None:
    """Choose, train and judge some trials."""
    # a seed of its own for each round: a study that goes on does not choose once more what it has chosen before
    drawn = int(sha256_json({"seed": asked.seed, "trials": len(study.trials)})[:8], 16)
    study.sampler = optuna.samplers.TPESampler(seed=drawn)
    trials = [study.ask() for _ in range(count)]
    recipes = [recipe_with(asked.recipe, {param.name: _suggested(trial, param) for param in asked.params})
               for trial in trials]  # fmt: skip
    for trial, recipe, figures in zip(trials, recipes, trainer.figures(recipes), strict=True):
        trial.set_user_attr("recipe", asdict(recipe))
        if figures is None:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            trial.set_user_attr("figures", figures)
            study.tell(trial, figures["rmse"])


def _suggested(trial: Any, param: Param) -> Any:
    if param.choices:
        return trial.suggest_categorical(param.name, list(param.choices))
    suggest = trial.suggest_int if param.whole else trial.suggest_float
    return suggest(param.name, param.low, param.high, log=param.log)


def _document(optuna: Any, asked: Asked, study: Any, table: FeatureTable, session: Session) -> dict[str, Any]:
    trials = [_told(trial) for trial in _ended(optuna, study)]
    judged = [trial for trial in trials if trial["figures"] is not None]
    if not judged:
        raise InvalidEvidence([f"all {len(trials)} trials diverged"], hint="Give a range with a smaller lr.")
    args = {"folds": asked.folds, "seed": str(asked.seed), "trials": str(asked.trials), "device": asked.device}
    return {
        "schema_version": contract.SCHEMA_VERSION, "objective": _WHAT, "study": study.study_name,
        "features": facts_of(table), "folds": asked.folds, "seed": asked.seed,
        "params": [param.as_dict() for param in asked.params],
        "best": min(judged, key=lambda trial: (trial["figures"]["rmse"], trial["number"])), "trials": trials,
        "run_provenance": of_command(session, args=args, inputs={"features": file_of(asked.features)}, outputs=[RESULT])
        | {"optuna": optuna.__version__},
    }  # fmt: skip


def _told(trial: Any) -> Mapping[str, Any]:
    """One trial; ``figures`` are the means over folds, None where it diverged."""
    return {"number": trial.number, "params": dict(trial.params), "recipe": trial.user_attrs["recipe"],
            "figures": trial.user_attrs.get("figures")}  # fmt: skip
