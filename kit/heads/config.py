"""The options of the tiny heads' commands, and what a fit was configured with. Pure: texts are passed in."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from kit.core import contract
from kit.core.errors import BadInput
from kit.heads import params
from kit.options import table
from kit.options.run_table import RUN
from kit.options.table import Option, Raw, Table, Texts, choice
from kit.options.values import DIR, FILE, FLAG, Kind, number, one_of, path, text, whole
from kit.training.recipe import Recipe, architecture, solver_of

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


def head_recipe(arch: str, *, epochs: int, batch_size: int, lr: float) -> Recipe:
    """Return how a head is trained: a linear one in closed form, unless it keeps its initial weights."""
    solver = solver_of(arch) if epochs else contract.ADAM
    return Recipe(arch=arch, epochs=epochs, batch_size=batch_size, lr=lr, solver=solver)


def _heads(text: str) -> tuple[str, ...]:
    return tuple(head(name.strip()) for name in dict.fromkeys(text.split(",")))


FIT = Table(
    title="fit",
    options=(
        Option("features", FILE, "Feature table, run folder or shard.", in_file=False),
        Option(
            "arch",
            Kind(read=head, metavar="NAME"),
            f"Head to fit: {', '.join(_HEADS)}, or widths such as mlp-32-16.",
            default=contract.TINY_ARCH,
        ),
        Option(
            "val_source",
            text("S"),
            "Hold out this source with its content group.",
            repeats=True,
            default=(),
        ),
        Option(
            "val_fraction",
            number(0, 1),
            "Hold out random content groups with this share of the rows.",
            otherwise=f"none; {COMBINED_FRACTION} with --combined",
        ),
        Option(
            "combined", one_of(tuple(COMBINED)), f"Fit {NETFLIX} and {KONVID} together: corpora to hold out or use."
        ),
        Option("max_pairs", whole(1, 1 << 31), "Use the first N clips of each corpus."),
        Option(
            "epochs",
            whole(0, 999_999),
            "Passes over the training rows; 0 keeps the initial weights.",
            default=contract.TINY_EPOCHS,
        ),
        Option("batch_size", params.KINDS["batch_size"], "Rows of a training step.", default=contract.TINY_BATCH_SIZE),
        Option("lr", params.KINDS["lr"], "Learning rate.", default=contract.TINY_LEARNING_RATE),
        Option("seed", whole(0, 2**31 - 1), "Seed of weights and of random choices.", default=0),
        RUN["device"],
        Option("config_file", path("FILE.yaml"), "YAML file with options of the fit.", flag="--config", in_file=False),
        Option("out", DIR, "Folder of the result; a stopped command continues.", required=True, in_file=False),
    ),
)

SEARCH = Table(
    title="loso and tune",
    options=(
        Option("features", FILE, "Feature table, run folder or shard.", required=True),
        Option(
            "archs",
            Kind(read=_heads, write=",".join, metavar="A,B"),
            f"Heads to compare: {', '.join(_HEADS)}, or widths such as mlp-32-16.",
            flag="--arch",
            default=(contract.TINY_ARCH,),
        ),
        Option("arch", FIT["arch"].kind, "Head whose parameters are chosen.", default=contract.TINY_ARCH),
        Option(
            "params",
            Kind(read=params.parse, metavar="NAME=RANGE"),
            "Parameter to choose: hidden=choice:16,32, lr=float:1e-4:1e-2:log, epochs=int:10:90.",
            flag="--param",
            repeats=True,
            required=True,
        ),
        Option("trials", whole(1, 1 << 31), "Trials in this --out, earlier ones included.", required=True),
        Option("folds", text("SCHEME"), "Hold out each source with its group, or by column:NAME.", default="source"),
        Option("epochs", params.KINDS["epochs"], "Passes over the training rows.", default=contract.TINY_EPOCHS),
        Option(
            "storage", text("URL"), "Database of the study, shared by several --out.", otherwise="study.db in --out"
        ),
        Option("baselines", path("M.onnx"), "Model to score as it is.", flag="--baseline", repeats=True),
    ),
)

HEAD_EXPORT = Table(
    title="export",
    options=(
        Option("checkpoint", FILE, "checkpoint.safetensors of a fit.", required=True),
        Option("features", FILE, "Table whose rows onnxruntime and torch are compared on.", otherwise="generated rows"),
        Option("out", path("M.onnx"), "Model to write; M.json is written beside it.", required=True),
    ),
)

SHIP = Table(
    title="eval, validate and register",
    options=(
        Option("model", path("M.onnx"), "Model with its .json beside it.", required=True),
        SEARCH["features"],
        Option(
            "split",
            text("SPLIT"),
            "Rows to use: held-out (sources not fitted to), or COLUMN=VALUE.",
            otherwise="eval: all rows; validate: held-out",
        ),
        choice("target", ("vmaf", "mos"), "Compare frames with VMAF, or clip means with subjective scores."),
        Option(
            "rows",
            whole(3, 1 << 31),
            "Evenly spaced rows to check.",
            default=contract.SHIP_ROWS,
        ),
        Option(
            "min_plcc",
            number(0, 1, to_high=True),
            "Least PLCC with the teacher.",
            default=contract.SHIP_MIN_PLCC,
        ),
        Option("max_rmse", number(0), "Largest RMSE in VMAF points.", default=contract.SHIP_MAX_RMSE),
        Option(
            "allow_training_rows",
            FLAG,
            "Also check rows of sources that the model was fitted to.",
            flag="--allow-training-rows",
            default=False,
        ),
        Option("out_json", FILE, "Write the report to this file.", otherwise="validate: M.validation.json; eval: none"),
        Option("name", text("ID"), "Name of the model and its files: a-z, 0-9 and _.", flag="--id", required=True),
        choice("kind", contract.MODEL_KINDS, "Kind in the sidecar; fr is full reference.", required=True),
        Option(
            "license_id", text("SPDX"), "Licence of the model, such as BSD-3-Clause.", flag="--license", required=True
        ),
        Option("validation", FILE, "Report of validate.", otherwise="M.validation.json beside the model"),
        Option(
            "registry",
            FILE,
            "Registry; the model's files are copied beside it.",
            otherwise="registry.json beside the model",
        ),
    ),
)

REPAIR = Table(
    title="repair-onnx",
    options=(
        Option(
            "data", FILE, "File of the model's weights.", otherwise="the file it names, or the only *.data beside it"
        ),
        Option("out", FILE, "Copy to write; the original stays as it is.", required=True),
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
        return head_recipe(self.arch, epochs=self.epochs, batch_size=self.batch_size, lr=self.lr)

    def as_dict(self) -> dict[str, object]:
        """Return the options as JSON and YAML have them."""
        return asdict(self) | {"val_source": list(self.val_source)}

    def as_yaml(self) -> bytes:
        """Return the file that ``--config`` reads again."""
        import yaml  # late: only a fit needs it

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
    steps = ("epochs", "batch_size", "lr") if config.epochs and config.recipe.solver == contract.LEAST_SQUARES else ()
    if idle := [FIT[name].spelling for name in steps if name in named]:
        raise BadInput(
            f"{', '.join(idle)}: no effect on the least squares of --arch {config.arch}", hint="Leave it out."
        )
    return config, origins
