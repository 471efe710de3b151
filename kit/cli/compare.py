"""`compare`: the verdicts of several boxes side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from kit.cli.opening import command_session
from kit.cli.output import Outcome, print_json
from kit.core import exits
from kit.options.click_options import json

if TYPE_CHECKING:
    from kit.system.ui import Ui
    from kit.verify.compare import Comparison, Side


@click.command()
@click.argument("bundles", metavar="BUNDLE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@json
def compare(bundles: tuple[Path, ...], as_json: bool) -> Outcome:
    """Compare the verdicts of bundles by seed, source and encoder.

    Each bundle is verified first.

    Exit codes: 0 compared, 2 bad input, 3 a bundle is invalid or has no figures.
    """
    from kit.core.errors import BadInput
    from kit.system.fsio import scratch_folder
    from kit.verify.compare import compare as put_side_by_side

    if len(bundles) < 2:
        raise BadInput("compare: one bundle has nothing to be compared with", hint="Give two or more.")
    if missing := [str(path) for path in bundles if not path.is_file()]:
        raise BadInput(f"{', '.join(missing)}: there is no such file", hint="Give paths of ensemble-results-….tar.gz.")
    with scratch_folder() as scratch:
        found = put_side_by_side(_sides(bundles, scratch))
    from kit.system.ui import Ui

    _show(found, Ui())
    if as_json:
        print_json(_json(found))
    return Outcome(code=exits.OK)


def _sides(bundles: tuple[Path, ...], scratch: Path) -> list[Side]:
    """Every bundle, verified.

    Raises:
        CheckFailed: one is not valid, or has no figures.
    """
    from kit.core.errors import CheckFailed
    from kit.verify.bundle import unpacked, valid
    from kit.verify.compare import Side
    from kit.verify.received_run import ReceivedRun

    processes = command_session()[1].processes
    sides = []
    for number, path in enumerate(bundles):
        place = scratch / str(number)
        found = valid(path, place, processes)
        if found.verdict not in ("PROMOTE", "HOLD"):
            raise CheckFailed(f"{path} has no figures: its verdict is {found.verdict or 'none'}", hint="Leave it out.")
        seen = ReceivedRun(unpacked(place))
        sides.append(
            Side(
                name=f"{number + 1}: {found.box}", verdict=seen.verdict, shard=seen.shard, predictions=seen.predictions
            )
        )
    return sides


def _show(found: Comparison, ui: Ui) -> None:
    from kit.system.ui import Row

    names = [side.name for side in found.sides]
    seeds = sorted({seed for side in found.sides for seed in side.verdict["gate"]["per_seed_plccs"]}, key=int)
    rows = [Row(cells=("verdict", *(str(side.verdict["verdict"]) for side in found.sides)))]
    rows += [
        Row(
            cells=(
                f"PLCC, seed {seed}",
                *(_number(side.verdict["gate"]["per_seed_plccs"].get(seed), 4) for side in found.sides),
            )
        )
        for seed in seeds
    ]
    ui.table("Verdicts", ("", *names), rows)
    ui.table(
        "RMSE, mean over seeds",
        ("", "", *names, "differ by", "seeds by"),
        [
            Row(
                cells=(
                    line.what,
                    line.name,
                    *(_number(value, 2) for value in line.figures),
                    f"{line.difference:.2f}",
                    f"{line.spread:.2f}",
                ),
                style="red" if line.disagrees else "",
            )
            for line in found.lines[1:]
        ],
    )
    ui.say(found.conclusion)


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _json(found: Comparison) -> dict[str, object]:
    return {
        "bundles": [
            {
                "name": side.name,
                "box": side.name.split(": ", 1)[1],
                "verdict": side.verdict["verdict"],
                "mean_plcc": side.verdict["gate"]["mean_plcc"],
                "per_seed_plccs": side.verdict["gate"]["per_seed_plccs"],
            }
            for side in found.sides
        ],
        "lines": [
            {
                "what": line.what,
                "name": line.name,
                "figures": list(line.figures),
                "difference": line.difference,
                "seed_spread": line.spread,
                "disagrees": line.disagrees,
            }
            for line in found.lines
        ],
        "agree": found.agree,
        "conclusion": found.conclusion,
    }
