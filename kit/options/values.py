"""The options there are: how the text of each is read, and which environment variable may set it. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from kit.core import contract
from kit.core.errors import BadInput
from kit.core.geometry import parse_option


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


def seeds(text: str) -> tuple[int, ...]:
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


def _gate(text: str) -> str:
    return _one_of(text, "gate", contract.GATES)


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


def _dataset(text: str) -> str:
    return _one_of(text, "dataset", contract.DATASETS)


def out_dir(text: str) -> Path:
    """The run folder an option names, absolute."""
    return _path(text, "out-dir")


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option: how its text is read, and the environment variable that may set it."""

    name: str
    parse: Callable[[str], object]
    env: str = ""


OPTIONS: tuple[Option, ...] = (
    Option(name="ref_dir", parse=partial(_path, what="ref-dir")),
    Option(name="corpus", parse=partial(_path, what="corpus")),
    Option(name="dataset", parse=_dataset),
    Option(name="data_root", parse=partial(_path, what="data-root"), env="VMAF_DATA_ROOT"),
    Option(name="out_dir", parse=out_dir),
    Option(name="encoders", parse=_encoders),
    Option(name="teacher", parse=teacher),
    Option(name="cqs", parse=_cqs),
    Option(name="seeds", parse=seeds),
    Option(name="epochs", parse=_epochs),
    Option(name="arch", parse=_arch),
    Option(name="folds", parse=_folds),
    Option(name="holdout", parse=_holdout),
    Option(name="device", parse=_device),
    Option(name="baseline", parse=partial(_path, what="baseline")),
    Option(name="gate", parse=_gate),
    Option(name="box", parse=_box),
    Option(name="ffmpeg", parse=partial(_path, what="ffmpeg"), env="FFMPEG_BIN"),
    Option(name="vmaf_bin", parse=partial(_path, what="vmaf-bin"), env="LIBVMAF_BIN"),
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
    Option(name="tls_ca", parse=partial(_path, what="tls-ca")),
    Option(name="tls_cert", parse=partial(_path, what="tls-cert")),
    Option(name="tls_key", parse=partial(_path, what="tls-key")),
    Option(name="worker_wait", parse=_worker_wait),
    Option(name="sign", parse=partial(_path, what="sign")),
)
#: Options that say what is put up with, not what is made: another value of theirs is no reason for another run.
TOLERANCES = ("allow_partial", "stall_timeout", "disk_wait")
#: Options that say where the cells are made; they are never remembered.
CLUSTER = ("scheduler", "tls_ca", "tls_cert", "tls_key", "worker_wait")
