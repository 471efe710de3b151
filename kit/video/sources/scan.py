"""Search a folder for clips and read their geometry; all problems are reported in one error."""

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

#: Suffixes of clips in containers. Other files of the folder are reported and ignored.
_SUFFIXES = "264 265 avi flv h264 h265 hevc ivf m2ts m4v mkv mov mp4 mpeg mpg mts mxf nut obu ogv ts webm wmv"
CONTAINERS = frozenset(f".{suffix}" for suffix in _SUFFIXES.split())
CLIPS = CONTAINERS | {".yuv", ".y4m"}
_SHORTEST = 3
_LONGEST_LABEL = 60


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The files below a folder, by their names; nothing is opened.

    Attributes:
        clips: files with the suffix of a clip.
        others: all others but the sidecars of clips.
    """

    folder: Path
    clips: tuple[Path, ...]
    others: tuple[Path, ...]

    def relative(self, path: Path) -> str:
        """Return a path relative to the folder, with ``/``, for output and files."""
        return path.relative_to(self.folder).as_posix()


def list_folder(folder: Path) -> Listing:
    """List the clips below ``folder``.

    Raises:
        BadInput: the folder does not exist or has no clips.
    """
    if not folder.is_dir():
        problem = "is not a folder" if folder.exists() else "does not exist"
        raise BadInput(f"reference folder {folder} {problem}", hint="Give a folder of clips with --ref-dir.")
    paths = all_files(folder)
    # a broken link is a missing clip, which `inspect` refuses
    clips = tuple(path for path in paths if path.suffix.lower() in CLIPS and (path.is_file() or not path.exists()))
    sidecars = {path.with_suffix(".json") for path in clips}
    others = tuple(path for path in paths if path not in sidecars.union(clips))
    if not clips:
        raise BadInput(
            f"reference folder {folder} has no clips ({len(others)} other files)",
            hint="Give a folder with .yuv, .y4m or video files such as .mkv and .mp4, also in sub-folders.",
        )
    return Listing(folder=folder, clips=clips, others=others)


def inspect_all(
    clips: Sequence[Path],
    folder: Path,
    *,
    assumed: RawFormat | None,
    tools: Tools,
    advance: Callable[[], None] = lambda: None,
    refused: Callable[[Path, KitError], None] | None = None,
) -> tuple[SourceFile, ...]:
    """Read the geometry of clips below ``folder`` and give each a unique label.

    Args:
        assumed: format of ``.yuv`` files without a name or sidecar that has it (``--geometry``).
        advance: called after each clip.
        refused: called for each clip that cannot be used, which is then skipped; without it, such a clip is an error.

    Raises:
        Several: clips that cannot be used, without ``refused``; or no clip can be used.
    """
    labels = _labels(clips, folder)

    def attempt(path: Path) -> SourceFile | KitError:
        try:
            return inspect(path, labels[path], assumed=assumed, tools=tools)
        except KitError as error:
            named = path.name in error.message or path.with_suffix(".json").name in error.message
            return error if named else BadInput(f"{path.name}: {error.message}", hint=error.hint)
        except OSError as error:
            return BadInput(f"{path.name}: cannot be read: {error.strerror}", hint="Check its permissions.")

    results = run_many(attempt, clips, workers=2, stop=tools.processes.stop, done=lambda _path, _result: advance())
    problems = {path: result for path, result in zip(clips, results, strict=True) if isinstance(result, KitError)}
    if problems and (refused is None or len(problems) == len(clips)):
        title = f"{len(problems)} of {len(clips)} clips in {folder} cannot be used"
        raise Several(title, list(problems.values()))
    if refused is not None:
        for path, problem in problems.items():
            refused(path, problem)
    return tuple(result for result in results if isinstance(result, SourceFile))


def all_files(folder: Path) -> list[Path]:
    """Return every file below ``folder`` that is not hidden, sorted; follow links, but read each folder once."""

    def refuse(error: OSError) -> None:
        raise BadInput(f"folder {error.filename} cannot be read: {error.strerror}", hint="Change its permissions.")

    files, visited = [], set()
    for parent, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        real = os.path.realpath(parent)
        folders[:] = [] if real in visited else sorted(name for name in folders if not name.startswith("."))
        files += [] if real in visited else [Path(parent) / name for name in names if not name.startswith(".")]
        visited.add(real)
    return sorted(files)


def _labels(clips: Sequence[Path], folder: Path) -> dict[Path, str]:
    """Return short names if unique, else stems, else relative paths, with letters, digits and ``._-`` only."""
    chosen: dict[Path, str] = {}
    for spell in (_short_name, lambda path: path.stem, lambda path: str(path.relative_to(folder))):
        rest = [path for path in clips if path not in chosen]
        names = {path: _shortened(re.sub(r"[^\w.-]+", "_", spell(path), flags=re.ASCII).strip("._")) for path in rest}
        counts = Counter(name.lower() for name in [*names.values(), *chosen.values()])
        chosen.update({path: name for path, name in names.items() if counts[name.lower()] == 1})
    # relative paths that differ only in replaced characters or in case
    for number, path in enumerate(path for path in clips if path not in chosen):
        chosen[path] = f"clip-{number + 1}"
    return chosen


def _shortened(label: str) -> str:
    """Shorten a label to 60 characters with a hash; labels are names of folders and archive members."""
    if len(label) <= _LONGEST_LABEL:
        return label or "clip"
    return f"{label[: _LONGEST_LABEL - 9]}-{hashlib.sha256(label.encode()).hexdigest()[:8]}"


def _short_name(path: Path) -> str:
    try:
        return parse_name(path.stem)[0]
    except BadInput:
        return path.stem  # `inspect` reports the problem


def inspect(path: Path, label: str, *, assumed: RawFormat | None, tools: Tools) -> SourceFile:
    """Read the geometry of a clip; frames are counted, not decoded.

    Raises:
        BadInput: the clip cannot be used.
    """
    if path.is_symlink() and not path.exists():
        raise BadInput(f"{path.name}: is a link to a missing file", hint="Restore the file, or remove the link.")
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
        raise BadInput(
            f"{path.name}: {geometry.frames} frames; motion needs at least {_SHORTEST}", hint="Remove the clip."
        )
    return SourceFile(path=path, kind=kind, label=label, geometry=geometry)


def yuv_geometry(path: Path, assumed: RawFormat | None) -> Geometry:
    """Return the geometry of a headerless clip.

    It is from the sidecar, else the full name, else ``--geometry``, else 1920x1080 8-bit 4:2:0 at the rate in the name.

    Raises:
        BadInput: the geometry is unknown, or differs from the size of the file.
    """
    sidecar = path.with_suffix(".json")
    _, named, fps = parse_name(path.stem)
    if sidecar.is_file():
        fmt, origin = parse_sidecar(read_json(sidecar), sidecar.name), f"sidecar {sidecar.name}"
    elif named is not None:
        fmt, origin = named, "its name"
    elif assumed is not None:
        fmt, origin = assumed, "--geometry"
    elif fps is not None:
        fmt, origin = RawFormat(width=1920, height=1080, pix_fmt="yuv420p", fps=fps), "the default for Name_FPSfps"
    else:
        raise BadInput(
            f"{path.name}: unknown geometry",
            hint="Name it Name_WxH_FPSfps_8bit_420.yuv, add a .json sidecar, or give --geometry WxH@FPS.",
        )
    size = frame_bytes(fmt.width, fmt.height, fmt.pix_fmt)
    frames, rest = divmod(path.stat().st_size, size)
    if rest or not frames:
        raise BadInput(
            f"{path.name}: {path.stat().st_size} bytes are {frames} frames of {fmt.width}x{fmt.height} {fmt.pix_fmt} "
            f"({size} bytes each, from {origin}) and {rest} bytes more",
            hint="Copy the clip again if it is truncated, or write its geometry to a .json sidecar.",
        )
    return fmt.with_frames(frames)
