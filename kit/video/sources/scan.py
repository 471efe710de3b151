"""Finding the clips of a reference folder; every problem is collected before one error is raised."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kit.core.errors import BadInput, KitError, Several
from kit.core.geometry import RawFormat, frame_bytes, parse_name, parse_sidecar
from kit.core.values import Geometry, SourceFile
from kit.system.fsio import read_json
from kit.system.pool import run_many
from kit.video.sources.read import Tools, container_geometry, y4m_geometry

#: Suffixes of clips in containers; with those of bare frames they are all that is taken as a clip. Everything else in
#: the folder is named and left alone.
CONTAINERS = frozenset(
    f".{suffix}"
    for suffix in (
        "264",
        "265",
        "avi",
        "flv",
        "h264",
        "h265",
        "hevc",
        "ivf",
        "m2ts",
        "m4v",
        "mkv",
        "mov",
        "mp4",
        "mpeg",
        "mpg",
        "mts",
        "mxf",
        "nut",
        "obu",
        "ogv",
        "ts",
        "webm",
        "wmv",
    )
)
CLIPS = CONTAINERS | {".yuv", ".y4m"}
_SHORTEST = 3
_LONGEST_LABEL = 60


@dataclass(frozen=True, kw_only=True)
class Found:
    """The clips of a folder, and the files that were not taken as clips (relative paths)."""

    files: tuple[SourceFile, ...]
    ignored: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The files below a folder by what their names say; nothing is opened.

    Attributes:
        clips: files whose suffix says that they are clips.
        others: all others, sidecars of clips left out.
    """

    folder: Path
    clips: tuple[Path, ...]
    others: tuple[Path, ...]

    def relative(self, path: Path) -> str:
        """A path as it is shown and stored: from the folder on, with ``/``."""
        return path.relative_to(self.folder).as_posix()


def list_folder(folder: Path) -> Listing:
    """Find every clip below ``folder``.

    Raises:
        BadInput: the folder is missing or holds no clip.
    """
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise BadInput(f"reference folder {folder} {what}", hint="Give a folder of clips with --ref-dir.")
    paths = all_files(folder)
    # a link to nothing is a clip that is missing
    clips = tuple(path for path in paths if path.suffix.lower() in CLIPS and (path.is_file() or not path.exists()))
    sidecars = {path.with_suffix(".json") for path in clips}
    others = tuple(path for path in paths if path not in sidecars.union(clips))
    if not clips:
        raise BadInput(
            f"reference folder {folder} holds no clip ({len(others)} other files)",
            hint="Expected .yuv, .y4m or video files such as .mkv and .mp4, also in sub-folders.",
        )
    return Listing(folder=folder, clips=clips, others=others)


def scan(folder: Path, *, assumed: RawFormat | None, tools: Tools, advance: Callable[[], None] = lambda: None) -> Found:
    """Find every clip below ``folder`` and learn its geometry; see :func:`inspect_all`.

    Raises:
        BadInput: the folder is missing or holds no clip.
        Several: one or more clips cannot be used.
    """
    listing = list_folder(folder)
    files = inspect_all(listing.clips, folder, assumed=assumed, tools=tools, advance=advance)
    return Found(files=files, ignored=tuple(map(listing.relative, listing.others)))


def inspect_all(
    clips: Sequence[Path],
    folder: Path,
    *,
    assumed: RawFormat | None,
    tools: Tools,
    advance: Callable[[], None] = lambda: None,
    refused: Callable[[Path, KitError], None] | None = None,
) -> tuple[SourceFile, ...]:
    """Learn the geometry of clips below ``folder`` and give each a label of its own.

    Args:
        assumed: format of ``.yuv`` files whose name and sidecar do not tell it (``--geometry``).
        advance: called after each clip.
        refused: called for each clip that cannot be used, which is then left out.

    Raises:
        Several: one or more clips cannot be used and nobody is to be called; or none can be used.
    """
    labels = _labels(clips, folder)

    def attempt(path: Path) -> SourceFile | KitError:
        try:
            return inspect(path, labels[path], assumed=assumed, tools=tools)
        except KitError as error:
            named = path.name in error.message or path.with_suffix(".json").name in error.message
            return error if named else BadInput(f"{path.name}: {error.message}", hint=error.hint)
        except OSError as error:
            return BadInput(f"{path.name}: cannot be read: {error.strerror}")

    results = run_many(attempt, clips, workers=2, stop=tools.processes.stop, done=lambda _path, _result: advance())
    problems = {path: found for path, found in zip(clips, results, strict=True) if isinstance(found, KitError)}
    if problems and (refused is None or len(problems) == len(clips)):
        title = f"{len(problems)} of {len(clips)} clips in {folder} cannot be used"
        raise Several(title, list(problems.values()))
    if refused is not None:
        for path, problem in problems.items():
            refused(path, problem)
    return tuple(result for result in results if isinstance(result, SourceFile))


