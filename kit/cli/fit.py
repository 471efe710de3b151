"""`fit` and `export`: one tiny head, from a feature table to an ONNX file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from kit.cli.opening import command_session, read_config, require_onnxruntime
from kit.cli.output import Result, Table, json_option, row, show_table
from kit.core.texts import correlation
from kit.heads.config import FIT, FIT_SETTINGS, HEAD_EXPORT, resolve
from kit.options.click_options import options, texts
from kit.options.table import Raw, load_yaml
from kit.system.ui import figure


@click.command()
@options(FIT["features"])
@texts(*FIT_SETTINGS)
@options(*FIT.pick("config_file", "out"))
@json_option
def fit(features: Path | None, config_file: Path | None, out: Path, **given: Raw | None) -> Result:
    """Fit a tiny head on the six features to a feature table.

    Holds out whole content groups, never single frames. Writes checkpoint.safetensors, history.json and
    config.yaml.

    Exit codes: 0 done, 2 bad input, 3 invalid table, or training diverged, 4 disk full.
    """
    from kit.heads.fit import CHECKPOINT, make

    file = {} if config_file is None else read_config(config_file, FIT, load_yaml)
    config, origins = resolve(given, file)
    if (features is None) != (config.epochs == 0):
        idle = "--epochs 0 gives initial weights and reads no table; leave --features out."
        raise click.UsageError("--features is missing." if features is None else idle)
    _, session = command_session(out_dir=out.absolute())
    show_table(_options_table(config.as_dict(), origins), session.ui)
    history = make(config, features, out.absolute(), session)
    made = f"{out / CHECKPOINT} is written; `export --checkpoint` makes a model of it."
    return Result(shown=(*_summary(history), made), data=history)


def _options_table(config: Mapping[str, object], origins: Mapping[str, str]) -> Table:
    rows = []
    for name, value in config.items():
        text = ", ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)
        rows.append(row(name.replace("_", "-"), text, origins[name]))
    return Table(title="Options", columns=("option", "value", "from"), rows=rows)


def _summary(history: Mapping[str, Any]) -> Iterator[str | Table]:
    """Describe a fit: rows, losses, and the figures on what was held out."""
    if history["features"] is None:
        yield "Initial weights: not fitted to any rows."
        return
    losses = history["training_loss"]
    course = f"{losses[0]:.2f} after the first epoch, {losses[-1]:.2f} after the last"
    yield (
        f"{history['rows_trained']} rows trained on, {history['rows_held_out']} held out; loss "
        + (course if len(losses) > 1 else f"{losses[0]:.2f}")
    )
    groups = [f"{group} ({', '.join(sources)})" for group, sources in history["held_out"].items() if len(sources) > 1]
    if groups:
        yield f"Held out as whole groups, since their sources show the same content: {'; '.join(groups)}"
    validation = history["validation"]
    if validation is None:
        yield "Nothing was held out: the error on other sources is not known."
        return
    slices = {"all held out": validation} | validation["per_source"]
    rows = [
        row(name, part["n"], *(correlation(part[key]) for key in ("plcc", "srocc", "krocc")), figure(part["rmse"], 4))
        for name, part in slices.items()
    ]
    yield Table(title="Validation", columns=("source", "rows", "PLCC", "SROCC", "KROCC", "RMSE"), rows=rows)


@click.command()
@options(*HEAD_EXPORT)
@json_option
def export(checkpoint: Path, features: Path | None, out: Path) -> Result:
    """Export a fitted head to ONNX, checked against torch.

    The model takes raw features and includes the scaler; its output is vmaf.

    Exit codes: 0 done, 2 bad input, 4 disk full, 70 model and network differ.
    """
    require_onnxruntime()
    from kit.heads.export import make

    _, session = command_session(out_dir=out.absolute().parent)
    sidecar: dict[str, Any] = make(checkpoint, features, out.absolute(), session)
    trip = sidecar["round_trip"]
    return Result(
        shown=(
            f"{out}: SHA-256 {sidecar['sha256'][:16]}; {out.with_suffix('.json').name} is its sidecar",
            f"onnxruntime and torch differ by at most {trip['largest']:.1e} VMAF points on {trip['rows']} {trip['on']}",
        ),
        data=sidecar,
    )
