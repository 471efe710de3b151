"""Cache of encoders that passed the probe, keyed by everything that affects the probe."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from kit import __version__
from kit.core.canon import sha256_json
from kit.core.values import ReadyEncoder
from kit.platforms.facts import HostFacts
from kit.platforms.registry import family_of
from kit.system.fsio import write_json
from kit.video.ffmpeg import Ffmpeg

#: Seconds that a result stays valid. Changes that no fact shows (a lost permission, a hung device) appear after that.
KEPT = 24 * 3600


@dataclass(frozen=True, kw_only=True)
class ProbeCache:
    """A cache of probe results. It keeps only successes: a failure may have been fixed.

    Attributes:
        folder: folder with one file for each result.
        pix_fmts: the probed pixel formats.
        ffmpeg: encodes.
        scoring: decodes and scores.
    """

    folder: Path
    pix_fmts: Sequence[str]
    ffmpeg: Ffmpeg
    scoring: Ffmpeg
    facts: HostFacts

    def recall(self, name: str) -> ReadyEncoder | None:
        """Return the result of a probe less than :data:`KEPT` seconds ago, if there is one."""
        try:
            value = json.loads(self._path(name).read_text(encoding="utf-8"))
            if not 0 <= time.time() - value["probed_at"] < KEPT:
                return None
            return ReadyEncoder(**value["encoder"], device=family_of(name).device(self.facts))
        except (OSError, ValueError, KeyError, TypeError):
            # missing, damaged or of another version: probe again
            return None

    def keep(self, encoder: ReadyEncoder) -> None:
        """Store a result; if the folder cannot be written, the next run probes again."""
        values = {key: value for key, value in asdict(encoder).items() if key != "device"}
        try:
            write_json(self._path(encoder.name), {"probed_at": time.time(), "encoder": values})
        except OSError:
            return

    def _path(self, name: str) -> Path:
        facts = replace(self.facts, gpus=tuple(replace(gpu, sessions=None) for gpu in self.facts.gpus))
        key = {
            "kit": __version__,
            "encoder": name,
            "pix_fmts": sorted(self.pix_fmts),
            "facts": asdict(facts),
            "ffmpegs": [_identity(self.ffmpeg), _identity(self.scoring)],
        }
        return self.folder / f"{sha256_json(key)[:32]}.json"


def _identity(ffmpeg: Ffmpeg) -> list[object]:
    """Return the version, size and time of an ffmpeg."""
    stat = ffmpeg.path.stat()
    return [ffmpeg.version, stat.st_size, stat.st_mtime_ns]
