"""The options of a run, resolved once: command line, then environment, then ``--config`` file, then what the run
folder remembers, then the default. Every value is kept with where it came from. Pure: everything is passed in.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from kit import contract
from kit.errors import BadInput, KitError, Several
from kit.geometry import RawFormat, parse_option

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
    corpus: Path | None = None
    origins: Mapping[str, str]

    @property
    def demo(self) -> bool:
        """Whether the sources are the built-in demo clips."""
        return self.ref_dir is None and self.corpus is None


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[,\s]+", text.strip()) if word]


def _numbers(text: str, what: str, low: int, high: int) -> tuple[int, ...]:
    """Whole numbers separated by commas, each once and within the range."""
    words = _words(text)
    if not words:
        raise BadInput(f"--{what} is empty", hint=f"Give at least one number from {low} to {high}.")
    bad = [word[:20] for word in words if not re.fullmatch(r"\d{1,10}", word) or not low <= int(word) <= high]
    if bad:
        raise BadInput(f"--{what}: {', '.join(bad)} not a whole number from {low} to {high}")
    if len(set(map(int, words))) != len(words):
        raise BadInput(f"--{what}: a number is given twice in {text!r}")
    return tuple(int(word) for word in words)


def _cqs(text: str) -> tuple[int, ...]:
    return tuple(sorted(_numbers(text, "cqs", *contract.CQ_RANGE)))


def _seeds(text: str) -> tuple[int, ...]:
    return _numbers(text, "seeds", 0, 2**31 - 1)


def _epochs(text: str) -> int:
    if not re.fullmatch(r"\d{1,6}", text.strip()) or int(text) == 0:
        raise BadInput(f"--epochs: {text!r} is not a whole number above 0")
    return int(text)


def _one_of(text: str, what: str, known: Iterable[str]) -> str:
    if text not in known:
        raise BadInput(f"--{what}: unknown {text!r}", hint=f"Known are {', '.join(known)}.")
    return text


def _arch(text: str) -> str:
    return _one_of(text, "arch", contract.ARCHS)


def _folds(text: str) -> str:
    if text == contract.DEFAULT_FOLDS:
        return text
    least = int(contract.GATE_THRESHOLDS["groups_min"])
    given = re.fullmatch(r"kfold:(\d{1,4})", text)
    if given is None or int(given[1]) < least:
        raise BadInput(f"--folds: {text!r} is neither loso nor kfold:K with a K of {least} or more")
    return f"kfold:{int(given[1])}"


def fold_count(scheme: str) -> int | None:
    """K of ``kfold:K``; None for ``loso``, which has a fold for each content group."""
    return int(scheme.removeprefix("kfold:")) if scheme.startswith("kfold:") else None


def _holdout(text: str) -> tuple[str, ...]:
    names = tuple(_words(text))
    for name in names:
        _one_of(name, "holdout", contract.HOLDOUTS)
    if not names or len(set(names)) != len(names):
        raise BadInput(f"--holdout: {text!r} is empty, or names something twice")
    return names


def _device(text: str) -> str:
    return _one_of(text, "device", contract.DEVICES)


def _encoders(text: str) -> tuple[str, ...]:
    names = _words(text)
    if not names:
        raise BadInput("--encoders is empty", hint="Leave it out to use what the platform calls for.")
    if unknown := [name for name in names if name not in contract.ENCODER_VOCAB]:
        raise BadInput(
            f"--encoders: unknown {', '.join(unknown)}", hint=f"Known are {', '.join(contract.ENCODER_VOCAB)}."
        )
    if len(set(names)) != len(names):
        raise BadInput(f"--encoders: a name is given twice in {text!r}")
    return tuple(names)


def _label(text: str, what: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}", text):
        raise BadInput(f"--{what}: {text!r} is not 1 to 40 letters, digits, '.', '_' or '-'")
    return text


def teacher(text: str) -> str | Path:
    """The name of a built-in model, or the path of a model file: what has a slash or ends with ``.json``."""
    if "/" in text or text.endswith(".json"):
        return _path(text, "teacher")
    try:
        return _label(text, "teacher")
    except BadInput as error:
        raise BadInput(error.message, hint="Give the name of a model, or the path of a model file (.json).") from error


def _scorer_backend(text: str) -> str:
    if text not in contract.SCORER_BACKENDS:
        raise BadInput(f"--scorer-backend: unknown {text!r}", hint=f"Known are {', '.join(contract.SCORER_BACKENDS)}.")
    return text


def _box(text: str) -> str:
    return _label(text, "box")


def _flag(text: str, what: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise BadInput(f"--{what}: {text!r} is neither true nor false")
    return text.lower() == "true"


def _anchor(text: str) -> bool:
    return _flag(text, "anchor")


def _shard_only(text: str) -> bool:
    return _flag(text, "shard-only")


def _gpu(text: str) -> int:
    if not re.fullmatch(r"\d{1,3}", text):
        raise BadInput(
            f"--gpu: {text!r} is not one index", hint="Another run in its own --out-dir may use another GPU."
        )
    return int(text)


def _render_node(text: str) -> str:
    name = text.removeprefix("/dev/dri/")
    if not re.fullmatch(r"renderD\d{1,4}", name):
        raise BadInput(f"--render-node: {text!r} is not a name such as renderD128")
    return name


def _allow_partial(text: str) -> bool:
    return _flag(text, "allow-partial")


def _seconds(text: str, what: str, low: float) -> float:
    if not re.fullmatch(r"\d{1,7}(\.\d{1,3})?", text.strip()) or float(text) < low:
        raise BadInput(f"--{what}: {text!r} is not a number of seconds, {low:g} or more")
    return float(text)


def _stall_timeout(text: str) -> float:
    return _seconds(text, "stall-timeout", 1)


def _disk_wait(text: str) -> float:
    return _seconds(text, "disk-wait", 0)


def _worker_wait(text: str) -> float:
    return _seconds(text, "worker-wait", 0)


def _path(text: str, what: str) -> Path:
    if not text.strip():
        raise BadInput(f"--{what} is empty", hint="Give a path, or leave the option out.")
    return Path(text).expanduser().absolute()


def _ref_dir(text: str) -> Path:
    return _path(text, "ref-dir")


def _corpus(text: str) -> Path:
    return _path(text, "corpus")


def _dataset(text: str) -> str:
    return _one_of(text, "dataset", contract.DATASETS)


def _data_root(text: str) -> Path:
    return _path(text, "data-root")


def out_dir(text: str) -> Path:
    """The run folder an option names, absolute."""
    return _path(text, "out-dir")


def _ffmpeg(text: str) -> Path:
    return _path(text, "ffmpeg")


def _vmaf_bin(text: str) -> Path:
    return _path(text, "vmaf-bin")


def _tls_ca(text: str) -> Path:
    return _path(text, "tls-ca")


def _tls_cert(text: str) -> Path:
    return _path(text, "tls-cert")


def _tls_key(text: str) -> Path:
    return _path(text, "tls-key")


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option: how its text is read, and the environment variable that may set it."""

    name: str
    parse: Callable[[str], object]
    env: str = ""


