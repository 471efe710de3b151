"""`fit` and `export`: one tiny head, from a feature table to an ONNX file."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kit.cli.opening import command_session, read_config
from kit.cli.output import Outcome, print_json
from kit.core import exits
from kit.core.errors import PrerequisiteFailed
from kit.heads.config import FIT, FIT_SETTINGS, HEAD_EXPORT, resolve
from kit.options.click_options import json, options, texts
from kit.options.table import Raw, load_yaml

if TYPE_CHECKING:
    from kit.system.ui import Ui


@click.command()
@options(FIT["features"])
@texts(*FIT_SETTINGS)
@options(*FIT.pick("config_file", "out"))
@json
def fit(features: Path | None, config_file: Path | None, out: Path, as_json: bool, **given: Raw | None) -> Outcome:
    """Fit a tiny head on the six features to a feature table.

    Holds out whole content groups, never single frames. Writes checkpoint.safetensors, history.json and
    config.yaml.

    Exit codes: 0 done, 2 bad input, 3 invalid table, or training diverged, 4 disk full.
    """
    from kit.heads.fit import CHECKPOINT, make

    file = {} if config_file is None else read_config(config_file, FIT, load_yaml)
    config, origins = resolve(given, file)
    if (features is None) != (config.epochs == 0):
        idle = "--epochs 0 gives initial weights and looks at no table; leave --features out."
        raise click.UsageError("--features is missing." if features is None else idle)
    _, session = command_session(out_dir=out.absolute())
    _show_options(config.as_dict(), origins, session.ui)
    history = make(config, features, out.absolute(), session)
    _show(history, session.ui)
    session.ui.say(f"Left: {out / CHECKPOINT}; `export --checkpoint` makes a model of it.")
    if as_json:
        print_json(history)
    return Outcome(code=exits.OK)


def _show_options(config: dict[str, object], origins: dict[str, str], ui: Ui) -> None:
    from kit.system.ui import Row

    def shown(value: object) -> str:
        return ", ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)

    rows = [Row(cells=(name.replace("_", "-"), shown(value), origins[name])) for name, value in config.items()]
    ui.table("Options", ("option", "value", "from"), rows)


def _show(history: dict[str, Any], ui: Ui) -> None:
    """What came of it."""
    from kit.system.ui import Row, figure

    if history["features"] is None:
        ui.say("Initial weights: fitted to nothing.")
        return
    losses = history["training_loss"]
    ui.say(
        f"{history['rows_trained']} rows trained on, {history['rows_held_out']} held out; loss {losses[0]:.2f} "
        f"after the first epoch, {losses[-1]:.2f} after the last"
    )
    whole = [f"{group} ({', '.join(sources)})" for group, sources in history["held_out"].items() if len(sources) > 1]
    if whole:
        ui.say(f"Held out as a whole, since their sources show the same content: {'; '.join(whole)}")
    found = history["validation"]
    if found is None:
        ui.say("Nothing was held out: what it does on other sources is not known.")
        return
    parts = {"all held out": found} | found["per_source"]
    ui.table(
        "Validation",
        ("source", "rows", "PLCC", "SROCC", "KROCC", "RMSE"),
        [
            Row(cells=(name, str(part["n"]), *(figure(part[key], 4) for key in ("plcc", "srocc", "krocc", "rmse"))))
            for name, part in parts.items()
        ],
    )


@click.command()
@options(*HEAD_EXPORT)
@json
def export(checkpoint: Path, features: Path | None, out: Path, as_json: bool) -> Outcome:
    """Export a fitted head to ONNX, checked against torch.

    The model takes raw features and includes the scaler; its output is vmaf.

    Exit codes: 0 done, 2 bad input, 4 disk full, 70 model and network differ.
    """
    if importlib.util.find_spec("onnxruntime") is None:
        raise PrerequisiteFailed("there is no onnxruntime for this machine", hint="Export on another box.")
    from kit.heads.export import make

    _, session = command_session(out_dir=out.absolute().parent)
    told: dict[str, Any] = make(checkpoint, features, out.absolute(), session)
    tripped = told["round_trip"]
    session.ui.say(f"{out}: SHA-256 {told['sha256'][:16]}, {out.with_suffix('.json').name} beside it")
    session.ui.say(
        f"onnxruntime and torch differ by {tripped['largest']:.1e} VMAF points at most on {tripped['rows']} "
        f"{tripped['on']}"
    )
    if as_json:
        print_json(told)
    return Outcome(code=exits.OK)
