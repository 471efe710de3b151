"""Encoders that passed the probe lately, by everything that decides whether they would pass again."""

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

#: Seconds an answer counts. What no fact shows (a lost permission, a device that hangs) is found after that.
KEPT = 24 * 3600


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Where answers lie and what they hold for. Only successes are kept: what failed may have been mended.

    Attributes:
        folder: one file an answer.
        pix_fmts: pixel formats tried; ffmpeg: encodes; scoring: decodes and scores.
    """

    folder: Path
    pix_fmts: Sequence[str]
    ffmpeg: Ffmpeg
    scoring: Ffmpeg
    facts: HostFacts

    def recall(self, name: str) -> ReadyEncoder | None:
        """The encoder as it was found less than :data:`KEPT` seconds ago; None if it was not."""
        try:
            value = json.loads(self._path(name).read_text(encoding="utf-8"))
            if not 0 <= time.time() - value["probed_at"] < KEPT:
                return None
            return ReadyEncoder(**value["encoder"], device=family_of(name).device(self.facts))
        except (OSError, ValueError, KeyError, TypeError):
            # a file of another version or a damaged one is worth no more than none: the probe is made
            return None

    def keep(self, encoder: ReadyEncoder) -> None:
        """Keep an answer; where the folder cannot be written, the probe is made again next time."""
        told = {key: value for key, value in asdict(encoder).items() if key != "device"}
        try:
            write_json(self._path(encoder.name), {"probed_at": time.time(), "encoder": told})
        except OSError:
            return

    def _path(self, name: str) -> Path:
        facts = replace(self.facts, gpus=tuple(replace(gpu, sessions=None) for gpu in self.facts.gpus))
        told = {
            "kit": __version__,
            "encoder": name,
            "pix_fmts": sorted(self.pix_fmts),
            "facts": asdict(facts),
            "ffmpegs": [_identity(self.ffmpeg), _identity(self.scoring)],
        }
        return self.folder / f"{sha256_json(told)[:32]}.json"


def _identity(ffmpeg: Ffmpeg) -> list[object]:
    """A build of ffmpeg: its version and its file."""
    stat = ffmpeg.path.stat()
    return [ffmpeg.version, stat.st_size, stat.st_mtime_ns]
