"""Check disk space before the work, and reserve it for files that are being written."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

from kit.core.errors import DiskFull, ToolFailed
from kit.system.fsio import NO_ROOM, free_bytes
from kit.system.ui import size

#: Bytes that have to stay free.
SPARE = 50_000_000
#: Free bytes below which a failed write counts as a full disk, for any message of the program.
_ALMOST_FULL = 1 << 20


class DiskSpace:
    """The free space of a folder, shared by all threads that write there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._reserved = 0
        self._lock = threading.Lock()

    def require(self, expected: int, what: str) -> None:
        """Check that there is space for a file or more.

        Raises:
            DiskFull: too little space.
        """
        free = free_bytes(self._folder)
        if free < expected + SPARE:
            raise DiskFull(
                f"{what}: needs about {size(expected + SPARE)}, {self._folder} has {size(free)} free",
                hint="Free disk space, or give another folder with --out; finished files are kept.",
            )

    @contextlib.contextmanager
    def reserve(self, most: int, what: str) -> Iterator[None]:
        """Reserve the most bytes of a file while the block writes it.

        Raises:
            DiskFull: too little space beyond other reservations, or a full disk in the block.
        """
        with self._lock:
            self.require(self._reserved + most, what)
            self._reserved += most
        try:
            yield
        except ToolFailed as error:
            if "No space left on device" in error.stderr_tail or free_bytes(self._folder) < _ALMOST_FULL:
                raise DiskFull(f"no space left while writing {what}") from error
            raise
        except OSError as error:
            if error.errno in NO_ROOM:
                raise DiskFull(f"no space left while writing {what}") from error
            raise
        finally:
            with self._lock:
                self._reserved -= most
