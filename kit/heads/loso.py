"""Compare heads with each source held out once, all folds and seeds together, and with exported models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, product
from pathlib import Path
from typing import Any

from kit.core import contract
from kit.core.errors import BadInput
from kit.core.texts import correlation
from kit.features import table as tables
from kit.features.table import FeatureTable
from kit.heads.config import FIT, SEARCH
from kit.heads.evaluate import fitted_on, predict
from kit.heads.fit import MEMBERS
from kit.heads.scored import FIGURES, scored
from kit.heads.table_facts import identifying_file, table_facts
from kit.models.model_file import ModelFile, open_model
from kit.models.registry import refuse_overwrite
from kit.options.provenance import of_command
from kit.options.run_table import RUN
from kit.options.session import Session
from kit.options.table import Texts, write_options
from kit.system.fsio import locked, write_bytes, write_json
from kit.system.ui import figure
from kit.training.folds import Fold
from kit.training.members import Ensemble
from kit.training.recipe import Recipe
from kit.training.run_members import out_of_fold, refuse_diverged, train_members

RESULT, MARKDOWN = "loso.json", "loso.md"
BY_SOURCE, _BY_COLUMN = "source", "column:"
_EXPLANATION = (
    "A clip: mean over clips of the figure within each. All clips: on all rows together. If the second is worse, "
    "clips have offsets: bias clip to clip is the deviation of the clips' biases. RMSE and biases are VMAF points, "
    "without a fitted mapping."
)


@dataclass(frozen=True, kw_only=True)
class LosoRequest:
    """Heads to train and models to compare them with.

    Attributes:
        features: the table, or a run folder or shard.
        folds: ``source`` for each source once with all of its content group, which names the fold, or ``column:NAME``
            for a column of the table that labels the folds.
        baselines: models that are scored without training.
    """

    features: Path
    recipes: tuple[Recipe, ...]
    seeds: tuple[int, ...]
    folds: str
    baselines: tuple[Path, ...]
    device: str

    def as_dict(self) -> dict[str, object]:
        """Return what decides the figures, besides the rows."""
        return {
            "recipes": [recipe.as_dict() for recipe in self.recipes],
            "seeds": list(self.seeds),
            "folds": self.folds,
            "device": self.device,
        }

    def as_args(self) -> Texts:
        """Return the options without paths."""
        options = (*SEARCH.pick("archs", "folds", "epochs"), RUN["seeds"], *FIT.pick("batch_size", "lr", "device"))
        archs = tuple(recipe.arch for recipe in self.recipes)  # nothing else differs between the recipes
        return write_options(options, {**vars(self.recipes[0]), **vars(self), "archs": archs})


def folds_of(table: FeatureTable, scheme: str) -> tuple[Fold, ...]:
    """Return the folds of a scheme, see :class:`LosoRequest`.

    Raises:
        BadInput: unknown column or scheme, a row without a label, fewer than two folds, or a content group in two.
    """
    if scheme == BY_SOURCE:
        return table.folds(table.groups)
    name = scheme.removeprefix(_BY_COLUMN)
    texts = [column for column in table.frame if table.frame[column].map(type).eq(str).all()]
    if not scheme.startswith(_BY_COLUMN) or name not in texts:
        raise BadInput(
            f"--folds {scheme!r}: expected {BY_SOURCE}, or {_BY_COLUMN}NAME of a column with a label in every row",
            hint=f"Such columns: {', '.join(texts)}.",
        )
    return table.folds(table.frame[name].to_numpy(str))


def run(request: LosoRequest, out: Path, session: Session) -> dict[str, Any]:
    """Train and score everything; write :data:`RESULT` and :data:`MARKDOWN` into ``out``.

    Returns:
        The content of :data:`RESULT`.

    Raises:
        BadInput: invalid folds or baseline, or a registered file would be overwritten.
        InvalidEvidence: a training diverged.
    """
    names = [path.name for path in request.baselines]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise BadInput(f"--baseline: several files named {', '.join(sorted(repeated))}", hint="Rename one of them.")
    with locked(out):
        refuse_overwrite([out / RESULT, out / MARKDOWN], [request.features, *request.baselines])
        table = tables.read(request.features)
        folds = folds_of(table, request.folds)
        # before the training, so that an invalid baseline is refused at once
        baselines = [_compared_baseline(open_model(path, "--baseline"), table, folds) for path in request.baselines]
        heads = _trained_heads(request, table, folds, out / MEMBERS, session)
        inputs = {"features": identifying_file(request.features)} | {
            f"baseline {path.name}": path for path in request.baselines
        }
        document: dict[str, Any] = {
            "schema_version": contract.SCHEMA_VERSION,
            "features": table_facts(table),
            **request.as_dict(),
            "compared": heads + baselines,
            "run_provenance": of_command(session, args=request.as_args(), inputs=inputs, outputs=[RESULT, MARKDOWN]),
        }
        write_json(out / RESULT, document)
        write_bytes(out / MARKDOWN, "\n".join(_markdown(document)).encode())
    return document


def _trained_heads(
    request: LosoRequest, table: FeatureTable, folds: Sequence[Fold], folder: Path, session: Session
) -> list[dict[str, object]]:
    """Train each recipe with every seed and fold, and score the predictions of the held-out rows."""
    rows, members_of = table.rows(), list(product(request.seeds, folds))
    ensembles = [
        Ensemble(
            rows=rows,
            corpus_sha256=table.sha256,
            members=members_of,
            recipe=recipe,
            device=request.device,
            folder=folder,
        )
        for recipe in request.recipes
    ]
    trained = train_members(ensembles, session.processes, session.ui, title="Leave-one-source-out")
    refuse_diverged(request.recipes, trained)
    return [
        {
            "name": recipe.arch,
            "recipe": recipe.as_dict(),
            "model": None,
            **scored(table, folds, {str(seed): out_of_fold(folds, members, seed) for seed in request.seeds}),
        }
        for recipe, members in zip(request.recipes, trained, strict=True)
    ]


def _compared_baseline(model: ModelFile, table: FeatureTable, folds: Sequence[Fold]) -> dict[str, object]:
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
    """Return the lines of each table of :data:`TABLES`, one per head or model."""
    tables_of: dict[str, list[tuple[str, ...]]] = {title: [] for title in TABLES}
    for entry in document["compared"]:
        clip, every = entry["per_clip"], entry["all_clips"]
        columns = (_with_deviations(entry, name, digits) for name, digits in _DIGITS.items())
        tables_of["Held out"].append((_label(entry), *chain.from_iterable(columns)))
        tables_of["Clips"].append(
            (
                _label(entry),
                correlation(clip["plcc"]),
                correlation(every["plcc"]),
                figure(clip["rmse"], 2),
                figure(every["rmse"], 2),
                figure(every["bias"], 2),
                figure(clip["bias_std"], 2),
            )
        )
    return tables_of


def remarks(document: Mapping[str, Any]) -> list[str]:
    """Return what limits the comparison with baselines, one line each."""
    texts = []
    for entry in document["compared"]:
        if entry["model"] and entry["rows_fitted_on"] is None:
            texts.append(f"The sources that {_label(entry)} was fitted to are not recorded: it may know held-out ones.")
        elif entry["model"] and entry["rows_fitted_on"]:
            texts.append(
                f"{_label(entry)} was fitted to the sources of {entry['rows_fitted_on']} of the "
                f"{document['features']['rows']} rows; the heads were not."
            )
    return texts


def _label(entry: Mapping[str, Any]) -> str:
    return f"{entry['name']} (baseline)" if entry["model"] else str(entry["name"])


def _with_deviations(entry: Mapping[str, Any], name: str, digits: int) -> tuple[str, ...]:
    """Return mean, deviation over folds, and over seeds if there are several."""
    mean = entry["mean"][name]
    seeds = mean["std_seeds"] if _seeds(entry) > 1 else None
    return tuple(figure(value, digits) for value in (mean["mean"], mean["std_folds"], seeds))


def _seeds(entry: Mapping[str, Any]) -> int:
    return len(entry["folds"][0]["per_seed"])


def _markdown(document: Mapping[str, Any]) -> Iterator[str]:
    features = document["features"]
    yield "# Leave one out\n"
    yield (
        f"{features['rows']} rows, {features['clips']} clips, {len(features['sources'])} sources; "
        f"folds: {document['folds']}; "
        f"seeds {', '.join(map(str, document['seeds']))}; teacher {features['teacher'] or 'not recorded'}.\n"
    )
    for title, rows in lines(document).items():
        yield f"## {title}\n"
        yield from _table(TABLES[title], rows)
        yield ""
    yield f"{_EXPLANATION}\n"
    for remark in remarks(document):
        yield f"{remark}\n"
    for name, digits in _DIGITS.items():
        yield f"## {name.upper()} of each fold, mean ± deviation over seeds\n"
        compared = document["compared"]
        rows = [
            (fold["held_out"], *(_in_fold(entry, entry["folds"][index][name], digits) for entry in compared))
            for index, fold in enumerate(compared[0]["folds"])
        ]
        yield from _table(("held out", *map(_label, compared)), rows)
        yield ""


def _in_fold(entry: Mapping[str, Any], spread: Mapping[str, float | None], digits: int) -> str:
    mean = figure(spread["mean"], digits)
    return f"{mean} ± {figure(spread['std'], digits)}" if _seeds(entry) > 1 else mean


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for cells in (columns, ["---"] * len(columns), *rows):
        yield "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |"
