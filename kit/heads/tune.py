"""Choose parameters of a head with Optuna; the trials of a round are trained together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kit.core import contract
from kit.core.errors import InvalidEvidence
from kit.features import table as tables
from kit.features.table import FeatureTable
from kit.heads.config import FIT, SEARCH
from kit.heads.fit import MEMBERS
from kit.heads.loso import folds_of
from kit.heads.params import Param, recipe_with
from kit.heads.scored import FIGURES, scored
from kit.heads.study import Study, StudySettings, load_optuna, recipe_of, trial_facts
from kit.heads.table_facts import identifying_file, table_facts
from kit.models.registry import refuse_overwrite
from kit.options.provenance import of_command
from kit.options.session import Session
from kit.options.table import Texts, write_options
from kit.system.fsio import locked, write_json
from kit.system.ui import counted
from kit.training.folds import Fold
from kit.training.members import Ensemble, Members
from kit.training.recipe import Recipe
from kit.training.run_members import diverged, out_of_fold, train_members

RESULT, STORAGE = "tune.json", "study.db"
_OBJECTIVE = "mean over folds of RMSE on the rows held out, VMAF points"


@dataclass(frozen=True, kw_only=True)
class TuneRequest:
    """Parameters to choose.

    Attributes:
        recipe: for everything that is not a parameter.
        trials: total of this folder, earlier calls included.
        storage: address of a database for SQLAlchemy; None for a file in the folder.
    """

    features: Path
    recipe: Recipe
    params: tuple[Param, ...]
    trials: int
    seed: int
    folds: str
    device: str
    storage: str | None

    def as_args(self) -> Texts:
        """Return the options without paths; the address of a database may contain a password."""
        chosen = {param.name for param in self.params}
        options = (
            *SEARCH.pick("arch", "params", "trials", "folds", "epochs", "storage"),
            *FIT.pick("batch_size", "lr", "seed", "device"),
        )
        storage = None if self.storage is None else "<storage>"
        return write_options(
            [option for option in options if option.name not in chosen],
            {**vars(self.recipe), **vars(self), "storage": storage},
        )


def run(request: TuneRequest, out: Path, session: Session) -> dict[str, Any]:
    """Run trials until the total is reached, and write :data:`RESULT` into ``out``.

    Returns:
        The content of :data:`RESULT`.

    Raises:
        PrerequisiteFailed: Optuna is missing.
        BadInput: invalid parameter, folds, table or storage, or a registered file would be overwritten.
        DiskFull: cannot write the study or the members.
        InvalidEvidence: every trial diverged.
    """
    optuna = load_optuna()
    for param in request.params:  # refuse invalid ones before training
        recipe_with(request.recipe, {param.name: param.choices[0] if param.choices else param.low})
    with locked(out):
        refuse_overwrite([out / RESULT], [request.features])
        table = tables.read(request.features)
        folds = folds_of(table, request.folds)
        settings = StudySettings(
            recipe=request.recipe,
            params=request.params,
            seed=request.seed,
            folds=request.folds,
            features_sha256=table.sha256,
        )
        study = Study(optuna, request.storage or f"sqlite:///{(out / STORAGE).absolute()}", settings, out)
        if unended := study.others()[1]:
            session.ui.say(
                f"The study has {counted(unended, 'trial')} of another --out, running or interrupted; they stay."
            )
        trainer = Trainer(request, table, folds, out, session)
        while trials := study.upcoming(request.trials):
            for trial, figures in zip(trials, trainer.figures(list(map(recipe_of, trials))), strict=True):
                study.finish(trial.number, figures)
        document = _document(request, study, table, session)
        write_json(out / RESULT, document)
    return document


class Trainer:
    """Trains several recipes together and computes the figures of each."""

    def __init__(
        self, request: TuneRequest, table: FeatureTable, folds: Sequence[Fold], out: Path, session: Session
    ) -> None:
        self._request, self._table, self._folds, self._out, self._session = request, table, folds, out, session

    def figures(self, recipes: Sequence[Recipe]) -> list[dict[str, float | None] | None]:
        """Return the mean over folds of each figure; None for a recipe that diverged."""
        unique = tuple(dict.fromkeys(recipes))
        rows = self._table.rows()
        ensembles = [
            Ensemble(
                rows=rows,
                corpus_sha256=self._table.sha256,
                members=[(self._request.seed, fold) for fold in self._folds],
                recipe=recipe,
                device=self._request.device,
                folder=self._out / MEMBERS,
            )
            for recipe in unique
        ]
        trained = train_members(ensembles, self._session.processes, self._session.ui, title="Trials")
        figures = {recipe: self._figures(members) for recipe, members in zip(unique, trained, strict=True)}
        return [figures[recipe] for recipe in recipes]

    def _figures(self, members: Members) -> dict[str, float | None] | None:
        if any(map(diverged, members.values())):
            return None
        seed = self._request.seed
        figures: Any = scored(self._table, self._folds, {str(seed): out_of_fold(self._folds, members, seed)})
        return {name: figures["mean"][name]["mean"] for name in FIGURES}


def _document(request: TuneRequest, study: Study, table: FeatureTable, session: Session) -> dict[str, Any]:
    trials = [trial_facts(trial) for trial in study.ended()]
    finite = [trial for trial in trials if trial["figures"] is not None]
    if not finite:
        raise InvalidEvidence([f"all {len(trials)} trials diverged"], hint="Use a range with a smaller lr.")
    return {
        "schema_version": contract.SCHEMA_VERSION,
        "objective": _OBJECTIVE,
        "study": study.name,
        "features": table_facts(table),
        "recipe": request.recipe.as_dict(),
        "folds": request.folds,
        "seed": request.seed,
        "params": [param.as_dict() for param in request.params],
        "best": min(finite, key=lambda trial: (trial["figures"]["rmse"], trial["number"])),
        "trials": trials,
        "others": study.others()[0],
        "run_provenance": of_command(
            session, args=request.as_args(), inputs={"features": identifying_file(request.features)}, outputs=[RESULT]
        )
        | {"optuna": study.optuna_version},
    }
