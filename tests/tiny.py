"""What the tests of tiny heads share: tables that are made, heads that need no training, models from elsewhere."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
from onnx import TensorProto, helper, numpy_helper

from kit.core import contract
from kit.features import table
from kit.features.table import FeatureTable
from kit.heads import checkpoint
from kit.heads.fit import facts_of
from kit.training.draws import Draws
from kit.training.model import Network
from kit.training.recipe import Recipe, architecture
from kit.training.standardiser import fit_standardiser


def rows(corpus: str, sources: int, clips: int = 2, frames: int = 30, name: str = "s") -> pd.DataFrame:
    """Rows with a smooth target; ``fold`` deals out sources."""
    generator = np.random.default_rng(sources)
    number = np.arange(sources * clips * frames)
    features = generator.uniform(0.3, 1.0, (len(number), 6))
    features[:, 5] *= 10
    source = number // (clips * frames)
    return pd.DataFrame({
        "corpus": corpus, "source": [f"{name}{n}" for n in source], "clip": [f"c{n:03d}" for n in number // frames],
        "frame_index": (number % frames).astype(np.int32), "codec": "libx264", "teacher": contract.DEFAULT_TEACHER,
        **dict(zip(contract.FEATURES, features.T, strict=True)),
        "vmaf": 20 + 50 * features[:, 0] * features[:, 1] + 15 * features[:, 2] - features[:, 5],
        "fold": [f"fold{n % 2}" for n in source],
    })  # fmt: skip


def made(*parts: pd.DataFrame) -> FeatureTable:
    return table.of(pd.concat(parts, ignore_index=True), contract.FEATURES, what="rows")


TABLE = made(rows("npd", 4))
BOTH = made(rows("npd", 3), rows("konvid-1k", 30, clips=1, frames=10, name="k"))
#: ElFuente1 and ElFuente2 are scenes of one film; ``fold`` puts them on two sides.
FILM = made(rows("npd", 4).replace({"source": {"s1": "ElFuente1", "s2": "ElFuente2"}}).assign(
    group=lambda frame: frame["source"].str.removesuffix("1").str.removesuffix("2")))  # fmt: skip
SCENES = {"npd/ElFuente1", "npd/ElFuente2"}


#: Begins a command line of the kit as a process of its own, in this environment: where Optuna is, if it is anywhere.
KIT = (sys.executable, "-c", "import sys; from kit.cli.main import main; sys.exit(main(sys.argv[1:]))")


def load(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text()))


def untrained(path: Path, arch: str) -> Path:
    """A checkpoint as a fit leaves it; its weights are those it began with."""
    network = Network(architecture(arch), Draws(1, ""), 60.0)
    scale = fit_standardiser(TABLE.rows().features, np.arange(len(TABLE), dtype=np.int32))
    arrays = {name: value.numpy() for name, value in network.state_dict().items()}
    told = {"held_out": sorted(SCENES), "rows_held_out": 120, "fitted_groups": ["s0", "s3"], "seed": 1,
            "device": "cpu", "config_sha256": "0" * 64}  # fmt: skip
    checkpoint.write(path, checkpoint.Fitted(
        recipe=Recipe(epochs=2, arch=arch), arrays=arrays | {"mean": scale.mean, "std": scale.std},
        facts=facts_of(TABLE) | told))  # fmt: skip
    return path


#: The teacher of these tests is a line, so that a head can be right without being trained.
SLOPES = np.array([30, 10, 15, 5, 5, -0.5], dtype=np.float32)
OFFSET = 22.0
CLIPS, FRAMES, SOURCES = 2, 30, 4


def line(teacher: str = contract.DEFAULT_TEACHER) -> table.FeatureTable:
    """Rows of npd's sources ``s0`` to ``s3``; a clip is better the higher its number."""
    generator = np.random.default_rng(3)
    number = np.arange(SOURCES * CLIPS * FRAMES)
    clip = number // FRAMES
    features = generator.uniform(0.3, 0.8, (len(number), 6)) + 0.025 * clip[:, None]
    vmaf = features @ SLOPES + OFFSET + generator.normal(0, 0.1, len(number))
    return table.of(pd.DataFrame({
        "corpus": "npd", "source": [f"s{n}" for n in clip // CLIPS], "clip": [f"c{n}" for n in clip],
        "frame_index": (number % FRAMES).astype(np.int32), "codec": "libx264", "teacher": teacher,
        **dict(zip(contract.FEATURES, features.T, strict=True)), "vmaf": vmaf,
        "fold": [f"fold{n % 2}" for n in clip // CLIPS],
    }), contract.FEATURES, what="rows")  # fmt: skip


LINE = line()


def foreign(path: Path, *, opset: int = contract.ONNX_OPSET, data: str = "", rows: str | int = "N",
            shape: tuple[int, ...] = (-1,)) -> Path:  # fmt: skip
    """The line as somebody else's exporter writes it; with ``data`` its weights are in that file."""
    parts = {"w": SLOPES[:, None], "b": np.array([OFFSET], dtype=np.float32), "shape": np.array(shape, dtype=np.int64)}
    nodes = [helper.make_node("Gemm", ["features", "w", "b"], ["line"]),
             helper.make_node("Reshape", ["line", "shape"], ["vmaf"])]  # fmt: skip
    graph = helper.make_graph(
        nodes, "foreign", [helper.make_tensor_value_info("features", TensorProto.FLOAT, [rows, 6])],
        [helper.make_tensor_value_info("vmaf", TensorProto.FLOAT, [rows, *shape[1:]])],
        [numpy_helper.from_array(array, name) for name, array in parts.items()],
    )  # fmt: skip
    made_model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save_model(made_model, path, save_as_external_data=bool(data), location=data or None, size_threshold=0)
    return path


def renamed_model(folder: Path) -> Path:
    """A model that names a file of weights which was renamed since."""
    path = foreign(folder / "tiny_v1.onnx", data="head_final.onnx.data")
    (path.parent / "head_final.onnx.data").rename(path.parent / "tiny_v1.onnx.data")
    return path
