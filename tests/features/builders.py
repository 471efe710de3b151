"""Feature tables that tests make."""

from __future__ import annotations

import numpy as np
import pandas as pd

from kit.core import contract
from kit.features import table
from kit.features.table import FeatureTable


def rows(corpus: str, sources: int, clips: int = 2, frames: int = 30, name: str = "s") -> pd.DataFrame:
    """Rows with a smooth target; ``fold`` deals out sources."""
    generator = np.random.default_rng(sources)
    number = np.arange(sources * clips * frames)
    features = generator.uniform(0.3, 1.0, (len(number), 6))
    features[:, 5] *= 10
    source = number // (clips * frames)
    return pd.DataFrame(
        {
            "corpus": corpus,
            "source": [f"{name}{n}" for n in source],
            "clip": [f"c{n:03d}" for n in number // frames],
            "frame_index": (number % frames).astype(np.int32),
            "codec": "libx264",
            "teacher": contract.DEFAULT_TEACHER,
            **dict(zip(contract.FEATURES, features.T, strict=True)),
            "vmaf": 20 + 50 * features[:, 0] * features[:, 1] + 15 * features[:, 2] - features[:, 5],
            "fold": [f"fold{n % 2}" for n in source],
        }
    )


def made(*parts: pd.DataFrame) -> FeatureTable:
    return table.build(pd.concat(parts, ignore_index=True), contract.FEATURES, what="rows")


TABLE = made(rows("npd", 4))


BOTH = made(rows("npd", 3), rows("konvid-1k", 30, clips=1, frames=10, name="k"))


#: ElFuente1 and ElFuente2 are scenes of one film; ``fold`` puts them on two sides.
FILM = made(
    rows("npd", 4)
    .replace({"source": {"s1": "ElFuente1", "s2": "ElFuente2"}})
    .assign(group=lambda frame: frame["source"].str.removesuffix("1").str.removesuffix("2"))
)


SCENES = {"npd/ElFuente1", "npd/ElFuente2"}


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
    return table.build(
        pd.DataFrame(
            {
                "corpus": "npd",
                "source": [f"s{n}" for n in clip // CLIPS],
                "clip": [f"c{n}" for n in clip],
                "frame_index": (number % FRAMES).astype(np.int32),
                "codec": "libx264",
                "teacher": teacher,
                **dict(zip(contract.FEATURES, features.T, strict=True)),
                "vmaf": vmaf,
                "fold": [f"fold{n % 2}" for n in clip // CLIPS],
            }
        ),
        contract.FEATURES,
        what="rows",
    )


LINE = line()
