"""Values that cross from one module to another: frozen, keyword-only, without behaviour that needs the outside."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """What a raw frame means.

    Attributes:
        width, height: luma samples.
        pix_fmt: ffmpeg's name of a planar YUV format, e.g. ``yuv420p10le``.
        range: ``tv`` (limited) or ``pc`` (full); what is not declared is ``tv``.
        fps: frames a second, constant over the clip.
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
    """A reference clip that can be read; its content is not hashed yet.

    Attributes:
        path: where it lies.
        kind: ``yuv`` (headerless), ``y4m`` or ``container``.
        label: its name in this run, unique among the clips found together.
        group: its content group where the data set or ``groups.json`` tells one; None for a group of its own.
    """

    path: Path
    kind: str
    label: str
    geometry: Geometry
    group: str | None = None

    @property
    def content_group(self) -> str:
        """The group it is held out with."""
        return self.group or self.label


@dataclass(frozen=True, kw_only=True)
class Source:
    """A reference clip with its identity (``sha256``) and its content group."""

    file: SourceFile
    sha256: str
    group: str

    @property
    def label(self) -> str:
        return self.file.label

    @property
    def geometry(self) -> Geometry:
        return self.file.geometry


@dataclass(frozen=True, kw_only=True)
class EncodeSettings:
    """How one encoder is asked for one quality point.

    Attributes:
        argv: the encoder's own arguments, ``-c:v NAME`` first; free of paths and devices.
        encode_pix_fmt: what the encoder is fed with.
        score_pix_fmt: the planar format of the same samples; reference and distorted are compared in it.
    """

    encoder: str
    preset: str
    cq: int
    argv: tuple[str, ...]
    encode_pix_fmt: str
    score_pix_fmt: str


@dataclass(frozen=True, kw_only=True)
class Device:
    """ffmpeg arguments that name a device; local to the box and in no key.

    Attributes:
        opened: stand before the input and open it.
        chosen: stand behind the encoder's own arguments and choose among several.
    """

    opened: tuple[str, ...] = ()
    chosen: tuple[str, ...] = ()


#: An encoder that runs on the processor.
NO_DEVICE = Device()


@dataclass(frozen=True, kw_only=True)
class ReadyEncoder:
    """An encoder that has really encoded here.

    Attributes:
        build: identity of the code or device that encodes, e.g. ``x264 - core 165``.
        variant: which of its family's ways of encoding the device takes, e.g. ``icq``.
        device: how ffmpeg finds the device.
        max_parallel: how many encodes may run at once; None for no limit of its own.
        megapixels_per_second: seen in the probe, encode and decode together; for estimates only.
        on_path: works with the ffmpeg on PATH only, which then encodes.
    """

    name: str
    family: str
    build: str
    variant: str
    device: Device
    max_parallel: int | None
    megapixels_per_second: float
    on_path: bool = False


@dataclass(frozen=True, kw_only=True)
class Scorer:
    """What computes features and teacher.

    Attributes:
        id: backend and version of the golden table, e.g. ``cpu/golden-1``; part of the cell key.
        version: what the scorer calls itself; recorded, never keyed.
        golden: its answers to the golden pairs, pair name to mean VMAF.
    """

    id: str
    version: str
    golden: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """The model whose score is the target.

    Attributes:
        id: name of a model that the scorer has built in, or the stem of a model file, which is a local label only.
        sha256: hash of the model file; None for a built-in model.
        path: where the file lies; in no key, no output and no comparison.
    """

    id: str
    sha256: str | None = None
    path: Path | None = field(default=None, compare=False)

    @property
    def identity(self) -> dict[str, str | None]:
        """What tells it from other teachers, as keys and footers hold it: a file is its content, whatever its name."""
        return {"id": None if self.sha256 else self.id, "sha256": self.sha256}

    @property
    def described(self) -> dict[str, str | None]:
        """What a manifest says of it."""
        return {"id": self.id, "sha256": self.sha256}

    @property
    def text(self) -> str:
        """What a column of a table says of it: ``vmaf_v0.6.1``, of a file ``NAME@SHA256``."""
        return f"{self.id}@{self.sha256}" if self.sha256 else self.id

    @classmethod
    def of_text(cls, text: str) -> Teacher:
        """The teacher that :attr:`text` tells of."""
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
    """One encode to be scored frame by frame: the unit of work, resume, merge and failure.

    Attributes:
        keyed: everything that decides its numbers, as JSON; ``key`` is its hash.
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
        found: what the box shows.
        remedy: what to do about it; empty for a pass.
    """

    check: str
    status: str
    found: str
    remedy: str = ""
