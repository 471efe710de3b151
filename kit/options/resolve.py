"""The options of a run, resolved once: command line, then environment, then ``--config`` file, then what the run
folder remembers, then the default. Every value is kept with where it came from. Pure: everything is passed in.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from kit.core import contract
from kit.core.errors import BadInput, KitError, Several
from kit.core.geometry import RawFormat
from kit.options.values import OPTIONS

#: Seconds without progress after which a cell's processes are stopped, seconds to wait for room on a full disk, and
#: seconds to wait for a worker that can make what is left.
STALL_TIMEOUT, DISK_WAIT, WORKER_WAIT = 120.0, 60.0, 60.0


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything a run was asked for.

    Attributes:
        ref_dir: folder of reference clips; None for the built-in demo clips.
        corpus: a finished corpus to train on instead of making one; a shard or a run folder.
        dataset: which data set the folder holds, one of ``contract.DATASETS``.
        data_root: where data sets lie that are asked for by name alone.
        encoders: encoders asked for by name; None for what the platform calls for.
        teacher: name of a built-in model, or absolute path of a model file.
        cqs: quality points, ascending; seeds: ensemble seeds in the order given.
        arch: what is trained, one of ``contract.ARCHS``; device: on what, one of ``contract.DEVICES``.
        baseline: a model to compare the ensemble with; gate: what has to be passed, one of ``contract.GATES``.
        folds: ``loso`` or ``kfold:K``; holdout: what else is held out, of ``contract.HOLDOUTS``.
        geometry: format of ``.yuv`` files that do not tell it themselves.
        anchor: whether every source also gets the anchor cell.
        shard_only: stop after the corpus and bundle it, no verdict.
        gpu: index of the NVIDIA GPU that encodes; render_node: name of the Intel one's node; None for the first.
        cuda_visible: value of ``CUDA_VISIBLE_DEVICES``.
        allow_partial: go on without cells that fail.
        stall_timeout: seconds without progress after which a cell's processes are stopped.
        disk_wait: seconds to wait for room when the disk is full.
        scheduler: address of the Dask scheduler whose workers make the cells; None to make them here.
        tls_ca, tls_cert, tls_key: certificates for the way there, in PEM files.
        worker_wait: seconds to wait for a worker that can make what is left.
        sign: SSH key to sign the bundle with.
        origins: option name to where its value came from, in words.
    """

    ref_dir: Path | None
    dataset: str
    data_root: Path
    out_dir: Path
    encoders: tuple[str, ...] | None
    teacher: str | Path
    cqs: tuple[int, ...]
    seeds: tuple[int, ...]
    epochs: int
    arch: str
    folds: str
    holdout: tuple[str, ...]
    device: str
    box: str
    ffmpeg: Path | None
    geometry: RawFormat | None
    anchor: bool
    shard_only: bool
    allow_partial: bool
    stall_timeout: float
    disk_wait: float
    vmaf_bin: Path | None = None
    scorer_backend: str = contract.DEFAULT_SCORER_BACKEND
    gpu: int | None = None
    render_node: str | None = None
    cuda_visible: str = ""
    scheduler: str | None = None
    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    worker_wait: float = WORKER_WAIT
    sign: Path | None = None
    corpus: Path | None = None
    baseline: Path | None = None
    gate: str = contract.GATES[0]
    origins: Mapping[str, str]

    @property
    def demo(self) -> bool:
        """Whether the sources are the built-in demo clips."""
        return self.ref_dir is None and self.corpus is None


#: Texts a file or an earlier run gives, by option name.
Texts = Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """Texts and origins of the options that were given somewhere."""

    texts: Texts
    origins: Mapping[str, str]


def gather(*, command_line: Texts, environ: Mapping[str, str], file: Texts, remembered: Texts) -> Resolved:
    """The text of each option by precedence, and where it came from. An empty environment variable is not set."""
    texts, origins = {}, {}
    for option in OPTIONS:
        places = (
            ("command line", command_line.get(option.name)),
            (f"environment {option.env}", environ.get(option.env) or None if option.env else None),
            ("config file", file.get(option.name)),
            ("run folder", remembered.get(option.name)),
        )
        for origin, text in places:
            if text is not None:
                texts[option.name], origins[option.name] = text, origin
                break
    return Resolved(texts=texts, origins=origins)


def parse(resolved: Resolved) -> dict[str, object]:
    """Read every text.

    Raises:
        Several: one or more options cannot be read; all of them are named.
        BadInput: just one.
    """
    values, problems = {}, []
    for option in OPTIONS:
        if option.name not in resolved.texts:
            continue
        try:
            values[option.name] = option.parse(resolved.texts[option.name])
        except KitError as error:
            origin = resolved.origins[option.name]
            where = "" if origin == "command line" else f" (from the {origin})"
            problems.append(BadInput(error.message + where, hint=error.hint))
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise Several("options that cannot be used", problems)
    return values


