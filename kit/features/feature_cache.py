"""Measured pairs that are kept, so that an extraction that was ended goes on; each by the hash of what decides it."""

from __future__ import annotations

import io
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kit.features.measuring import Measured
from kit.system.fsio import write_bytes


@dataclass(frozen=True, kw_only=True)
class Cache:
    """A folder of ``<key>.npz``. Each member of such a file has a check sum."""

    folder: Path

    def path(self, key: str) -> Path:
        """Where an entry lies, or would."""
        return self.folder / key[:2] / f"{key}.npz"

    def read(self, key: str) -> Measured | None:
        """An entry; None where there is none.

        Raises:
            ValueError: it is damaged, or not what its name says.
        """
        try:
            with np.load(self.path(key), allow_pickle=False) as stored:
                if str(stored["key"]) != key:
                    raise ValueError("it is the entry of another pair")
                names = tuple(map(str, stored["names"]))
                found = Measured(names=names, features=stored["features"], vmaf=stored["vmaf"])
        except FileNotFoundError:
            return None
        except (zipfile.BadZipFile, zlib.error, KeyError, EOFError, OSError, NotImplementedError) as error:
            raise ValueError(str(error)) from error
        if found.features.shape != (len(found.vmaf), len(names)) or not len(found.vmaf):
            raise ValueError(f"its arrays are of the shapes {found.features.shape} and {found.vmaf.shape}")
        return found

    def keep(self, key: str, measured: Measured) -> None:
        """Write an entry, whole or not at all."""
        buffer = io.BytesIO()
        np.savez(
            buffer, key=np.array(key), names=np.array(measured.names), features=measured.features, vmaf=measured.vmaf
        )
        write_bytes(self.path(key), buffer.getvalue())
