"""A cache of scored pairs by the hash of their inputs, so that a stopped extraction resumes."""

from __future__ import annotations

import io
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kit.features.measuring import FrameScores
from kit.system.fsio import write_bytes


@dataclass(frozen=True, kw_only=True)
class Cache:
    """A folder of ``<key>.npz`` files, whose members have checksums."""

    folder: Path

    def path(self, key: str) -> Path:
        """Return the path of an entry, existing or not."""
        return self.folder / key[:2] / f"{key}.npz"

    def read(self, key: str) -> FrameScores | None:
        """Return an entry; None if the cache lacks it.

        Raises:
            ValueError: the entry is damaged or belongs to another key.
        """
        try:
            with np.load(self.path(key), allow_pickle=False) as stored:
                if str(stored["key"]) != key:
                    raise ValueError("it belongs to another pair")
                names = tuple(map(str, stored["names"]))
                scores = FrameScores(names=names, features=stored["features"], vmaf=stored["vmaf"])
        except FileNotFoundError:
            return None
        except (zipfile.BadZipFile, zlib.error, KeyError, EOFError, OSError, NotImplementedError) as error:
            raise ValueError(str(error)) from error
        if scores.features.shape != (len(scores.vmaf), len(names)) or not len(scores.vmaf):
            raise ValueError(f"its arrays have the shapes {scores.features.shape} and {scores.vmaf.shape}")
        return scores

    def keep(self, key: str, scores: FrameScores) -> None:
        """Write an entry atomically."""
        buffer = io.BytesIO()
        np.savez(buffer, key=np.array(key), names=np.array(scores.names), features=scores.features, vmaf=scores.vmaf)
        write_bytes(self.path(key), buffer.getvalue())