OPTIONS: tuple[Option, ...] = (
    Option(name="ref_dir", parse=_ref_dir),
    Option(name="corpus", parse=_corpus),
    Option(name="dataset", parse=_dataset),
    Option(name="data_root", parse=_data_root, env="VMAF_DATA_ROOT"),
    Option(name="out_dir", parse=out_dir),
    Option(name="encoders", parse=_encoders),
    Option(name="teacher", parse=teacher),
    Option(name="cqs", parse=_cqs),
    Option(name="seeds", parse=_seeds),
    Option(name="epochs", parse=_epochs),
    Option(name="arch", parse=_arch),
    Option(name="folds", parse=_folds),
    Option(name="holdout", parse=_holdout),
    Option(name="device", parse=_device),
    Option(name="box", parse=_box),
    Option(name="ffmpeg", parse=_ffmpeg, env="FFMPEG_BIN"),
    Option(name="vmaf_bin", parse=_vmaf_bin, env="LIBVMAF_BIN"),
    Option(name="scorer_backend", parse=_scorer_backend),
    Option(name="geometry", parse=parse_option),
    Option(name="anchor", parse=_anchor),
    Option(name="shard_only", parse=_shard_only),
    Option(name="gpu", parse=_gpu),
    Option(name="render_node", parse=_render_node),
    Option(name="cuda_visible", parse=str, env="CUDA_VISIBLE_DEVICES"),
    Option(name="allow_partial", parse=_allow_partial),
    Option(name="stall_timeout", parse=_stall_timeout),
    Option(name="disk_wait", parse=_disk_wait),
    Option(name="scheduler", parse=str),
    Option(name="tls_ca", parse=_tls_ca),
    Option(name="tls_cert", parse=_tls_cert),
    Option(name="tls_key", parse=_tls_key),
    Option(name="worker_wait", parse=_worker_wait),
)
#: Options that say what is put up with, not what is made: another value of theirs is no reason for another run.
TOLERANCES = ("allow_partial", "stall_timeout", "disk_wait")
#: Options that say where the cells are made; they are never remembered.
CLUSTER = ("scheduler", "tls_ca", "tls_cert", "tls_key", "worker_wait")

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
        "ref_dir": None, "dataset": "auto", "data_root": default_data_root(), "out_dir": out_dir, "encoders": None,
        "teacher": contract.DEFAULT_TEACHER,
        "cqs": contract.DEFAULT_CQS, "seeds": contract.DEFAULT_SEEDS, "box": box, "ffmpeg": None, "geometry": None,
        "vmaf_bin": None, "scorer_backend": contract.DEFAULT_SCORER_BACKEND,
        "epochs": contract.DEMO_EPOCHS if demo else contract.DEFAULT_EPOCHS,
        "arch": contract.ARCH, "folds": contract.DEFAULT_FOLDS, "holdout": (), "device": "auto",
        "anchor": True, "shard_only": False,
        "gpu": None, "render_node": None, "cuda_visible": "",
        "allow_partial": False, "stall_timeout": STALL_TIMEOUT, "disk_wait": DISK_WAIT,
        "corpus": None,
        "scheduler": None, "tls_ca": None, "tls_cert": None, "tls_key": None, "worker_wait": WORKER_WAIT,
    }  # fmt: skip
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
    """The options as texts that :func:`parse` reads again; those that are unset or of ``CLUSTER`` are left out."""
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
