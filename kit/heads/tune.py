"""Parameters of a head, chosen by Optuna; several trials at once in the kit's own trainer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kit.core import contract
from kit.core.errors import InvalidEvidence
from kit.features import table as tables
from kit.features.table import FeatureTable
from kit.heads.fit import MEMBERS, facts_of
from kit.heads.fitting import Fits, Members, diverged, file_of, fit, out_of_fold
from kit.heads.loso import folds_of
from kit.heads.params import Param, recipe_with
from kit.heads.scored import FIGURES, scored
from kit.heads.study import Question, Study, load_optuna, recipe_of, told
from kit.models.registry import refuse_overwrite
from kit.options.provenance import Args, of_command
from kit.options.session import Session
from kit.system.fsio import locked, write_json
from kit.system.ui import counted
from kit.training.folds import Fold
from kit.training.recipe import Recipe

RESULT, STORAGE = "tune.json", "study.db"
_WHAT = "mean over folds of RMSE on the rows held out, VMAF points"


@dataclass(frozen=True, kw_only=True)
class TuneRequest:
    """What is tried.

    Attributes:
        recipe: what holds where no parameter says otherwise.
        trials: of this folder in all, those of earlier calls among them.
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

    def as_args(self) -> Args:
        """As options say it, without places; the address of a database may hold a password."""
        chosen = {param.name for param in self.params}
        recipe = {
            name: str(getattr(self.recipe, name))
            for name in ("arch", "epochs", "batch_size", "lr")
            if name not in chosen
        }
        storage = {} if self.storage is None else {"storage": "<storage>"}
        return {
            "param": tuple(map(str, self.params)),
            "trials": str(self.trials),
            "folds": self.folds,
            "seed": str(self.seed),
            "device": self.device,
            **recipe,
            **storage,
        }


def run(request: TuneRequest, out: Path, session: Session) -> dict[str, Any]:
    """Try until there are so many trials that ended, and write :data:`RESULT` into ``out``.

    Returns:
        What :data:`RESULT` holds.

    Raises:
        PrerequisiteFailed: Optuna is not there.
        BadInput: a parameter, the folds, the table or the storage cannot be used, or what is registered would be
            written over.
        DiskFull: where the study or the members are kept.
        InvalidEvidence: every trial diverged.
    """
    optuna = load_optuna()
    for param in request.params:  # what cannot be is refused before anything is trained
        recipe_with(request.recipe, {param.name: param.choices[0] if param.choices else param.low})
    with locked(out):
        refuse_overwrite([out / RESULT], [request.features])
        table = tables.read(request.features)
        folds = folds_of(table, request.folds)
        question = Question(
            recipe=request.recipe,
            params=request.params,
            seed=request.seed,
            folds=request.folds,
            features_sha256=table.sha256,
        )
        study = Study(optuna, request.storage or f"sqlite:///{(out / STORAGE).absolute()}", question, out)
        if unended := study.others()[1]:
            session.ui.say(
                f"The study holds {counted(unended, 'trial')} of another --out in training, or left there "
                "by a kill: not touched."
            )
        trainer = Trainer(request, table, folds, out, session)
        while trials := study.upcoming(request.trials):
            for trial, figures in zip(trials, trainer.figures(list(map(recipe_of, trials))), strict=True):
                study.tell(trial.number, figures)
        document = _document(request, study, table, session)
        write_json(out / RESULT, document)
    return document


class Trainer:
    """Trains several recipes at once and says how well each of them does."""

    def __init__(
        self, request: TuneRequest, table: FeatureTable, folds: Sequence[Fold], out: Path, session: Session
    ) -> None:
        self._request, self._table, self._folds, self._out, self._session = request, table, folds, out, session

    def figures(self, recipes: Sequence[Recipe]) -> list[dict[str, float | None] | None]:
        """Mean over folds of each figure; None of a recipe that diverged."""
        once = tuple(dict.fromkeys(recipes))
        fits = Fits(
            table=self._table,
            folds=self._folds,
            seeds=(self._request.seed,),
            recipes=once,
            device=self._request.device,
            folder=self._out / MEMBERS,
        )
        trained = dict(zip(once, fit(fits, self._session, what="Trials"), strict=True))
        found = {recipe: self._figures(members) for recipe, members in trained.items()}
        return [found[recipe] for recipe in recipes]

    def _figures(self, members: Members) -> dict[str, float | None] | None:
        if any(map(diverged, members.values())):
            return None
        seed = self._request.seed
        said: Any = scored(self._table, self._folds, {str(seed): out_of_fold(self._folds, members, seed)})
        return {name: said["mean"][name]["mean"] for name in FIGURES}


def _document(request: TuneRequest, study: Study, table: FeatureTable, session: Session) -> dict[str, Any]:
    trials = [told(trial) for trial in study.ended()]
    judged = [trial for trial in trials if trial["figures"] is not None]
    if not judged:
        raise InvalidEvidence([f"all {len(trials)} trials diverged"], hint="Give a range with a smaller lr.")
    return {
        "schema_version": contract.SCHEMA_VERSION,
        "objective": _WHAT,
        "study": study.name,
        "features": facts_of(table),
        "recipe": asdict(request.recipe),
        "folds": request.folds,
        "seed": request.seed,
        "params": [param.as_dict() for param in request.params],
        "best": min(judged, key=lambda trial: (trial["figures"]["rmse"], trial["number"])),
        "trials": trials,
        "others": study.others()[0],
        "run_provenance": of_command(
            session, args=request.as_args(), inputs={"features": file_of(request.features)}, outputs=[RESULT]
        )
        | {"optuna": study.optuna_version},
    }
