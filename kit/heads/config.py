"""The options of the tiny heads' commands, and what a fit was configured with. Pure: texts are passed in."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import yaml

from kit.core import contract
from kit.core.errors import BadInput
from kit.heads import params
from kit.options import table, values
from kit.options.run_table import RUN
from kit.options.table import Option, Raw, Table, Texts
from kit.options.values import Kind
from kit.training.recipe import Recipe, architecture

NETFLIX, KONVID = "npd", "konvid-1k"
#: Modes of ``--combined``: the corpora that are used, and those of them whose sources may be held out.
COMBINED: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "netflix-source": ((NETFLIX, KONVID), (NETFLIX,)),
    "konvid-holdout": ((NETFLIX, KONVID), (KONVID,)),
    "both": ((NETFLIX, KONVID), (NETFLIX, KONVID)),
    "netflix-only": ((NETFLIX,), (NETFLIX,)),
    "konvid-only": ((KONVID,), (KONVID,)),
}
#: Share of the rows of each validated corpus that ``--combined`` holds out by default.
COMBINED_FRACTION = 0.1
#: Options that choose what is held out.
_HELD_OUT = ("val_source", "val_fraction")
_HEADS = tuple(known for known in contract.ARCHS if not architecture(known).codec_aware)


def head(name: str) -> str:
    """Return the name of an architecture on the six features alone: one of a fixed list, or ``mlp-W-W…``.

    Raises:
        BadInput: unknown, or it takes the codec block.
    """
    hint = f"Known are {', '.join(_HEADS)} and mlp-W-W, such as mlp-32-16."
    try:
        codec_aware = architecture("" if name in contract.ABLATIONS else name).codec_aware
    except KeyError:
        raise BadInput(f"{name[:60]!r} is unknown", hint=hint) from None
    if codec_aware:
        raise BadInput(f"{name} needs the codec block, which a feature table does not have", hint=hint)
    return name


def _heads(text: str) -> tuple[str, ...]:
    return tuple(head(name.strip()) for name in dict.fromkeys(text.split(",")))


_FILE, _DIR = values.path("FILE"), values.path("DIR")
_FEATURES = Option(name="features", kind=_FILE, in_file=False, help="Feature table, run folder or shard.")
_OUT = Option(
    name="out", kind=_DIR, required=True, in_file=False, help="Folder of the result; a stopped command continues."
)
_EPOCHS = Option(
    name="epochs", kind=values.whole(1, 999_999), default=contract.TINY_EPOCHS, help="Passes over the training rows."
)
_BATCH_SIZE = Option(
    name="batch_size",
    kind=values.whole(1, 1 << 20),
    default=contract.TINY_BATCH_SIZE,
    help="Rows of a training step.",
)
_LR = Option(name="lr", kind=values.number(0, 10), default=contract.TINY_LEARNING_RATE, help="Learning rate.")
_SEED = Option(name="seed", kind=values.whole(0, 2**31 - 1), default=0, help="Seed of weights and of random choices.")
_DEVICE = RUN["device"]

FIT = Table(
    title="fit",
    options=(
        _FEATURES,
        Option(
            name="arch",
            kind=Kind(read=head, metavar="NAME"),
            default=contract.TINY_ARCH,
            help=f"Head to fit: {', '.join(_HEADS)}, or widths such as mlp-32-16.",
        ),
        Option(
            name="val_source",
            kind=values.text("S"),
            repeats=True,
            default=(),
            help="Hold out this source with its content group; may be repeated.",
        ),
        Option(
            name="val_fraction",
            kind=values.number(0, 1),
            help="Hold out random content groups with this share of the rows.",
            default_words=f"none; {COMBINED_FRACTION} with --combined",
        ),
        Option(
            name="combined",
            kind=values.one_of(tuple(COMBINED)),
            help=f"Fit {NETFLIX} and {KONVID} together: corpora to hold out or use.",
        ),
        Option(name="max_pairs", kind=values.whole(1, 1 << 31), help="Use the first N clips of each corpus."),
        Option(
            name="epochs",
            kind=values.whole(0, 999_999),
            default=contract.TINY_EPOCHS,
            help="Passes over the training rows; 0 keeps the initial weights.",
        ),
        _BATCH_SIZE,
        _LR,
        _SEED,
        _DEVICE,
        Option(
            name="config_file",
            flag="--config",
            kind=values.path("FILE.yaml"),
            in_file=False,
            help="YAML file with options of the fit.",
        ),
        _OUT,
    ),
)

SEARCH = Table(
    title="loso and tune",
    options=(
        Option(name="features", kind=_FILE, required=True, help="Feature table, run folder or shard."),
        Option(
            name="archs",
            flag="--arch",
            kind=Kind(read=_heads, write=",".join, metavar="A,B"),
            default=(contract.TINY_ARCH,),
            help=f"Heads to compare: {', '.join(_HEADS)}, or widths such as mlp-32-16.",
        ),
        Option(
            name="arch",
            kind=FIT["arch"].kind,
            default=contract.TINY_ARCH,
            help="Head whose parameters are chosen.",
        ),
        Option(
            name="params",
            flag="--param",
            kind=Kind(read=params.parse, metavar="NAME=RANGE"),
            repeats=True,
            required=True,
            help="Parameter to choose: hidden=choice:16,32, lr=float:1e-4:1e-2:log, epochs=int:10:90.",
        ),
        Option(
            name="trials",
            kind=values.whole(1, 1 << 31),
            required=True,
            help="Trials in this --out, earlier ones included.",
        ),
        Option(
            name="folds",
            kind=values.text("SCHEME"),
            default="source",
            help="Hold out each source with its group, or by column:NAME.",
        ),
        _EPOCHS,
        Option(
            name="storage",
            kind=values.text("URL"),
            help="Database of the study, shared by several --out.",
            default_words="study.db in --out",
        ),
        Option(
            name="baselines",
            flag="--baseline",
            kind=values.path("M.onnx"),
            repeats=True,
            help="Model to score as it is; may be repeated.",
        ),
    ),
)

HEAD_EXPORT = Table(
    title="export",
    options=(
        Option(name="checkpoint", kind=_FILE, required=True, help="checkpoint.safetensors of a fit."),
        Option(
            name="features",
            kind=_FILE,
            help="Table whose rows onnxruntime and torch are compared on.",
            default_words="generated rows",
        ),
        Option(
            name="out", kind=values.path("M.onnx"), required=True, help="Model to write; M.json is written beside it."
        ),
    ),
)

SHIP = Table(
    title="eval, validate and register",
    options=(
        Option(name="model", kind=values.path("M.onnx"), required=True, help="Model with its .json beside it."),
        SEARCH["features"],
        Option(
            name="split",
            kind=values.text("SPLIT"),
            help="Rows to use: held-out (sources not fitted to), or COLUMN=VALUE.",
            default_words="all rows",
        ),
        Option(
            name="target",
            kind=values.one_of(("vmaf", "mos")),
            default="vmaf",
            help="Compare frames with VMAF, or clip means with subjective scores.",
        ),
        Option(name="rows", kind=values.whole(3, 1 << 31), default=100, help="Evenly spaced rows to check."),
        Option(
            name="min_plcc",
            kind=values.number(0, 1, to_high=True),
            default=0.97,
            help="Least PLCC with the teacher.",
        ),
        Option(name="max_rmse", kind=values.number(0), help="Largest RMSE in VMAF points.", default_words="any"),
        Option(
            name="out_json",
            kind=_FILE,
            help="Write the report to this file.",
            default_words="validate: M.validation.json; eval: none",
        ),
        Option(
            name="name",
            flag="--id",
            kind=values.text("ID"),
            required=True,
            help="Name of the model and its files: a-z, 0-9 and _.",
        ),
        Option(name="kind", kind=values.one_of(("fr",)), required=True, help="Kind of model; fr is full reference."),
        Option(
            name="license_id",
            flag="--license",
            kind=values.text("SPDX"),
            required=True,
            help="Licence of the model, such as BSD-3-Clause.",
        ),
        Option(
            name="validation",
            kind=_FILE,
            help="Report of validate.",
            default_words="M.validation.json beside the model",
        ),
        Option(
            name="registry",
            kind=_FILE,
            help="Registry; the model's files are copied beside it.",
            default_words="registry.json beside the model",
        ),
    ),
)

REPAIR = Table(
    title="repair-onnx",
    options=(
        Option(
            name="data",
            kind=_FILE,
            help="File of the model's weights.",
            default_words="the file it names, or the only *.data beside it",
        ),
        Option(name="out", kind=_FILE, required=True, help="Copy to write; the original stays as it is."),
    ),
)

#: What of a fit can be set in a file as well.
FIT_SETTINGS = tuple(option for option in FIT if option.in_file)


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """Everything that decides a fit besides its table; see :data:`FIT`."""

    arch: str = FIT["arch"].default
    val_source: tuple[str, ...] = FIT["val_source"].default
    val_fraction: float | None = FIT["val_fraction"].default
    epochs: int = FIT["epochs"].default
    batch_size: int = FIT["batch_size"].default
    lr: float = FIT["lr"].default
    seed: int = FIT["seed"].default
    max_pairs: int | None = FIT["max_pairs"].default
    combined: str | None = FIT["combined"].default
    device: str = FIT["device"].default

    @property
    def recipe(self) -> Recipe:
        return Recipe(epochs=self.epochs, arch=self.arch, batch_size=self.batch_size, lr=self.lr)

    def as_dict(self) -> dict[str, object]:
        """Return the options as JSON and YAML have them."""
        return asdict(self) | {"val_source": list(self.val_source)}

    def as_yaml(self) -> bytes:
        """Return the file that ``--config`` reads again."""
        text: str = yaml.safe_dump(self.as_dict(), sort_keys=True)
        return text.encode("ascii")

    @property
    def sha256(self) -> str:
        """Of :meth:`as_yaml`."""
        return hashlib.sha256(self.as_yaml()).hexdigest()


def resolve(given: Mapping[str, Raw | None], file: Texts) -> tuple[FitConfig, dict[str, str]]:
    """Return the options of a fit and where each of them comes from: command line, file or default.

    Raises:
        BadInput: values cannot be used, or contradict each other.
    """
    named = {name: raw for name, raw in given.items() if raw not in (None, ())}
    if any(name in named for name in _HELD_OUT):  # one place decides what is held out
        file = {name: raw for name, raw in file.items() if name not in _HELD_OUT}
    settings, origins = table.resolve(FIT_SETTINGS, command_line=named, file=file)
    origins = {option.name: "default" for option in FIT_SETTINGS} | origins
    if settings.get("val_source") and "val_fraction" in settings:
        raise BadInput("--val-source and --val-fraction exclude each other", hint="Give one of them.")
    if "combined" in settings and not settings.get("val_source") and "val_fraction" not in settings:
        settings["val_fraction"], origins["val_fraction"] = COMBINED_FRACTION, "default of --combined"
    config = FitConfig(**settings)
    idle = [FIT[name].spelling for name in (*_HELD_OUT, "max_pairs", "combined") if settings.get(name)]
    if config.epochs == 0 and idle:
        raise BadInput(f"{', '.join(idle)}: no effect with --epochs 0, which reads no corpus", hint="Leave them out.")
    return config, origins


def read_yaml(text: str, where: str) -> Texts:
    """Return the texts of a YAML file of options.

    Raises:
        BadInput: another format, or keys that are not options of a fit.
    """
    return table.read_file(text, where, FIT, table.load_yaml)
