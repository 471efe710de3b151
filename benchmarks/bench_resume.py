"""What a finished corpus costs to go on with: deciding that nothing is to be done, for 100 to 10,000 cells.

The cells are written by the kit's own functions, a few rows each. The decision is what step 2 does once the clips are
identified: plan every cell and write the plan, check every cell, write the manifest. Each is measured in a process of
its own; the median of several.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

if TYPE_CHECKING:
    from kit.core.values import Cell, Source

SIZES = (100, 1_000, 10_000)
RUNS = 5
FRAMES = 24
ENCODERS = ("libx264", "libx265", "libsvtav1", "libaom-av1", "libvvenc")


def plan(cells: int) -> tuple[list[Source], tuple[Cell, ...]]:
    """Made-up sources, each with five encoders and four quality points, and their cells."""
    from fractions import Fraction

    from kit.core import contract
    from kit.core.canon import sha256_json
    from kit.core.values import NO_DEVICE, Geometry, ReadyEncoder, Source, SourceFile, Teacher
    from kit.corpus.plan import plan_cells, quality_points
    from kit.platforms.registry import settings_for

    geometry = Geometry(width=64, height=64, pix_fmt="yuv420p", range="tv", fps=Fraction(25), frames=FRAMES)
    points = quality_points(ENCODERS, contract.DEFAULT_CQS, anchor=True)
    labels = [f"Clip{number:04d}" for number in range(cells // len(points))]
    sources = [
        Source(
            file=SourceFile(path=Path(label), kind="yuv", label=label, geometry=geometry),
            sha256=sha256_json(label),
            group=label,
        )
        for label in labels
    ]
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
    found = plan_cells(
        sources,
        points,
        encoders=encoders,
        settings_for=settings_for,
        architecture="x86_64",
        teacher=Teacher(id=contract.DEFAULT_TEACHER),
        scorer_id="cpu/golden-1",
    )
    return sources, found


def make(folder: Path, cells: int) -> None:
    """Write every cell of the plan."""
    import numpy as np

    from kit.corpus.store.cellfile import CellRows
    from kit.corpus.store.shard import cell_path, write_cell

    noise = np.random.default_rng(1)
    for cell in plan(cells)[1]:
        rows = CellRows(
            labels={
                "cell_key": cell.key,
                "src": cell.source.label,
                "src_sha256": cell.source.sha256,
                "group": cell.source.group,
                "corpus": "local",
                "encoder": cell.settings.encoder,
                "preset": cell.settings.preset,
            },
            cq=cell.settings.cq,
            features=noise.uniform(0, 1, (FRAMES, 6)),
            vmaf=noise.uniform(0, 100, FRAMES),
            facts={**cell.keyed, "encoded_bytes": 1000, "content_sha256": cell.key},
        )
        write_cell(folder, cell_path(cell), rows, [{"box": "b", "seconds": 1.0}])


def decide(folder: Path, cells: int) -> dict[str, float]:
    """Decide that nothing is to be done; seconds of each part, peak memory and sizes in bytes."""
    from kit.corpus.make import resume
    from kit.corpus.store import planned
    from kit.corpus.store.shard import MANIFEST, Shard, write_manifest
    from kit.system.fsio import remove_temporaries

    clock = [time.perf_counter()]
    sources, found = plan(cells)
    planned.write(folder, found)
    clock.append(time.perf_counter())
    remove_temporaries(folder)
    done, missing = resume.split_plan(found, folder)
    clock.append(time.perf_counter())
    if missing or len(done) != cells:
        raise SystemExit(f"{len(missing)} cells are not finished: {missing[:1]}")
    described = ({"label": s.label, "sha256": s.sha256, "group": s.group, "geometry": {}} for s in sources)
    write_manifest(
        Shard(folder=folder, boxes=(), demo=False, teacher=None, sources=tuple(described), cells=tuple(done), failed=())
    )
    clock.append(time.perf_counter())
    unit = 1 if sys.platform == "darwin" else 1024
    return {
        "plan": clock[1] - clock[0],
        "check": clock[2] - clock[1],
        "manifest": clock[3] - clock[2],
        "all": clock[3] - clock[0],
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
        "manifest_bytes": (folder / MANIFEST).stat().st_size,
        "plan_bytes": (folder / planned.PLAN).stat().st_size,
    }


def child(what: str, folder: Path, cells: int) -> str:
    """Run one of the two above in a process of its own."""
    command = [sys.executable, __file__, what, str(folder), str(cells)]
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout


def main() -> None:
    """Print a table."""
    if len(sys.argv) == 4:
        what, folder, cells = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
        if what == "make":
            make(folder, cells)
        else:
            print(json.dumps(decide(folder, cells)))
        return
    names = ("plan", "check", "manifest", "all")
    print(
        f"{'cells':>6} " + " ".join(f"{name:>9}" for name in names) + f" {'memory':>8} {'shard.json':>10} "
        f"{'plan.json':>10}   (median of {RUNS})"
    )
    for cells in SIZES:
        with tempfile.TemporaryDirectory() as place:
            child("make", Path(place), cells)
            runs = [json.loads(child("decide", Path(place), cells)) for _ in range(RUNS)]
        middle = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
        print(
            f"{cells:6} "
            + " ".join(f"{middle[name]:7.2f} s" for name in names)
            + "".join(f" {middle[name] / 1e6:7.1f} MB" for name in ("memory", "manifest_bytes", "plan_bytes")),
            flush=True,
        )


if __name__ == "__main__":
    main()
