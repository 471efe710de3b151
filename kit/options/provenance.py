"""The provenance block of every JSON that leaves the box."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from kit import __version__
from kit.core.errors import ToolFailed
from kit.options.resolve import RunConfig, as_texts
from kit.options.session import KIT_ROOT, Session
from kit.options.table import Texts
from kit.system.fsio import sha256_file
from kit.system.proc import Processes

_PACKAGES = ("numpy", "scipy", "torch", "onnx", "onnxruntime", "pyarrow", "safetensors", "imageio-ffmpeg")

#: Set by ``run_full_pipeline.py`` as ``<process id>:<file>``; processes that it starts are not this entry point.
_ENTRY = "VMAF_KIT_ENTRY"

#: In the top folder of an unpacked kit: the commit that it was packed from. ``make_tarball.py`` writes it.
COMMIT_FILE = "COMMIT"
#: SHA-1 or SHA-256 of a commit.
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_GIT_SECONDS = 20.0


def entry_point(environ: Mapping[str, str], process_id: int) -> str:
    """Return the file that this process was started with, relative to the kit."""
    wrapper = "run_full_pipeline.py"
    return wrapper if environ.get(_ENTRY) == f"{process_id}:{wrapper}" else "kit/__main__.py"


def utc_now() -> str:
    """Return the time as ``2026-01-31T12:00:00Z``."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def commit_of(root: Path, processes: Processes) -> str | None:
    """Return the commit that a kit is of; None if it is neither a git checkout nor unpacked from a packed commit.

    Changes of the checkout that are not committed are not seen.
    """
    if (root / ".git").exists():  # a folder around the kit may be another repository
        try:
            argv = ["git", "-C", str(root), "rev-parse", "HEAD"]
            text = processes.run(argv, tried="reading the commit of the kit", timeout=_GIT_SECONDS).stdout.decode()
        except ToolFailed:
            return None
    elif (root / COMMIT_FILE).is_file():
        text = (root / COMMIT_FILE).read_text(encoding="utf-8", errors="replace")
    else:
        return None
    return text.strip() if _COMMIT.fullmatch(text.strip()) else None


def block(
    config: RunConfig, session: Session, *, inputs: Mapping[str, Path], outputs: Sequence[str]
) -> dict[str, object]:
    """Return the provenance of a file of a run; paths are tokens or relative to the run folder.

    Args:
        inputs: name to file; a missing file is recorded as missing.
        outputs: paths relative to the run folder; not hashed, since one of them contains the block.
    """
    return of_command(session, args=as_texts(config), inputs=inputs, outputs=outputs)


def of_command(
    session: Session, *, args: Texts, inputs: Mapping[str, Path], outputs: Sequence[str]
) -> dict[str, object]:
    """Return the provenance of a file of a command without a run folder.

    Args:
        args: option name to its value or values; each may be, or end in, one path.
    """
    entrypoint = KIT_ROOT / session.entry
    described = {}
    for name, path in inputs.items():
        exists = path.is_file()
        described[name] = {
            "path": session.redact.path(str(path)),
            "exists": exists,
            "kind": "file",
            "sha256": sha256_file(path) if exists else None,
        }
    return {
        "schema": "ai-run-provenance-v1",
        "entrypoint": {
            "path": session.entry,
            "sha256": sha256_file(entrypoint) if entrypoint.is_file() else None,
        },
        "argv": list(session.argv),
        "args": {
            name: " ".join(map(session.redact.path, [texts] if isinstance(texts, str) else texts))
            for name, texts in args.items()
        },
        "inputs": described,
        "outputs": {path: {"path": path} for path in outputs},
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}},
        "kit_version": __version__,
        "utc": utc_now(),
    }


@cache
def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
