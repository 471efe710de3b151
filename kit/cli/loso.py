"""`loso` and `tune`: several tiny heads at once, each source held out once."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from click.core import ParameterSource

from kit.cli.opening import command_session
from kit.cli.output import Outcome, print_json
from kit.core import contract, exits
from kit.options.click_options import options

_path = click.Path(path_type=Path)
_features = click.option(
    "--features", metavar="F", type=_path, required=True, help="Feature table, or a run folder or shard."
)
_folds = click.option(
    "--folds",
    metavar="SCHEME",
    default="source",
    show_default=True,
    help="source: each source once, with all of its content group; column:NAME: what a column of the "
    "table says, such as column:fold.",
)
_epochs = click.option(
    "--epochs",
    metavar="N",
    type=click.IntRange(1),
    default=contract.TINY_EPOCHS,
    show_default=True,
    help="Passes over the training rows.",
)
_batch_size = click.option(
    "--batch-size", metavar="N", type=int, default=contract.TINY_BATCH_SIZE, show_default=True, help="Rows of a step."
)
_lr = click.option(
    "--lr", metavar="X", type=float, default=contract.TINY_LEARNING_RATE, show_default=True, help="Learning rate."
)


@click.command()
@_features
@click.option(
    "--arch",
    "archs",
    metavar="A,B",
    default=contract.TINY_ARCH,
    show_default=True,
    help="Heads side by side: linear, mlp_small, mlp_medium, or by widths such as mlp-32-16.",
)
@_folds
@options("seeds")
@_epochs
@_batch_size
@_lr
@click.option(
    "--baseline",
    "baselines",
    metavar="M.onnx",
    type=_path,
    multiple=True,
    help="A model to score as it is, beside them; may be given several times.",
)
@options("device")
@click.option("--out", metavar="DIR", type=_path, required=True, help="Folder of the result; a stopped run goes on.")
@options("json")
def loso(
    *,
    features: Path,
    archs: str,
    folds: str,
    seeds: str | None,
    epochs: int,
    batch_size: int,
    lr: float,
    baselines: tuple[Path, ...],
    device: str | None,
    out: Path,
    as_json: bool,
) -> Outcome:
    """Train heads with each source held out once, all folds and seeds at once, and compare them.

    Leaves loso.json and loso.md. A baseline that was fitted to the sources held out here knows them.

    Exit codes: 0 done, 2 bad input, 3 a table that cannot be or a training that diverged, 4 disk full.
    """
    from kit.heads.config import resolve
    from kit.heads.loso import MARKDOWN, TABLES, LosoRequest, lines, remarks, run
    from kit.options import values
    from kit.system.ui import Row

    common = {"epochs": epochs, "batch_size": batch_size, "lr": lr, "device": device}
    configs = [resolve({"arch": name.strip(), **common}, {})[0] for name in dict.fromkeys(archs.split(","))]
    request = LosoRequest(
        features=features,
        recipes=tuple(config.recipe for config in configs),
        seeds=contract.DEFAULT_SEEDS if seeds is None else values.seeds(seeds),
        folds=folds,
        baselines=baselines,
        device=configs[0].device,
    )
    _, session = command_session(out_dir=out.absolute())
    found = run(request, out.absolute(), session)
    for title, cells in lines(found).items():
        session.ui.table(title, TABLES[title], [Row(cells=line) for line in cells])
    for remark in remarks(found):
        session.ui.say(remark)
    session.ui.say(f"Every fold: {out / MARKDOWN}")
    if as_json:
        print_json(found)
    return Outcome(code=exits.OK)


@click.command()
@_features
@click.option(
    "--arch", metavar="NAME", default=contract.TINY_ARCH, show_default=True, help="Head whose parameters are chosen."
)
@click.option(
    "--param",
    "params",
    metavar="NAME=…",
    multiple=True,
    required=True,
    help="hidden=choice:16,32,64 (width of the first hidden layer, the others in proportion), "
    "lr=float:1e-4:1e-2:log, epochs=int:10:90; also batch_size and weight_decay.",
)
@click.option(
    "--trials",
    metavar="N",
    type=click.IntRange(1),
    required=True,
    help="Of this --out in all, earlier ones among them.",
)
@_folds
@click.option("--seed", metavar="N", type=int, default=0, show_default=True, help="Of the weights and of the choice.")
@_epochs
@_batch_size
@_lr
@click.option(
    "--storage",
    metavar="URL",
    help="Database of the study; several --out on one learn from each other. Default: study.db in --out.",
)
@options("device")
@click.option("--out", metavar="DIR", type=_path, required=True, help="Folder of the result; a stopped run goes on.")
@options("json")
def tune(
    *,
    features: Path,
    arch: str,
    params: tuple[str, ...],
    trials: int,
    folds: str,
    seed: int,
    epochs: int,
    batch_size: int,
    lr: float,
    storage: str | None,
    device: str | None,
    out: Path,
    as_json: bool,
) -> Outcome:
    """Choose parameters of a head with Optuna, by the RMSE on held-out sources; several trials at once.

    Exit codes: 0 done, 2 bad input or no Optuna, 3 a table that cannot be or all trials diverged, 4 disk full.
    """
    from kit.heads.config import resolve
    from kit.heads.params import parse
    from kit.heads.tune import RESULT, TuneRequest, run
    from kit.system.ui import Row, figure

    parsed = tuple(map(parse, params))
    names = [param.name for param in parsed]
    context = click.get_current_context()
    if idle := [name for name in names if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]:
        raise click.UsageError(f"--{idle[0].replace('_', '-')}: no effect beside --param {idle[0]}; leave it out.")
    if twice := {name for name in names if names.count(name) > 1}:
        raise click.UsageError(f"--param {', '.join(sorted(twice))} is given twice.")
    given = {"arch": arch, "seed": seed, "epochs": epochs, "batch_size": batch_size, "lr": lr, "device": device}
    config, _ = resolve(given, {})
    request = TuneRequest(
        features=features,
        recipe=config.recipe,
        params=parsed,
        trials=trials,
        seed=config.seed,
        folds=folds,
        device=config.device,
        storage=storage,
    )
    # the address of a database may hold a password
    argv = [item.replace(storage, "<storage>") if storage else item for item in sys.argv[1:]]
    _, session = command_session(out_dir=out.absolute(), argv=argv)
    found = run(request, out.absolute(), session)
    best = found["best"]
    session.ui.table(
        f"Best of {len(found['trials'])} trials",
        ("", ""),
        [
            *(Row(cells=(name, f"{value:.6g}")) for name, value in best["params"].items()),
            Row(cells=("architecture", best["recipe"]["arch"])),
            *(Row(cells=(name, figure(value, 4))) for name, value in best["figures"].items()),
        ],
    )
    session.ui.say(f"All of them: {out / RESULT}. Its RMSE is that of the best of many: expect more elsewhere.")
    if as_json:
        print_json(found)
    return Outcome(code=exits.OK)