def complete(
    values: Mapping[str, object], origins: Mapping[str, str], *, out_dir: Path, box: str, box_origin: str
) -> RunConfig:
    """Fill in the defaults. The out-dir and the box are given because their defaults depend on clock and machine.

    Raises:
        BadInput: ``--dataset dir`` without a folder.
    """
    values, words = _with_data_set(values)
    demo = values.get("ref_dir") is None and values.get("corpus") is None
    defaults: dict[str, object] = {
        "ref_dir": None,
        "dataset": "auto",
        "data_root": default_data_root(),
        "out_dir": out_dir,
        "encoders": None,
        "teacher": contract.DEFAULT_TEACHER,
        "cqs": contract.DEFAULT_CQS,
        "seeds": contract.DEFAULT_SEEDS,
        "box": box,
        "ffmpeg": None,
        "geometry": None,
        "vmaf_bin": None,
        "scorer_backend": contract.DEFAULT_SCORER_BACKEND,
        "epochs": contract.DEMO_EPOCHS if demo else contract.DEFAULT_EPOCHS,
        "arch": contract.ARCH,
        "folds": contract.DEFAULT_FOLDS,
        "holdout": (),
        "device": "auto",
        "anchor": True,
        "shard_only": False,
        "gpu": None,
        "render_node": None,
        "cuda_visible": "",
        "allow_partial": False,
        "stall_timeout": STALL_TIMEOUT,
        "disk_wait": DISK_WAIT,
        "corpus": None,
        "baseline": None,
        "gate": contract.GATES[0],
        "scheduler": None,
        "tls_ca": None,
        "tls_cert": None,
        "tls_key": None,
        "worker_wait": WORKER_WAIT,
        "sign": None,
    }
    words = dict.fromkeys(defaults, "default") | {"box": box_origin} | words
    if demo:
        words |= {"epochs": "default for demo clips"}
    merged = defaults | dict(values)
    merged["out_dir"] = Path(str(merged["out_dir"])).absolute()
    return RunConfig(**merged, origins=MappingProxyType(words | dict(origins)))  # type: ignore[arg-type]


def default_data_root() -> Path:
    """Where data sets lie unless ``VMAF_DATA_ROOT`` or the config file says otherwise."""
    return Path("~/.cache/vmaf-train").expanduser()


def _with_data_set(values: Mapping[str, object]) -> tuple[dict[str, object], dict[str, str]]:
    """The values with the folder of a data set that is asked for by name alone, and where that comes from."""
    name = values.get("dataset", "auto")
    if name == "auto" or values.get("ref_dir") is not None:
        return dict(values), {}
    if name == "dir":
        raise BadInput("--dataset dir says nothing without a folder", hint="Give it with --ref-dir.")
    root = Path(str(values.get("data_root", default_data_root())))
    return {**values, "ref_dir": root / "datasets" / str(name)}, {"ref_dir": f"{_FROM_DATASET} {name}"}


#: Origin of a reference folder that follows from the data set's name; such a folder is not remembered.
_FROM_DATASET = "--dataset"


def as_texts(config: RunConfig) -> dict[str, str]:
    """The options as texts that :func:`parse` reads again, without those that are unset or never remembered."""
    texts = {
        "dataset": config.dataset,
        "teacher": str(config.teacher),
        "scorer_backend": config.scorer_backend,
        "cqs": ",".join(map(str, config.cqs)),
        "seeds": ",".join(map(str, config.seeds)),
        "epochs": str(config.epochs),
        "arch": config.arch,
        "folds": config.folds,
        "device": config.device,
        "gate": config.gate,
        "box": config.box,
        "anchor": str(config.anchor).lower(),
        "shard_only": str(config.shard_only).lower(),
        "allow_partial": str(config.allow_partial).lower(),
        "stall_timeout": f"{config.stall_timeout:.10g}",
        "disk_wait": f"{config.disk_wait:.10g}",
    }
    if config.holdout:
        texts["holdout"] = ",".join(config.holdout)
    if config.encoders is not None:
        texts["encoders"] = ",".join(config.encoders)
    if config.geometry is not None:
        raw = config.geometry
        texts["geometry"] = f"{raw.width}x{raw.height}@{raw.fps}:{raw.pix_fmt}"
    if config.gpu is not None:
        texts["gpu"] = str(config.gpu)
    if config.render_node is not None:
        texts["render_node"] = config.render_node
    if config.data_root != default_data_root():
        texts["data_root"] = str(config.data_root)
    derived = config.origins.get("ref_dir", "").startswith(_FROM_DATASET)
    for name, path in (
        ("ref_dir", None if derived else config.ref_dir),
        ("ffmpeg", config.ffmpeg),
        ("vmaf_bin", config.vmaf_bin),
        ("corpus", config.corpus),
        ("baseline", config.baseline),
    ):
        if path is not None:
            texts[name] = str(path)
    return texts


def read_config_file(text: str, where: str) -> Texts:
    """Read a TOML file whose keys are option names with ``_`` or ``-``; lists are joined with commas.

    Raises:
        BadInput: not TOML, or a key that is no option.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{where} is not valid TOML: {error}") from error
    known = {option.name for option in OPTIONS}
    texts = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        if name not in known:
            raise BadInput(f"{where}: {key!r} is no option", hint=f"Known are {', '.join(sorted(known))}.")
        if name in texts:
            raise BadInput(f"{where}: {name} is given twice, with - and with _")
        if isinstance(value, dict):
            raise BadInput(f"{where}: {key!r} is a table, expected a value")
        texts[name] = _text(value)
    return texts


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ",".join(str(item) for item in value)
    return str(value)
