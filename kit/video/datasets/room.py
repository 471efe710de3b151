"""Disk space: asked for before the work, and held back for what is being written."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

from kit.core.errors import DiskFull, ToolFailed
from kit.system.fsio import NO_ROOM, free_bytes
from kit.system.ui import size

#: Bytes that always stay free.
SPARE = 50_000_000
#: Free space below which a failed write is a full disk, whatever the program said of it.
_ALMOST_FULL = 1 << 20


class Room:
    """The room in a folder, shared by everything that writes there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held = 0
        self._lock = threading.Lock()

    def ask(self, expected: int, what: str) -> None:
        """Refuse before anything is written.

        Raises:
            DiskFull: there is not this much.
        """
        free = free_bytes(self._folder)
        if free < expected + SPARE:
            raise DiskFull(
                f"{what} takes about {size(expected + SPARE)}, {size(free)} are free in {self._folder}",
                hint="Make room, or give another folder with --out; what is finished is kept.",
            )

    @contextlib.contextmanager
    def held(self, most: int, what: str) -> Iterator[None]:
        """Hold back what a file can take at most while it is written.

        Raises:
            DiskFull: there is not this much besides what others hold, or the disk filled up in the block.
        """
        with self._lock:
            self.ask(self._held + most, what)
            self._held += most
        try:
            yield
        except ToolFailed as error:
            if "No space left on device" in error.stderr_tail or free_bytes(self._folder) < _ALMOST_FULL:
                raise DiskFull(f"the disk filled up at {what}") from error
            raise
        except OSError as error:
            if error.errno in NO_ROOM:
                raise DiskFull(f"the disk filled up at {what}") from error
            raise
        finally:
            with self._lock:
                self._held -= most
