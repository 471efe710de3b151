"""`loso` and `tune`: several tiny heads at once, each source held out once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from kit.cli.opening import command_session
from kit.cli.output import Result, Table, json_option, row
from kit.core.contract import LEAST_SQUARES
from kit.core.errors import BadInput
from kit.heads.config import FIT, SEARCH, head_recipe
from kit.options.click_options import options
from kit.options.run_table import RUN
from kit.system.ui import figure


@click.command()
@options(
    *SEARCH.pick("features", "archs", "folds"),
    RUN["seeds"],
    *SEARCH.pick("epochs"),
    *FIT.pick("batch_size", "lr"),
    *SEARCH.pick("baselines"),
    *FIT.pick("device", "out"),
)
@json_option
def loso(*, archs: tuple[str, ...], epochs: int, batch_size: int, lr: float, out: Path, **given: Any) -> Result:
    """Compare heads with each source held out once.

    Trains all folds and seeds at once. Writes loso.json and loso.md. A baseline may have been fitted to sources
    held out here.

    Exit codes: 0 done, 2 bad input, 3 invalid table, or training diverged, 4 disk full.
    """
    from kit.heads.loso import MARKDOWN, TABLES, LosoRequest, lines, remarks, run

    recipes = tuple(head_recipe(arch, epochs=epochs, batch_size=batch_size, lr=lr) for arch in archs)
    request = LosoRequest(recipes=recipes, **given)
    _, session = command_session(out_dir=out.absolute())
    document = run(request, out.absolute(), session)
    tables = [
        Table(title=title, columns=TABLES[title], rows=[row(*cells) for cells in rows])
        for title, rows in lines(document).items()
    ]
    return Result(shown=(*tables, *remarks(document), f"Every fold: {out / MARKDOWN}"), data=document)


@click.command()
@options(
    *SEARCH.pick("features", "arch", "params", "trials", "folds"),
    FIT["seed"],
    SEARCH["epochs"],
    *FIT.pick("batch_size", "lr"),
    SEARCH["storage"],
    *FIT.pick("device", "out"),
)
@json_option
def tune(*, arch: str, epochs: int, batch_size: int, lr: float, storage: str | None, out: Path, **given: Any) -> Result:
    """Choose parameters of a head with Optuna.

    Minimises the RMSE on held-out sources, several trials at once.

    Exit codes: 0 done, 2 bad input or no Optuna, 3 invalid table, or all trials diverged, 4 disk full.
    """
    from kit.heads.tune import RESULT, TuneRequest, run

    names = [param.name for param in given["params"]]
    context = click.get_current_context()
    if idle := [name for name in names if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]:
        raise click.UsageError(
            f"--{idle[0].replace('_', '-')}: no effect together with --param {idle[0]}; leave it out."
        )
    if twice := {name for name in names if names.count(name) > 1}:
        raise click.UsageError(f"--param {', '.join(sorted(twice))} was given twice.")
    recipe = head_recipe(arch, epochs=epochs, batch_size=batch_size, lr=lr)
    if recipe.solver == LEAST_SQUARES:
        raise BadInput(f"--arch {arch}: its least squares have no parameter to choose", hint="Use `fit` or `loso`.")
    request = TuneRequest(recipe=recipe, storage=storage, **given)
    # the address of a database may hold a password
    argv = [item.replace(storage, "<storage>") if storage else item for item in sys.argv[1:]]
    _, session = command_session(out_dir=out.absolute(), argv=argv)
    document = run(request, out.absolute(), session)
    best = document["best"]
    rows = [row(name, f"{value:.6g}") for name, value in best["params"].items()]
    rows.append(row("architecture", best["recipe"]["arch"]))
    rows += [row(name, figure(value, 4)) for name, value in best["figures"].items()]
    return Result(
        shown=(
            Table(title=f"Best of {len(document['trials'])} trials", columns=("", ""), rows=rows),
            f"All trials: {out / RESULT}. This RMSE is the best of many; expect a higher one on other sources.",
        ),
        data=document,
    )
