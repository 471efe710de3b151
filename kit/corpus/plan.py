"""Plan cells from sources and working encoders, each with its content key. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from kit.core import contract
from kit.core.canon import sha256_json
from kit.core.values import Cell, EncodeSettings, ReadyEncoder, Source, Teacher
from kit.video.conversion import conversion

#: Returns the settings of an encoder for a quality point and a source's pixel format.
SettingsFor = Callable[[ReadyEncoder, int, str], EncodeSettings]


def encode_argv(settings: EncodeSettings, pix_fmt: str) -> tuple[str, ...]:
    """Return the arguments that decide an encode, with ``<ref>`` and ``<out>`` for its files."""
    filters = conversion(settings, pix_fmt)
    return ("-i", "<ref>", *(("-vf", filters) if filters else ()), *settings.argv, "<out>")


#: Names of the facts that a cell's key is the hash of.
KEYED = (
    "src_sha256",
    "encoder",
    "preset",
    "cq",
    "argv",
    "encode_pix_fmt",
    "encoder_build",
    "architecture",
    "teacher",
    "scorer_id",
    "feature_set",
    "schema_version",
)


def key_of(facts: Mapping[str, object]) -> str:
    """Return the key of a cell from its facts; those that are not keyed do not matter.

    Raises:
        KeyError: a keyed fact is missing.
    """
    return sha256_json({name: facts[name] for name in KEYED})


def keyed_facts(
    *,
    src_sha256: str,
    pix_fmt: str,
    settings: EncodeSettings,
    encoder_build: str,
    architecture: str,
    teacher: Teacher,
    scorer_id: str,
) -> dict[str, object]:
    """Return everything that decides a cell's numbers. Its key is the SHA-256 of this: same key, same numbers.

    Paths, labels, device names and version strings that change no number are not included.

    Args:
        pix_fmt: the source's own format.
    """
    return {
        "src_sha256": src_sha256,
        "encoder": settings.encoder,
        "preset": settings.preset,
        "cq": settings.cq,
        "argv": list(encode_argv(settings, pix_fmt)),
        "encode_pix_fmt": settings.encode_pix_fmt,
        "encoder_build": encoder_build,
        "architecture": architecture,
        "teacher": teacher.identity,
        "scorer_id": scorer_id,
        "feature_set": contract.FEATURE_SET,
        "schema_version": contract.SCHEMA_VERSION,
    }


def quality_points(encoders: Sequence[str], cqs: Sequence[int], *, anchor: bool) -> tuple[tuple[str, int], ...]:
    """Return (encoder, cq) of every encode of one source, in order; the anchor last unless already included."""
    points = [(encoder, cq) for encoder in encoders for cq in cqs]
    if anchor and (contract.ANCHOR_ENCODER, contract.ANCHOR_CQ) not in points:
        points.append((contract.ANCHOR_ENCODER, contract.ANCHOR_CQ))
    return tuple(points)


def plan_cells(
    sources: Sequence[Source],
    points: Sequence[tuple[str, int]],
    *,
    encoders: Sequence[ReadyEncoder],
    settings_for: SettingsFor,
    architecture: str,
    teacher: Teacher,
    scorer_id: str,
) -> tuple[Cell, ...]:
    """Return every cell of the run, in order of sources and then of quality points."""
    by_name = {encoder.name: encoder for encoder in encoders}
    cells = []
    for source in sources:
        for name, cq in points:
            settings = settings_for(by_name[name], cq, source.geometry.pix_fmt)
            keyed = keyed_facts(
                src_sha256=source.sha256,
                pix_fmt=source.geometry.pix_fmt,
                settings=settings,
                encoder_build=by_name[name].build,
                architecture=architecture,
                teacher=teacher,
                scorer_id=scorer_id,
            )
            cells.append(
                Cell(
                    key=key_of(keyed),
                    keyed=keyed,
                    source=source,
                    settings=settings,
                    encoder=by_name[name],
                    teacher=teacher,
                )
            )
    return tuple(cells)


#: Bytes of memory a running cell needs besides its frames, and frames in memory (look-ahead and references).
CELL_MEMORY, FRAMES_IN_MEMORY = 200_000_000, 120


def cells_at_once(*, cores: int, memory_bytes: int | None, largest_frame: int) -> int:
    """Return how many cells run at once: one per core, fewer if memory is short, at least one."""
    if memory_bytes is None:
        return cores
    return max(1, min(cores, memory_bytes // (CELL_MEMORY + FRAMES_IN_MEMORY * largest_frame)))


#: Bytes a finished run stores per row (Parquet, predictions of five seeds, the same again in the bundle).
BYTES_PER_ROW = 600
#: Bytes it stores per cell besides its rows (Parquet footer, observation, manifest entry).
BYTES_PER_CELL = 24_000
#: Scratch a running cell needs per frame: libvmaf's JSON log and ffmpeg's statistics.
SCRATCH_PER_FRAME = 1_000


def disk_bytes(*, rows: int, cells: int, longest: int, parallel: int) -> int:
    """Return the bytes of disk a run needs at its peak, from measured figures rounded up; it stores no video."""
    return rows * BYTES_PER_ROW + cells * BYTES_PER_CELL + parallel * longest * SCRATCH_PER_FRAME
