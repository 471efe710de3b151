"""The options of a run, resolved once: every value is kept with where it came from. Pure: everything is passed in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from kit.core import contract
from kit.core.errors import BadInput
from kit.core.geometry import RawFormat
from kit.options.run_table import RUN


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """The options of a run, see :data:`RUN` for their meaning.

    Attributes:
        ref_dir: None for the built-in demo clips.
        encoders: None for those of the platform.
        teacher: name of a built-in model, or absolute path of a model file.
        cqs: ascending; seeds: in the order given.
        gpu, render_node: None for the first.
        scheduler: None to make the cells on this box.
        origins: option name to where its value came from, in words.
    """

    ref_dir: Path | None
    dataset: str
    data_root: Path
    out_dir: Path
    encoders: tuple[str, ...] | None
    teacher: str | Path
    cqs: tuple[int, ...]
    seeds: tuple[int, ...]
    epochs: int
    arch: str
    recipe: str
    folds: str
    holdout: tuple[str, ...]
    max_rows_per_source: int | None
    device: str
    box: str
    ffmpeg: Path | None
    geometry: RawFormat | None
    anchor: bool
    shard_only: bool
    allow_partial: bool
    stall_timeout: float
    disk_wait: float
    vmaf_bin: Path | None
    scorer_backend: str
    gpu: int | None
    render_node: str | None
    cuda_visible: str
    scheduler: str | None
    tls_ca: Path | None
    tls_cert: Path | None
    tls_key: Path | None
    worker_wait: float
    sign: Path | None
    corpus: Path | None
    baseline: Path | None
    gate: str
    origins: Mapping[str, str]

    @property
    def demo(self) -> bool:
        """Whether the sources are the built-in demo clips."""
        return self.ref_dir is None and self.corpus is None


def complete(
    values: Mapping[str, Any], origins: Mapping[str, str], *, out_dir: Path, box: str, box_origin: str
) -> RunConfig:
    """Fill in the defaults. The out-dir and the box are given because their defaults depend on clock and machine.

    Raises:
        BadInput: ``--dataset dir`` without a folder.
    """
    defaults = {option.name: option.default for option in RUN}
    defaults |= {"out_dir": out_dir, "box": box, "data_root": default_data_root()}
    merged = defaults | dict(values)
    words = dict.fromkeys(defaults, "default") | {"box": box_origin} | dict(origins)
    if merged["ref_dir"] is None and merged["dataset"] != "auto":
        if merged["dataset"] == "dir":
            raise BadInput("--dataset: dir needs a folder", hint="Give it with --ref-dir.")
        merged["ref_dir"] = merged["data_root"] / "datasets" / merged["dataset"]
        words["ref_dir"] = f"{_FROM_DATASET} {merged['dataset']}"
    if merged["ref_dir"] is None and merged["corpus"] is None and "epochs" not in values:
        merged["epochs"], words["epochs"] = contract.DEMO_EPOCHS, "default for demo clips"
    merged["out_dir"] = merged["out_dir"].absolute()
    return RunConfig(**merged, origins=MappingProxyType(words))


def default_data_root() -> Path:
    """Return the folder of data sets where ``VMAF_DATA_ROOT`` and the config file do not name one."""
    return Path("~/.cache/vmaf-train").expanduser()


#: Origin of a reference folder that follows from the data set's name; such a folder is not remembered.
_FROM_DATASET = "--dataset"


def as_texts(config: RunConfig) -> dict[str, str]:
    """Return the options as texts that are read again, without those that are unset or never remembered."""
    derived = {"data_root"} if config.data_root == default_data_root() else set()
    if config.origins.get("ref_dir", "").startswith(_FROM_DATASET):
        derived.add("ref_dir")
    values = {
        option: getattr(config, option.name) for option in RUN if option.remembered and option.name not in derived
    }
    return {option.name: option.kind.write(value) for option, value in values.items() if value not in (None, ())}
