"""Options and session of a run."""

from __future__ import annotations

from pathlib import Path

from kit.options.resolve import RunConfig, complete
from kit.options.session import Session, open_session
from kit.system.ui import Ui


def run_in(folder: Path, **options: object) -> tuple[RunConfig, Session]:
    """Options and session of a run in this folder."""
    defaults: dict[str, object] = {"seeds": (0, 1, 2), "epochs": 400, "device": "cpu"}
    config = complete(defaults | options, {}, out_dir=folder, box="testbox", box_origin="given")
    return config, open_session(config, ui=Ui(), cache=folder / "cache", argv=["run"])
