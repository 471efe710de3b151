"""Values that several rooms use: frozen, keyword-only. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Geometry of a clip.

    Attributes:
        width, height: luma samples.
        pix_fmt: ffmpeg's name of a planar YUV format, e.g. ``yuv420p10le``.
        range: ``tv`` (limited) or ``pc`` (full); ``tv`` if the clip declares none.
        fps: frames per second, constant over the clip.
        frames: number of frames.
    """

    width: int
    height: int
    pix_fmt: str
    range: str
    fps: Fraction
    frames: int


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """A readable reference clip, not hashed yet.

    Attributes:
        kind: ``yuv`` (headerless), ``y4m`` or ``container``.
        label: its name in this run, unique among the clips of its folder.
        group: its content group from the data set or ``groups.json``; None for a group of its own.
    """

    path: Path
    kind: str
    label: str
    geometry: Geometry
    group: str | None = None

    @property
    def content_group(self) -> str:
        """The group that the clip is held out with."""
        return self.group or self.label


@dataclass(frozen=True, kw_only=True)
class Source:
    """A reference clip with its identity (``sha256``) and its content group.

    Attributes:
        fingerprint: of its content, as a manifest stores it; None where it was not made.
    """

    file: SourceFile
    sha256: str
    group: str
    fingerprint: Mapping[str, object] | None = field(default=None, compare=False, hash=False)

    @property
    def label(self) -> str:
        return self.file.label

    @property
    def geometry(self) -> Geometry:
        return self.file.geometry


@dataclass(frozen=True, kw_only=True)
class EncodeSettings:
    """Settings of one encoder for one quality point.

    Attributes:
        argv: the encoder's own arguments, ``-c:v NAME`` first; without paths and devices.
        encode_pix_fmt: pixel format of the encoder's input.
        score_pix_fmt: the planar format of the same samples, in which reference and distorted are compared.
    """

    encoder: str
    preset: str
    cq: int
    argv: tuple[str, ...]
    encode_pix_fmt: str
    score_pix_fmt: str


@dataclass(frozen=True, kw_only=True)
class EncoderDevice:
    """ffmpeg arguments that name a device; local to the box and not part of a cell's key.

    Attributes:
        opened: arguments before the input; they open the device.
        chosen: arguments after the encoder's own; they choose one of several devices.
    """

    opened: tuple[str, ...] = ()
    chosen: tuple[str, ...] = ()


#: Device of an encoder that runs on the CPU.
NO_DEVICE = EncoderDevice()


@dataclass(frozen=True, kw_only=True)
class ReadyEncoder:
    """An encoder that passed its probe on this box.

    Attributes:
        build: identity of the code or device that encodes, e.g. ``x264 - core 165``.
        variant: which of its family's modes the device supports, e.g. ``icq``.
        device: ffmpeg arguments that select the device.
        max_parallel: most encodes at once; None for no limit.
        megapixels_per_second: speed in the probe, encode and decode together; for estimates only.
        on_path: only the ffmpeg on PATH has this encoder, so that one encodes.
    """

    name: str
    family: str
    build: str
    variant: str
    device: EncoderDevice
    max_parallel: int | None
    megapixels_per_second: float
    on_path: bool = False


@dataclass(frozen=True, kw_only=True)
class Scorer:
    """A verified scorer: computes features and teacher.

    Attributes:
        id: backend and version of the golden table, e.g. ``cpu/golden-1``; part of the cell key.
        version: the scorer's own version; recorded, not part of the key.
        golden: its scores of the golden pairs, pair name to mean VMAF.
    """

    id: str
    version: str
    golden: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """The model whose score is the target.

    Attributes:
        id: name of a model built into the scorer, or the stem of a model file, which is a local label only.
        sha256: hash of the model file; None for a built-in model.
        path: the model file; not part of keys, output and comparison.
    """

    id: str
    sha256: str | None = None
    path: Path | None = field(default=None, compare=False)

    @property
    def identity(self) -> dict[str, str | None]:
        """Identity in keys and footers; that of a file is its content alone."""
        return {"id": None if self.sha256 else self.id, "sha256": self.sha256}

    @property
    def described(self) -> dict[str, str | None]:
        """The teacher as a manifest records it."""
        return {"id": self.id, "sha256": self.sha256}

    @property
    def text(self) -> str:
        """The teacher as a column of a table has it: ``vmaf_v0.6.1``, or ``NAME@SHA256`` for a file."""
        return f"{self.id}@{self.sha256}" if self.sha256 else self.id

    @classmethod
    def of_text(cls, text: str) -> Teacher:
        """Parse :attr:`text`."""
        name, at, digest = text.rpartition("@")
        return cls(id=name, sha256=digest) if at and re.fullmatch(r"[0-9a-f]{64}", digest) else cls(id=text)

    def __str__(self) -> str:
        return f"{self.id} (file, SHA-256 {self.sha256[:12]})" if self.sha256 else self.id


@dataclass(frozen=True, kw_only=True, order=True)
class CellId:
    """Readable identity of a cell in a run. ``str()`` gives ``source/encoder/cqNN``, e.g. ``Highway/libx264/cq31``."""

    source: str
    encoder: str
    cq: int

    def __str__(self) -> str:
        return f"{self.source}/{self.encoder}/cq{self.cq:02d}"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One encode, scored frame by frame: the unit of work, resume, merge and failure.

    Attributes:
        keyed: everything that determines its numbers, as JSON; ``key`` is its hash.
    """

    key: str
    keyed: Mapping[str, object]
    source: Source
    settings: EncodeSettings
    encoder: ReadyEncoder
    teacher: Teacher

    @property
    def id(self) -> CellId:
        return CellId(source=self.source.label, encoder=self.settings.encoder, cq=self.settings.cq)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One result of the prerequisite check.

    Attributes:
        status: ``pass``, ``warning`` or ``failure``.
        found: the value on this box.
        remedy: what to do; empty for a pass.
    """

    check: str
    status: str
    found: str
    remedy: str = ""
