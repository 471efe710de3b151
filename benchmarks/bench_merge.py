"""What merging costs: four shards of 2,000 cells in all, with 1 million and with 10 million rows.

Every shard is of another box; they share the anchor of each source, half of it with the same key (a duplicate) and half
with another (another architecture). Measured in a process of its own: seconds, and its largest memory.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

SIZES = (1_000_000, 10_000_000)
CELLS, BOXES, SOURCES = 2_000, 4, 100
#: Quality points of each source on each box, the anchor's among them.
CQS = (19, 25, 31, 37, 43)
ARCHITECTURES = ("x86_64", "x86_64", "aarch64", "aarch64")
ENCODERS = ("libx264", "libx265", "libsvtav1", "libaom-av1")


def make(folder: Path, rows: int) -> None:
    """Write the shards."""
    from fractions import Fraction

    import numpy as np

    from kit.core import contract
    from kit.core.canon import sha256_json
    from kit.core.values import NO_DEVICE, Cell, Geometry, ReadyEncoder, Source, SourceFile, Teacher
    from kit.corpus.make.produce import geometry_facts
    from kit.corpus.plan import plan_cells
    from kit.corpus.store.boxes import BoxCounts
    from kit.corpus.store.cellfile import CellRows
    from kit.corpus.store.shard import Shard, cell_path, entry_for, write_cell, write_manifest
    from kit.platforms.registry import settings_for

    teacher = Teacher(id=contract.DEFAULT_TEACHER)
    geometry = Geometry(width=64, height=64, pix_fmt="yuv420p", range="tv", fps=Fraction(25), frames=rows // CELLS)
    sources = [
        Source(
            file=SourceFile(path=Path(label), kind="yuv", label=label, geometry=geometry),
            sha256=sha256_json(label),
            group=label,
        )
        for label in (f"Clip{number:03d}" for number in range(SOURCES))
    ]

    def content(cell: Cell) -> CellRows:
        noise = np.random.default_rng(int(cell.key[:8], 16)).uniform(0, 1, (geometry.frames, 7))
        labels = {
            "cell_key": cell.key,
            "src": cell.source.label,
            "src_sha256": cell.source.sha256,
            "group": cell.source.group,
            "corpus": "local",
            "encoder": cell.settings.encoder,
            "preset": cell.settings.preset,
        }
        found = CellRows(labels=labels, cq=cell.settings.cq, features=noise[:, :6], vmaf=50 + noise[:, 6], facts={})
        facts = {
            **cell.keyed,
            "geometry": geometry_facts(geometry),
            "converted": False,
            "encoded_bytes": 1000,
            "content_sha256": found.content_sha256(),
        }
        return CellRows(labels=labels, cq=cell.settings.cq, features=noise[:, :6], vmaf=50 + noise[:, 6], facts=facts)

    for box in range(BOXES):
        own = ENCODERS[box]
        points = [(contract.ANCHOR_ENCODER, contract.ANCHOR_CQ)]
        points += [(own, cq) for cq in CQS if (own, cq) not in points][: len(CQS) - 1]
        encoders = [
            ReadyEncoder(
                name=name,
                family="software",
                build=f"{name} 1.0",
                variant="",
                device=NO_DEVICE,
                max_parallel=None,
                megapixels_per_second=1.0,
            )
            for name in ENCODERS
        ]
        cells = plan_cells(
            sources,
            points,
            encoders=encoders,
            settings_for=settings_for,
            teacher=teacher,
            architecture=ARCHITECTURES[box],
            scorer_id="cpu/golden-1",
        )
        counts, entries = BoxCounts(), []
        scorer = {"id": "cpu/golden-1", "version": "3", "golden": {"flat": 97.428}}
        counts.add_box((f"box-{box}", "p"), [scorer])
        for cell in cells:
            kept, observed = content(cell), {"box": f"box-{box}", "platform": "p", "seconds": 1.0}
            write_cell(folder / str(box), cell_path(cell), kept, [observed])
            entries.append(entry_for(cell, kept))
            counts.add_cell(entries[-1], "1.0", [observed])
        sources_json = [
            {"label": s.label, "sha256": s.sha256, "group": s.group, "geometry": geometry_facts(geometry)}
            for s in sources
        ]
        write_manifest(
            Shard(
                folder=folder / str(box),
                boxes=counts.boxes(),
                demo=False,
                teacher=teacher,
                sources=tuple(sources_json),
                cells=tuple(entries),
                failed=(),
            )
        )


def merge(folder: Path) -> dict[str, float]:
    """Merge them; seconds, peak memory in bytes, and how much it was."""
    clock = time.perf_counter()
    from kit.corpus.merge.merging import merge as merge_all
    from kit.platforms.detect import usable_cores

    done = merge_all(
        [folder / str(box) for box in range(BOXES)], folder / "out", drop=False, assumed=None, workers=usable_cores()
    )
    unit = 1 if sys.platform == "darwin" else 1024
    return {
        "seconds": time.perf_counter() - clock,
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
        **{name: value for name, value in asdict(done.report).items() if isinstance(value, int)},
    }


def child(what: str, folder: Path, rows: int) -> str:
    """Run one of the two above in a process of its own."""
    command = [sys.executable, __file__, what, str(folder), str(rows)]
    return subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout


def main() -> None:
    """Print a table."""
    if len(sys.argv) == 4:
        what, folder, rows = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
        if what == "make":
            make(folder, rows)
        else:
            print(json.dumps(merge(folder)))
        return
    titles = ("rows in", "cells in", "rows out", "cells out", "duplicates", "seconds", "memory")
    print(" ".join(f"{title:>10}" for title in titles))
    for rows in SIZES:
        with tempfile.TemporaryDirectory() as place:
            child("make", Path(place), rows)
            found = json.loads(child("merge", Path(place), rows))
        counts = (found[name] for name in ("rows_in", "cells_in", "rows", "cells", "duplicate_cells"))
        print(
            " ".join(f"{count:10}" for count in counts) + f" {found['seconds']:8.1f} s {found['memory'] / 1e6:7.0f} MB",
            flush=True,
        )


if __name__ == "__main__":
    main()
