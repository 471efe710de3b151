"""Writing a tar.gz whose bytes depend on its members only, and reading it back."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Member:
    """One regular file of an archive: its name inside, its bytes (or where they lie), its mode."""

    name: str
    data: bytes | Path
    mode: int = 0o644

    def read(self) -> bytes:
        return self.data if isinstance(self.data, bytes) else self.data.read_bytes()


def write_tar_gz(target: Path, members: Sequence[Member], *, mtime: int) -> None:
    """Write regular files only, in the given order, owned by nobody in particular.

    Args:
        mtime: seconds since the epoch, for every member and the gzip header.
    """
    with (
        target.open("wb") as raw,
        gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=9, mtime=mtime) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for member in members:
            data = member.read()
            info = tarfile.TarInfo(member.name)
            info.size, info.mode, info.mtime = len(data), member.mode, mtime
            tar.addfile(info, io.BytesIO(data))


def read_hashes(path: Path) -> Iterator[tuple[str, int, str]]:
    """(name, size, SHA-256) of every member of an archive the kit has just written itself."""
    with tarfile.open(path, mode="r:gz") as tar:
        for info in tar:
            stream = tar.extractfile(info)
            data = stream.read() if stream is not None else b""
            yield info.name, len(data), hashlib.sha256(data).hexdigest()
