"""`compare`: the verdicts of several boxes side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from kit.cli.opening import command_session
from kit.cli.output import Result, Table, json_option, row
from kit.core.errors import BadInput, CheckFailed
from kit.core.texts import correlation
from kit.system.ui import figure

if TYPE_CHECKING:
    from kit.verify.compare import Comparison, Side


@click.command()
@click.argument("bundles", metavar="BUNDLE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@json_option
def compare(bundles: tuple[Path, ...]) -> Result:
    """Compare the verdicts of bundles by seed, source and encoder.

    Each bundle is verified first.

    Exit codes: 0 compared, 2 bad input, 3 a bundle is invalid or has no figures.
    """
    from kit.system.fsio import scratch_folder
    from kit.verify import compare as comparing

    if len(bundles) < 2:
        raise BadInput("compare: one bundle was given, two or more are needed", hint="Give several bundles.")
    if missing := [str(path) for path in bundles if not path.is_file()]:
        raise BadInput(f"{', '.join(missing)}: no such file", hint="Give paths of ensemble-results-….tar.gz.")
    with scratch_folder() as scratch:
        comparison = comparing.compare(_verified_sides(bundles, scratch))
    return Result(shown=(_verdicts(comparison), _errors(comparison), comparison.conclusion), data=_document(comparison))


def _verified_sides(bundles: tuple[Path, ...], scratch: Path) -> list[Side]:
    """Verify every bundle and read its figures.

    Raises:
        CheckFailed: a bundle is not valid, or has no figures.
    """
    from kit.verify.bundle import require_valid, unpacked_folder
    from kit.verify.compare import Side
    from kit.verify.received_run import ReceivedRun

    processes = command_session()[1].processes
    sides = []
    for number, path in enumerate(bundles, start=1):
        folder = scratch / str(number)
        checked = require_valid(path, folder, processes)
        if checked.verdict not in ("PROMOTE", "HOLD"):
            word = checked.verdict or "none"
            raise CheckFailed(f"{path} has no figures: its verdict is {word}", hint="Leave it out.")
        run = ReceivedRun(unpacked_folder(folder))
        name = f"{number}: {checked.box}"
        sides.append(Side(name=name, verdict=run.verdict, shard=run.shard, predictions=run.predictions))
    return sides


def _verdicts(comparison: Comparison) -> Table:
    documents = [side.verdict for side in comparison.sides]
    plccs = [document["gate"]["per_seed_plccs"] for document in documents]
    seeds = sorted({seed for of_side in plccs for seed in of_side}, key=int)
    rows = [row("verdict", *(document["verdict"] for document in documents))]
    rows += [row(f"PLCC, seed {seed}", *(correlation(of_side.get(seed)) for of_side in plccs)) for seed in seeds]
    return Table(title="Verdicts", columns=("", *(side.name for side in comparison.sides)), rows=rows)


def _errors(comparison: Comparison) -> Table:
    rows = []
    for line in comparison.lines[1:]:
        figures = (*line.figures, line.difference, line.spread)
        cells = (line.what, line.name, *(figure(value, 2) for value in figures))
        rows.append(row(*cells, style="red" if line.disagrees else ""))
    names = (side.name for side in comparison.sides)
    columns = ("", "", *names, "difference", "spread over seeds")
    return Table(title="RMSE, mean over seeds", columns=columns, rows=rows)


def _document(comparison: Comparison) -> dict[str, object]:
    return {
        "bundles": [
            {
                "name": side.name,
                "box": side.name.split(": ", 1)[1],
                "verdict": side.verdict["verdict"],
                "mean_plcc": side.verdict["gate"]["mean_plcc"],
                "per_seed_plccs": side.verdict["gate"]["per_seed_plccs"],
            }
            for side in comparison.sides
        ],
        "lines": [
            {
                "what": line.what,
                "name": line.name,
                "figures": line.figures,
                "difference": line.difference,
                "seed_spread": line.spread,
                "disagrees": line.disagrees,
            }
            for line in comparison.lines
        ],
        "agree": comparison.agree,
        "conclusion": comparison.conclusion,
    }
