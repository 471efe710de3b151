"""From sources and working encoders to cells, each with its content key. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from kit.core import contract
from kit.core.canon import sha256_json
from kit.core.values import Cell, EncodeSettings, ReadyEncoder, Source, Teacher
from kit.video.conversion import conversion

#: Gives the settings of an encoder for a quality point on a source's pixel format.
SettingsFor = Callable[[ReadyEncoder, int, str], EncodeSettings]


def encode_argv(settings: EncodeSettings, pix_fmt: str) -> tuple[str, ...]:
    """What decides an encode, as arguments with ``<ref>`` and ``<out>`` for its ends."""
    filters = conversion(settings, pix_fmt)
    return ("-i", "<ref>", *(("-vf", filters) if filters else ()), *settings.argv, "<out>")


#: What a cell's key is the hash of.
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
    """The key of a cell from all that is known of it.

    Raises:
        KeyError: a fact that is keyed is not among them.
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
    """Everything that decides a cell's numbers. A cell's key is the SHA-256 of this: same key, same numbers.

    Paths, labels, device names and version strings that change no number are left out.

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
    """(encoder, cq) of every encode of one source, in order; the anchor last unless it is there already."""
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
    """Every cell of the run, sources in order, quality points in order."""
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


#: Bytes of memory a running cell takes besides its frames, and frames it holds (look-ahead and references).
CELL_MEMORY, HELD_FRAMES = 200_000_000, 120


def cells_at_once(*, cores: int, memory_bytes: int | None, largest_frame: int) -> int:
    """How many cells run at once: one a core, fewer where memory would not hold them, at least one."""
    if memory_bytes is None:
        return cores
    return max(1, min(cores, memory_bytes // (CELL_MEMORY + HELD_FRAMES * largest_frame)))


#: Bytes a finished run keeps per frame row (Parquet, predictions of five seeds, the same again in the bundle).
BYTES_PER_ROW = 600
#: Bytes it keeps per cell besides its rows (Parquet footer, observation, manifest entry).
BYTES_PER_CELL = 24_000
#: Scratch a running cell needs per frame: libvmaf's JSON log and ffmpeg's statistics.
SCRATCH_PER_FRAME = 1_000


def disk_bytes(*, rows: int, cells: int, longest: int, parallel: int) -> int:
    """Bytes of disk a run needs at its peak; measured figures rounded up, never the encoded or raw video."""
    return rows * BYTES_PER_ROW + cells * BYTES_PER_CELL + parallel * longest * SCRATCH_PER_FRAME
