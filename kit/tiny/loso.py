"""Several heads with each source held out once, all folds and seeds at once, beside models that are there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kit import contract
from kit.errors import BadInput
from kit.fsio import locked, write_bytes, write_json
from kit.provenance import of_command
from kit.session import Session
from kit.tiny import table as tables
from kit.tiny.fit import MEMBERS, facts_of
from kit.tiny.fitting import Fits, file_of, fit, out_of_fold, refuse_diverged
from kit.tiny.scored import scored
from kit.tiny.table import FeatureTable
from kit.training.folds import Fold
from kit.training.model_file import ModelFile, open_model
from kit.training.recipe import Recipe

RESULT, MARKDOWN = "loso.json", "loso.md"
BY_SOURCE, _BY_COLUMN = "source", "column:"
_WHAT = (
    "A clip: mean over clips of the figure within each. All clips: on all rows together. Where the second is worse, "
    "clips lie on scales of their own: bias from clip to clip is the deviation of the clips' biases. RMSE and biases "
    "are VMAF points, no mapping fitted."
)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is trained and compared.

    Attributes:
        features: the table, or a run folder or shard.
        folds: ``source`` for each source once with all of its content group, after which the fold is called, or
            ``column:NAME`` for a column of the table that labels the folds.
        baselines: models that are scored as they are.
    """

    features: Path
    recipes: tuple[Recipe, ...]
    seeds: tuple[int, ...]
    folds: str
    baselines: tuple[Path, ...]
    device: str

    def as_dict(self) -> dict[str, object]:
        """What of it decides the figures, besides the rows."""
        return {"recipes": [asdict(recipe) for recipe in self.recipes], "seeds": list(self.seeds), "folds": self.folds,
                "device": self.device}  # fmt: skip


def folds_of(table: FeatureTable, scheme: str) -> tuple[Fold, ...]:
    """The folds of a scheme, see :class:`Asked`.

    Raises:
        BadInput: there is no such column or scheme, a row without a label, one fold alone, or a content group in two.
    """
    if scheme == BY_SOURCE:
        return table.folds(table.groups)
    name = scheme.removeprefix(_BY_COLUMN)
    texts = [column for column in table.frame if table.frame[column].map(type).eq(str).all()]
    if not scheme.startswith(_BY_COLUMN) or name not in texts:
        raise BadInput(f"--folds: {scheme!r} is neither {BY_SOURCE} nor {_BY_COLUMN}NAME of a column with a label in "
                       "every row", hint=f"Such columns are {', '.join(texts)}.")  # fmt: skip
    return table.folds(table.frame[name].to_numpy(str))


def run(asked: Asked, out: Path, session: Session) -> dict[str, Any]:
    """Train and score everything; write :data:`RESULT` and :data:`MARKDOWN` into ``out``.

    Returns:
        What :data:`RESULT` holds.

    Raises:
        BadInput: the folds cannot be made, or a baseline cannot be used.
        InvalidEvidence: a training diverged.
    """
    models = [_baseline(path) for path in asked.baselines]
    with locked(out):
        table = tables.read(asked.features)
        folds = folds_of(table, asked.folds)
        fits = Fits(table=table, folds=folds, seeds=asked.seeds, recipes=asked.recipes, device=asked.device,
                    folder=out / MEMBERS)  # fmt: skip
        trained = fit(fits, session, what="Leave-one-source-out")
        refuse_diverged(fits, trained)
        found = [
            {"name": recipe.arch, "recipe": asdict(recipe), "model": None,
             **scored(table, folds, {str(seed): out_of_fold(folds, members, seed) for seed in asked.seeds})}
            for recipe, members in zip(asked.recipes, trained, strict=True)
        ]  # fmt: skip
        found += [_of_baseline(model, table, folds) for model in models]
        inputs = {"features": file_of(asked.features)} | {f"baseline {path.name}": path for path in asked.baselines}
        document: dict[str, Any] = {
            "schema_version": contract.SCHEMA_VERSION, "features": facts_of(table), **asked.as_dict(),
            "compared": found,
            "run_provenance": of_command(session, args={name: str(value) for name, value in asked.as_dict().items()},
                                         inputs=inputs, outputs=[RESULT, MARKDOWN]),
        }  # fmt: skip
        write_json(out / RESULT, document)
        write_bytes(out / MARKDOWN, "\n".join(_markdown(document)).encode())
    return document


def _baseline(path: Path) -> ModelFile:
    model = open_model(path, "--baseline")
    if model.codec_aware:
        raise BadInput(f"--baseline: {path.name} looks at the codec block, which no feature table has",
                       hint="Give a model of the six features alone.")  # fmt: skip
    return model


def _of_baseline(model: ModelFile, table: FeatureTable, folds: Sequence[Fold]) -> dict[str, object]:
    rows = table.rows()
    scores, _ = model.scores(rows.features, rows.codec)
    return {"name": model.path.stem, "recipe": None, "model": model.told,
            **scored(table, folds, {model.path.stem: scores.astype(np.float64)})}  # fmt: skip


COLUMNS = ("", "PLCC over folds", "SROCC", "RMSE", "PLCC a clip", "PLCC all clips", "RMSE a clip", "RMSE all clips",
           "bias all clips", "bias from clip to clip")  # fmt: skip


def lines(document: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """One line of :data:`COLUMNS` for each of what was compared."""
    return [
        (
            one["name"] + (" (baseline)" if one["model"] else ""), _with_deviations(one["mean"]["plcc"], 4),
            _with_deviations(one["mean"]["srocc"], 4), _with_deviations(one["mean"]["rmse"], 2),
            number(one["per_clip"]["plcc"], 4), number(one["all_clips"]["plcc"], 4), number(one["per_clip"]["rmse"], 2),
            number(one["all_clips"]["rmse"], 2), number(one["all_clips"]["bias"], 2),
            number(one["per_clip"]["bias_std"], 2),
        )
        for one in document["compared"]
    ]  # fmt: skip


def number(value: float | None, digits: int) -> str:
    """A figure, or a dash where it does not exist."""
    return "-" if value is None else f"{value:.{digits}f}"


def _with_deviations(figure: Mapping[str, Any], digits: int) -> str:
    """``0.9951 ± 0.0021 folds ± 0.0003 seeds``."""
    if figure["mean"] is None:
        return "-"
    return (f"{figure['mean']:.{digits}f} ± {figure['std_folds']:.{digits}f} folds "
            f"± {figure['std_seeds']:.{digits}f} seeds")  # fmt: skip


def _markdown(document: Mapping[str, Any]) -> Iterator[str]:
    told = document["features"]
    yield "# Leave one out\n"
    yield (f"{told['rows']} rows, {told['clips']} clips, {len(told['sources'])} sources; folds: {document['folds']}; "
           f"seeds {', '.join(map(str, document['seeds']))}; teacher {told['teacher'] or 'not told'}.\n")  # fmt: skip
    yield from _table(COLUMNS, lines(document))
    yield f"\n{_WHAT}\n"
    for figure, digits in (("plcc", 4), ("srocc", 4), ("rmse", 2)):
        yield f"## {figure.upper()} of each fold, mean ± deviation over seeds\n"
        compared = document["compared"]
        rows = [
            (fold["held_out"], *(f"{number(one['folds'][index][figure]['mean'], digits)} ± "
                                 f"{number(one['folds'][index][figure]['std'], digits)}" for one in compared))
            for index, fold in enumerate(compared[0]["folds"])
        ]  # fmt: skip
        yield from _table(("held out", *(one["name"] for one in compared)), rows)
        yield ""


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for cells in (columns, ["---"] * len(columns), *rows):
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
