"""Pack the kit: ``vmaf-ensemble-kit-<version>.tar.gz`` in the current folder. Standard library only.

In a git checkout the committed files go in, so that the same commit gives the same bytes; in an unpacked kit the
files of its own list do, if they still have their hashes. All time stamps are ``SOURCE_DATE_EPOCH``, else the
commit's time.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))

from kit import __version__  # noqa: E402 - the kit is beside this file
from kit.core import exits  # noqa: E402
from kit.core.errors import BadInput, CheckFailed, KitError  # noqa: E402
from kit.system.archive import ArchiveFile, write_tar_gz  # noqa: E402
from kit.system.fsio import atomic_path  # noqa: E402

LIST = "MANIFEST.sha256"
#: Names the packed commit, for the models of an unpacked kit (kit.options.provenance.COMMIT_FILE).
COMMIT = "COMMIT"
#: 1.25 MiB: most of it are the texts of tests, docs and hashes of packages.
SIZE_LIMIT = 5 << 18


def committed(root: Path) -> list[ArchiveFile]:
    """The files of the last commit, and one with its hash, in order of their names."""
    packed = subprocess.run(
        ["git", "-C", str(root), "archive", "--format=tar", "HEAD"], check=True, capture_output=True
    ).stdout
    argv = ["git", "-C", str(root), "rev-parse", "HEAD"]
    members = [ArchiveFile(name=COMMIT, data=subprocess.run(argv, check=True, capture_output=True).stdout)]
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        for info in tar:
            stream = tar.extractfile(info) if info.isfile() else None
            if info.issym() or info.islnk():
                raise BadInput(f"{info.name} is a link; the kit holds plain files only")
            if stream is not None:
                mode = 0o755 if info.mode & 0o100 else 0o644
                members.append(ArchiveFile(name=info.name, data=stream.read(), mode=mode))
    return sorted(members, key=lambda member: member.name)


def unpacked(root: Path) -> list[ArchiveFile]:
    """The files an unpacked kit came with.

    Raises:
        CheckFailed: a file is missing or has changed.
    """
    members, problems = [], []
    for line in (root / LIST).read_text(encoding="utf-8").splitlines():
        digest, name = line.split("  ", 1)
        path = root / name
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            problems.append(name)
        else:
            mode = 0o755 if path.stat().st_mode & 0o100 else 0o644
            members.append(ArchiveFile(name=name, data=path.read_bytes(), mode=mode))
    if problems:
        raise CheckFailed(
            f"{len(problems)} files are missing or changed: {', '.join(problems)}", hint="Unpack the kit again."
        )
    return members


def timestamp(root: Path, environ: Mapping[str, str]) -> int:
    """Seconds since the epoch for every member."""
    if given := environ.get("SOURCE_DATE_EPOCH"):
        if not re.fullmatch(r"\d+", given):
            raise BadInput(f"SOURCE_DATE_EPOCH is {given!r}, expected seconds since 1970")
        return int(given)
    if (root / LIST).is_file():
        return int((root / LIST).stat().st_mtime)
    argv = ["git", "-C", str(root), "log", "-1", "--format=%ct"]
    return int(subprocess.run(argv, check=True, capture_output=True).stdout)


def pack(root: Path, target: Path, mtime: int) -> int:
    """Write the tarball with one top folder and its own list of hashes; returns the number of files.

    Raises:
        BadInput: there is neither a git checkout nor a list to go by.
        CheckFailed: the tarball came out larger than ``SIZE_LIMIT`` bytes.
    """
    if (root / LIST).is_file():
        members = unpacked(root)
    elif (root / ".git").exists():
        members = committed(root)
    else:
        raise BadInput(f"{root} is neither a git checkout nor an unpacked kit (no {LIST})")
    lines = [f"{hashlib.sha256(member.read()).hexdigest()}  {member.name}\n" for member in members]
    members.append(ArchiveFile(name=LIST, data="".join(lines).encode()))
    top = target.name.removesuffix(".tar.gz")
    with atomic_path(target) as temporary:
        write_tar_gz(
            temporary,
            [ArchiveFile(name=f"{top}/{member.name}", data=member.data, mode=member.mode) for member in members],
            mtime=mtime,
        )
        if temporary.stat().st_size > SIZE_LIMIT:
            raise CheckFailed(f"the tarball has {temporary.stat().st_size} bytes, at most {SIZE_LIMIT} are allowed")
    return len(members)


def main() -> int:
    """Pack into the current folder; exit codes as everywhere in the kit."""
    parser = argparse.ArgumentParser(
        description="Pack the kit: vmaf-ensemble-kit-VERSION.tar.gz in the current folder.",
        epilog="A git checkout packs its last commit; an unpacked kit packs the files it came with. The environment "
        "variable SOURCE_DATE_EPOCH sets the time stamps. Exit codes: 0 packed, 2 cannot be packed, 3 files changed.",
    )
    parser.parse_args()
    target = Path.cwd() / f"vmaf-ensemble-kit-{__version__}.tar.gz"
    try:
        count = pack(ROOT, target, timestamp(ROOT, os.environ))
    except KitError as error:
        sys.stderr.write(f"Error: {error.message}\n" + (f"Hint: {error.hint}\n" if error.hint else ""))
        return error.exit_code
    except (subprocess.CalledProcessError, OSError) as error:
        sys.stderr.write(f"Error: the kit could not be packed: {error}\n")
        return exits.BAD_INPUT
    digest = hashlib.sha256(target.read_bytes()).hexdigest()
    sys.stdout.write(f"{digest}  {target.name}  ({target.stat().st_size} bytes, {count} files)\n")
    return exits.OK


if __name__ == "__main__":
    sys.exit(main())
