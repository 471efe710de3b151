"""From sources and working encoders to cells, each with its content key. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kit import contract
from kit.canon import sha256_json
from kit.types import Cell, EncodeSettings, ReadyEncoder, Source

#: Gives the settings of an encoder for a quality point on a source's pixel format.
SettingsFor = Callable[[str, int, str], EncodeSettings]


def cell_key(
    *,
    src_sha256: str,
    settings: EncodeSettings,
    encoder_build: str,
    architecture: str,
    teacher: str,
    scorer_id: str,
) -> str:
    """SHA-256 over everything that decides a cell's numbers, 64 hex digits; same key, same numbers.

    Paths, labels, device names and version strings that change no number are left out.
    """
    return sha256_json(
        {
            "src_sha256": src_sha256,
            "encoder": settings.encoder,
            "preset": settings.preset,
            "cq": settings.cq,
            "argv": ["-i", "<ref>", *settings.argv, "<out>"],
            "encode_pix_fmt": settings.encode_pix_fmt,
            "encoder_build": encoder_build,
            "architecture": architecture,
            "teacher": {"id": teacher, "sha256": None},
            "scorer_id": scorer_id,
            "feature_set": contract.FEATURE_SET,
            "schema_version": contract.SCHEMA_VERSION,
        }
    )


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
    teacher: str,
    scorer_id: str,
) -> tuple[Cell, ...]:
    """Every cell of the run, sources in order, quality points in order."""
    by_name = {encoder.name: encoder for encoder in encoders}
    cells = []
    for source in sources:
        for name, cq in points:
            settings = settings_for(name, cq, source.geometry.pix_fmt)
            key = cell_key(
                src_sha256=source.sha256,
                settings=settings,
                encoder_build=by_name[name].build,
                architecture=architecture,
                teacher=teacher,
                scorer_id=scorer_id,
            )
            cells.append(Cell(key=key, source=source, settings=settings, encoder=by_name[name], teacher=teacher))
    return tuple(cells)


#: Bytes a finished run keeps per frame row (Parquet, predictions of five seeds, the same again in the bundle).
BYTES_PER_ROW = 600
#: Bytes it keeps per cell besides its rows (Parquet footer, observation, manifest entry).
BYTES_PER_CELL = 24_000
#: Scratch a running cell needs per frame: libvmaf's JSON log and ffmpeg's statistics.
SCRATCH_PER_FRAME = 1_000


def disk_bytes(*, rows: int, cells: int, longest: int, parallel: int) -> int:
    """Bytes of disk a run needs at its peak; measured figures rounded up, never the encoded or raw video."""
    return rows * BYTES_PER_ROW + cells * BYTES_PER_CELL + parallel * longest * SCRATCH_PER_FRAME