def all_files(folder: Path) -> list[Path]:
    """Everything below ``folder`` that is no folder and not hidden, links followed, each folder once."""

    def refuse(error: OSError) -> None:
        raise BadInput(f"folder {error.filename} cannot be read: {error.strerror}", hint="Mend its permissions.")

    found, seen = [], set()
    for place, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        real = os.path.realpath(place)
        folders[:] = [] if real in seen else sorted(name for name in folders if not name.startswith("."))
        found += [] if real in seen else [Path(place) / name for name in names if not name.startswith(".")]
        seen.add(real)
    return sorted(found)


def _labels(clips: Sequence[Path], folder: Path) -> dict[Path, str]:
    """Short names where they are unique, else stems, else relative paths; letters, digits, ``._-`` only."""
    chosen: dict[Path, str] = {}
    for spell in (_short_name, lambda path: path.stem, lambda path: str(path.relative_to(folder))):
        rest = [path for path in clips if path not in chosen]
        names = {path: _shortened(re.sub(r"[^\w.-]+", "_", spell(path), flags=re.ASCII).strip("._")) for path in rest}
        counts = Counter(name.lower() for name in [*names.values(), *chosen.values()])
        chosen.update({path: name for path, name in names.items() if counts[name.lower()] == 1})
    # relative paths that differ only in what was replaced or in case
    for number, path in enumerate(path for path in clips if path not in chosen):
        chosen[path] = f"clip-{number + 1}"
    return chosen


def _shortened(label: str) -> str:
    """At most 60 characters; the rest of a longer one becomes a hash. Labels name folders and members of archives."""
    if len(label) <= _LONGEST_LABEL:
        return label or "clip"
    return f"{label[: _LONGEST_LABEL - 9]}-{hashlib.sha256(label.encode()).hexdigest()[:8]}"


def _short_name(path: Path) -> str:
    try:
        return parse_name(path.stem)[0]
    except BadInput:
        return path.stem  # the inspection reports what is wrong with the name


def inspect(path: Path, label: str, *, assumed: RawFormat | None, tools: Tools) -> SourceFile:
    """One clip with its geometry; frames are counted, not decoded.

    Raises:
        BadInput: it cannot be used.
    """
    if path.is_symlink() and not path.exists():
        raise BadInput(
            f"{path.name}: is a link to a file that is not there", hint="Put the file back, or remove the link."
        )
    if path.stat().st_size == 0:
        raise BadInput(f"{path.name}: is empty (0 bytes)", hint="Copy the clip again, or remove it.")
    suffix = path.suffix.lower()
    if suffix == ".yuv":
        kind, geometry = "yuv", yuv_geometry(path, assumed)
    elif suffix == ".y4m":
        kind, geometry = "y4m", y4m_geometry(path)
    else:
        kind, geometry = "container", container_geometry(path, tools)
    if geometry.frames < _SHORTEST:
        raise BadInput(f"{path.name}: {geometry.frames} frames; motion needs at least {_SHORTEST}")
    return SourceFile(path=path, kind=kind, label=label, geometry=geometry)


def yuv_geometry(path: Path, assumed: RawFormat | None) -> Geometry:
    """Sidecar, else the full name, else ``--geometry``, else 1920x1080 8-bit 4:2:0 at the rate in the name.

    Raises:
        BadInput: nothing tells it, or the size of the file does not fit it.
    """
    sidecar = path.with_suffix(".json")
    _, named, fps = parse_name(path.stem)
    if sidecar.is_file():
        fmt, said_by = parse_sidecar(read_json(sidecar), sidecar.name), f"sidecar {sidecar.name}"
    elif named is not None:
        fmt, said_by = named, "its name"
    elif assumed is not None:
        fmt, said_by = assumed, "--geometry"
    elif fps is not None:
        fmt, said_by = RawFormat(width=1920, height=1080, pix_fmt="yuv420p", fps=fps), "the default for Name_FPSfps"
    else:
        raise BadInput(
            f"{path.name}: nothing tells its geometry",
            hint="Name it Name_WxH_FPSfps_8bit_420.yuv, add a .json sidecar, or give --geometry WxH@FPS.",
        )
    size = frame_bytes(fmt.width, fmt.height, fmt.pix_fmt)
    frames, rest = divmod(path.stat().st_size, size)
    if rest or not frames:
        raise BadInput(
            f"{path.name}: {path.stat().st_size} bytes are {frames} frames of {fmt.width}x{fmt.height} {fmt.pix_fmt} "
            f"({size} bytes each, from {said_by}) and {rest} bytes more",
            hint="The clip was cut short, or its geometry is another: say it in a .json sidecar.",
        )
    return fmt.with_frames(frames)
