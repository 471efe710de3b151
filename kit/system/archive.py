"""Write a reproducible tar.gz, read it back, and unpack a received one safely."""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, cast

from kit.core.errors import CheckFailed


@dataclass(frozen=True, kw_only=True)
class ArchiveFile:
    """A regular file of an archive: name, content (bytes or a file), mode."""

    name: str
    data: bytes | Path
    mode: int = 0o644

    def read(self) -> bytes:
        return self.data if isinstance(self.data, bytes) else self.data.read_bytes()


def write_tar_gz(target: Path, members: Sequence[ArchiveFile], *, mtime: int) -> None:
    """Write an archive whose bytes depend on the members only: in the given order, with owner 0.

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
    """Yield (name, size, SHA-256) of every member of an archive that this process has written."""
    with tarfile.open(path, mode="r:gz") as tar:
        for info in tar:
            stream = tar.extractfile(info)
            data = stream.read() if stream is not None else b""
            yield info.name, len(data), hashlib.sha256(data).hexdigest()


# ---------------------------------------------------------------------------------------- received archives


@dataclass(frozen=True, kw_only=True)
class ArchiveLimits:
    """Limits of a received archive.

    Attributes:
        members: files.
        size: unpacked bytes.
        ratio: unpacked per packed bytes, after the first ``free`` bytes. Repetitive text reaches 30, a bomb 1000.
    """

    members: int = 200_000
    size: int = 16 << 30
    ratio: int = 100
    free: int = 64 << 20


LIMITS = ArchiveLimits()
_PIECE = 1 << 20
_NAME = re.compile(r"[\w+=@-][\w.+=@-]*", re.ASCII)
_LONGEST_NAME, _LONGEST_PATH = 250, 1000
#: Errors of Python's readers for damaged or truncated archives.
_BROKEN = (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, ValueError, OverflowError, RecursionError)


def unpack_tar_gz(path: Path, folder: Path, *, limits: ArchiveLimits = LIMITS) -> dict[str, tuple[int, str]]:
    """Unpack regular files below ``folder``; write nothing elsewhere.

    Args:
        folder: a new folder; after an error it has the members before the refused one.

    Returns:
        Name to (size, SHA-256) of every file, in the archive's order.

    Raises:
        CheckFailed: a damaged archive, a member that is not a regular file, a name outside the folder or used twice, or
            a limit exceeded.
    """
    files: dict[str, tuple[int, str]] = {}
    names = _Names()
    folder.mkdir(parents=True)
    try:
        with path.open("rb") as raw, gzip.GzipFile(fileobj=raw, mode="rb") as packed:
            stream = _Forward(packed, path.stat().st_size, limits)
            with tarfile.open(fileobj=cast("IO[bytes]", stream), mode="r:", encoding="utf-8") as tar:
                while (info := tar.next()) is not None:
                    if len(files) == limits.members:
                        raise _Refused(f"more than {limits.members} members")
                    _check_kind(info)
                    names.add(info.name)
                    files[info.name] = _write(tar, info, folder / info.name)
                    tar.members.clear()  # type: ignore[attr-defined] # tarfile keeps every member in memory
            stream.to_the_end()
    except _Refused as error:
        raise CheckFailed(f"{path.name} is refused: {error}", hint=_ASK) from error
    except _BROKEN as error:
        raise CheckFailed(f"{path.name} is damaged or not a tar.gz: {error}", hint=_ASK) from error
    return files


_ASK = "Ask the sender for it again; nothing of it was used."


class _Refused(Exception):
    """Why an archive is refused."""


class _Forward:
    """A stream of the unpacked bytes for tarfile: forward only, in small reads, up to the limits.

    Refuses headers that announce gigabytes or point backwards.
    """

    def __init__(self, packed: gzip.GzipFile, packed_size: int, limits: ArchiveLimits) -> None:
        self._packed, self._at = packed, 0
        self._most = min(limits.size, limits.free + limits.ratio * packed_size)

    def tell(self) -> int:
        return self._at

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _PIECE:
            raise _Refused("a header announces more bytes than a header can have")
        data = self._packed.read(size)
        self._at += len(data)
        if self._at > self._most:
            raise _Refused(f"unpacks to more than {self._most} bytes")
        return data

    def seek(self, position: int) -> int:
        if position < self._at:
            raise _Refused("a header points backwards")
        while self._at < position and self.read(min(_PIECE, position - self._at)):
            pass
        return self._at

    def to_the_end(self) -> None:
        """Read the rest, so that gzip checks its checksum.

        Raises:
            _Refused: the rest is not empty.
        """
        while piece := self.read(_PIECE):
            if piece.strip(b"\0"):
                raise _Refused("data after the end of the archive")


def _check_kind(info: tarfile.TarInfo) -> None:
    kinds = (
        (info.issym() or info.islnk(), "a link"),
        (info.isdir(), "a folder"),
        (info.isdev(), "a device or a pipe"),
        (info.issparse(), "a sparse file"),
        (not info.isreg(), "of an unknown type"),
        (info.size < 0, "of a negative size"),
    )
    for wrong, what in kinds:
        if wrong:
            raise _Refused(f"{info.name!r} is {what}, expected regular files only")


class _Names:
    """The names of an archive: unique without regard to case, and never both file and folder."""

    def __init__(self) -> None:
        self._files: set[str] = set()
        self._folders: set[str] = set()

    def add(self, name: str) -> None:
        parts = name.split("/")
        if name.startswith("/"):
            raise _Refused(f"{name!r} is an absolute path")
        if ".." in parts:
            raise _Refused(f"{name!r} is outside the folder")
        if len(name) > _LONGEST_PATH or any(len(part) > _LONGEST_NAME for part in parts):
            raise _Refused(f"the name {name[:80]!r}… is too long")
        if not all(_NAME.fullmatch(part) for part in parts):
            raise _Refused(f"the name {name!r} has characters other than letters, digits, '.', '_', '+', '=', '@', '-'")
        same = name.lower()
        if same in self._files:
            raise _Refused(f"{name!r} occurs twice")
        above = {str(parent) for parent in PurePosixPath(same).parents} - {"."}
        if same in self._folders or above & self._files:
            raise _Refused(f"{name!r} is both a file and a folder")
        self._files.add(same)
        self._folders |= above


def _write(tar: tarfile.TarFile, info: tarfile.TarInfo, target: Path) -> tuple[int, str]:
    """Write one file; return its size and SHA-256."""
    target.parent.mkdir(parents=True, exist_ok=True)
    digest, stream = hashlib.sha256(), tar.extractfile(info)
    if stream is None:
        raise _Refused(f"{info.name!r} has no content")
    with target.open("xb") as out:
        while piece := stream.read(_PIECE):
            digest.update(piece)
            out.write(piece)
    return info.size, digest.hexdigest()
