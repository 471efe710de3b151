"""Several heads with each source held out once, all folds and seeds at once, beside models that are there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from kit.core import contract
from kit.core.errors import BadInput
from kit.features import table as tables
from kit.features.table import FeatureTable
from kit.heads.evaluate import fitted_on, predict
from kit.heads.fit import MEMBERS, facts_of
from kit.heads.fitting import Fits, file_of, fit, out_of_fold, refuse_diverged
from kit.heads.scored import FIGURES, scored
from kit.models.model_file import ModelFile, open_model
from kit.models.registry import refuse_overwrite
from kit.options.provenance import Args, of_command
from kit.options.session import Session
from kit.system.fsio import locked, write_bytes, write_json
from kit.system.ui import figure
from kit.training.folds import Fold
from kit.training.recipe import Recipe

RESULT, MARKDOWN = "loso.json", "loso.md"
BY_SOURCE, _BY_COLUMN = "source", "column:"
_WHAT = (
    "A clip: mean over clips of the figure within each. All clips: on all rows together. Where the second is worse, "
    "clips lie on scales of their own: bias clip to clip is the deviation of the clips' biases. RMSE and biases "
    "are VMAF points, no mapping fitted."
)


@dataclass(frozen=True, kw_only=True)
class LosoRequest:
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
        return {
            "recipes": [asdict(recipe) for recipe in self.recipes],
            "seeds": list(self.seeds),
            "folds": self.folds,
            "device": self.device,
        }

    def as_args(self) -> Args:
        """As options say it, without places."""
        first = self.recipes[0]  # they differ in nothing but the architecture
        return {
            "arch": ",".join(recipe.arch for recipe in self.recipes),
            "folds": self.folds,
            "seeds": ",".join(map(str, self.seeds)),
            "epochs": str(first.epochs),
            "batch_size": str(first.batch_size),
            "lr": str(first.lr),
            "device": self.device,
        }


def folds_of(table: FeatureTable, scheme: str) -> tuple[Fold, ...]:
    """The folds of a scheme, see :class:`LosoRequest`.

    Raises:
        BadInput: there is no such column or scheme, a row without a label, one fold alone, or a content group in two.
    """
    if scheme == BY_SOURCE:
        return table.folds(table.groups)
    name = scheme.removeprefix(_BY_COLUMN)
    texts = [column for column in table.frame if table.frame[column].map(type).eq(str).all()]
    if not scheme.startswith(_BY_COLUMN) or name not in texts:
        raise BadInput(
            f"--folds: {scheme!r} is neither {BY_SOURCE} nor {_BY_COLUMN}NAME of a column with a label in every row",
            hint=f"Such columns are {', '.join(texts)}.",
        )
    return table.folds(table.frame[name].to_numpy(str))


def run(request: LosoRequest, out: Path, session: Session) -> dict[str, Any]:
    """Train and score everything; write :data:`RESULT` and :data:`MARKDOWN` into ``out``.

    Returns:
        What :data:`RESULT` holds.

    Raises:
        BadInput: the folds cannot be made, a baseline cannot be used, or what is registered would be written over.
        InvalidEvidence: a training diverged.
    """
    names = [path.name for path in request.baselines]
    if twice := {name for name in names if names.count(name) > 1}:
        raise BadInput(f"--baseline: several files are called {', '.join(sorted(twice))}", hint="Rename one of them.")
    with locked(out):
        refuse_overwrite([out / RESULT, out / MARKDOWN], [request.features, *request.baselines])
        table = tables.read(request.features)
        folds = folds_of(table, request.folds)
        # before the training: what cannot be compared is refused at once
        baselines = [_of_baseline(open_model(path, "--baseline"), table, folds) for path in request.baselines]
        fits = Fits(
            table=table,
            folds=folds,
            seeds=request.seeds,
            recipes=request.recipes,
            device=request.device,
            folder=out / MEMBERS,
        )
        trained = fit(fits, session, what="Leave-one-source-out")
        refuse_diverged(fits, trained)
        found = [
            {
                "name": recipe.arch,
                "recipe": asdict(recipe),
                "model": None,
                **scored(table, folds, {str(seed): out_of_fold(folds, members, seed) for seed in request.seeds}),
            }
            for recipe, members in zip(request.recipes, trained, strict=True)
        ]
        inputs = {"features": file_of(request.features)} | {f"baseline {path.name}": path for path in request.baselines}
        document: dict[str, Any] = {
            "schema_version": contract.SCHEMA_VERSION,
            "features": facts_of(table),
            **request.as_dict(),
            "compared": found + baselines,
            "run_provenance": of_command(session, args=request.as_args(), inputs=inputs, outputs=[RESULT, MARKDOWN]),
        }
        write_json(out / RESULT, document)
        write_bytes(out / MARKDOWN, "\n".join(_markdown(document)).encode())
    return document


def _of_baseline(model: ModelFile, table: FeatureTable, folds: Sequence[Fold]) -> dict[str, object]:
    known = fitted_on(model, table)
    return {
        "name": model.path.stem,
        "recipe": None,
        "model": model.identity,
        "rows_fitted_on": None if known is None else int(known.sum()),
        **scored(table, folds, {model.path.stem: predict(model, table)}),
    }


#: Decimals of each figure.
_DIGITS = dict(zip(FIGURES, (4, 4, 2), strict=True))
#: Titles and columns of the tables that :func:`lines` fills.
TABLES = {
    "Held out": ("", *(text for name in FIGURES for text in (name.upper(), "± folds", "± seeds"))),
    "Clips": ("", "PLCC a clip", "all clips", "RMSE a clip", "all clips", "bias all clips", "bias clip to clip"),
}


def lines(document: Mapping[str, Any]) -> dict[str, list[tuple[str, ...]]]:
    """Of each table of :data:`TABLES` a line for everything that was compared."""
    found: dict[str, list[tuple[str, ...]]] = {title: [] for title in TABLES}
    for one in document["compared"]:
        clip, every = one["per_clip"], one["all_clips"]
        told = (_with_deviations(one, name, digits) for name, digits in _DIGITS.items())
        found["Held out"].append((_called(one), *chain.from_iterable(told)))
        found["Clips"].append(
            (
                _called(one),
                figure(clip["plcc"], 4),
                figure(every["plcc"], 4),
                figure(clip["rmse"], 2),
                figure(every["rmse"], 2),
                figure(every["bias"], 2),
                figure(clip["bias_std"], 2),
            )
        )
    return found


def remarks(document: Mapping[str, Any]) -> list[str]:
    """What a reader must know of baselines."""
    found = []
    for one in document["compared"]:
        if one["model"] and one["rows_fitted_on"] is None:
            found.append(f"Nothing tells what {_called(one)} was fitted to: it may know what is held out here.")
        elif one["model"] and one["rows_fitted_on"]:
            found.append(
                f"{_called(one)} was fitted to the sources of {one['rows_fitted_on']} of the "
                f"{document['features']['rows']} rows; the others see none of them."
            )
    return found


def _called(one: Mapping[str, Any]) -> str:
    return f"{one['name']} (baseline)" if one["model"] else str(one["name"])


def _with_deviations(one: Mapping[str, Any], name: str, digits: int) -> tuple[str, ...]:
    """Mean, deviation over folds, and over seeds if there are several."""
    found = one["mean"][name]
    seeds = found["std_seeds"] if _seeds(one) > 1 else None
    return tuple(figure(value, digits) for value in (found["mean"], found["std_folds"], seeds))


def _seeds(one: Mapping[str, Any]) -> int:
    return len(one["folds"][0]["per_seed"])


def _markdown(document: Mapping[str, Any]) -> Iterator[str]:
    told = document["features"]
    yield "# Leave one out\n"
    yield (
        f"{told['rows']} rows, {told['clips']} clips, {len(told['sources'])} sources; folds: {document['folds']}; "
        f"seeds {', '.join(map(str, document['seeds']))}; teacher {told['teacher'] or 'not told'}.\n"
    )
    for title, rows in lines(document).items():
        yield f"## {title}\n"
        yield from _table(TABLES[title], rows)
        yield ""
    yield f"{_WHAT}\n"
    for remark in remarks(document):
        yield f"{remark}\n"
    for name, digits in _DIGITS.items():
        yield f"## {name.upper()} of each fold, mean ± deviation over seeds\n"
        compared = document["compared"]
        rows = [
            (fold["held_out"], *(_in_fold(one, one["folds"][index][name], digits) for one in compared))
            for index, fold in enumerate(compared[0]["folds"])
        ]
        yield from _table(("held out", *map(_called, compared)), rows)
        yield ""


def _in_fold(one: Mapping[str, Any], found: Mapping[str, float | None], digits: int) -> str:
    mean = figure(found["mean"], digits)
    return f"{mean} ± {figure(found['std'], digits)}" if _seeds(one) > 1 else mean


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for cells in (columns, ["---"] * len(columns), *rows):
        yield "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |"
