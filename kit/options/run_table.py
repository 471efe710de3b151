"""The options of a run and of its steps."""

from __future__ import annotations

from functools import partial

from kit.core import contract
from kit.options.table import Option, Table, choice
from kit.options.values import (
    BOX,
    FILE,
    FLAG,
    FOLDS,
    GEOMETRY,
    RENDER_NODE,
    TEACHER,
    path,
    seconds,
    some_of,
    text,
    whole,
    whole_numbers,
)

#: Seconds without progress after which a cell's processes are stopped.
STALL_TIMEOUT = 120.0

#: The steps of a run. A run on a finished corpus does ``adopt`` in place of the first two.
STEPS = ("prereqs", "corpus", "train", "verdict", "bundle")
_MAKING = ("prereqs", "worker")
_making = partial(Option, steps=_MAKING)
_training = partial(Option, steps=("train",))
_linking = partial(Option, steps=("corpus", "worker"), remembered=False, cluster=True)
_DIR, _PATH, _PEM = path("DIR", absolute=True), path("PATH", absolute=True), path("FILE", absolute=True)

RUN = Table(
    title="A run and its steps",
    options=(
        _making(
            "ref_dir",
            _DIR,
            "Folder of reference clips, searched recursively.",
            otherwise="demo clips",
            shown_as="<ref>",
        ),
        choice(
            "dataset", contract.DATASETS, "Data set in --ref-dir; alone, a data set below the data root.", steps=_MAKING
        ),
        Option(
            "data_root",
            _DIR,
            "Folder that has each known data set as datasets/NAME.",
            otherwise="~/.cache/vmaf-train",
            env="VMAF_DATA_ROOT",
            on_command_line=False,
        ),
        _making(
            "encoders",
            some_of(contract.ENCODER_VOCAB, hint="Leave it out for the platform's encoders."),
            "Encoders to use; each of them must work.",
            otherwise="those of the platform",
        ),
        _making(
            "teacher",
            TEACHER,
            "VMAF model that gives the target: a name or a .json file.",
            default=contract.DEFAULT_TEACHER,
            shown_as="<teacher>",
        ),
        Option(
            "cqs",
            whole_numbers(*contract.CQ_RANGE, ascending=True),
            "Quality points.",
            default=contract.DEFAULT_CQS,
            steps=("prereqs", "corpus"),
        ),
        Option("box", BOX, "Name of this box in the results.", otherwise="a random tag", steps=(*_MAKING, "adopt")),
        _making(
            "ffmpeg",
            _PATH,
            "The ffmpeg that encodes; the bundled one scores if this cannot.",
            otherwise="bundled",
            env="FFMPEG_BIN",
            shown_as="<ffmpeg>",
        ),
        _making(
            "vmaf_bin",
            _PATH,
            "The vmaf tool that scores.",
            otherwise="binaries/PLATFORM/vmaf, else ffmpeg's filter",
            env="LIBVMAF_BIN",
            shown_as="<vmaf>",
        ),
        choice(
            "scorer_backend",
            contract.SCORER_BACKENDS,
            "Where the vmaf tool computes; a corpus has one backend only.",
            steps=_MAKING,
        ),
        _making(
            "gpu",
            whole(0, 999, metavar="INDEX", hint="Another run with its own --out-dir may use another GPU."),
            "NVIDIA GPU that encodes, as nvidia-smi counts.",
            otherwise="the first",
        ),
        _making(
            "render_node",
            RENDER_NODE,
            "Render node of the Intel GPU that encodes, such as renderD129.",
            otherwise="the first with Intel's driver",
        ),
        Option(
            "cuda_visible",
            text("INDEXES"),
            "NVIDIA GPUs that CUDA may use.",
            default="",
            env="CUDA_VISIBLE_DEVICES",
            on_command_line=False,
            remembered=False,
        ),
        _making("geometry", GEOMETRY, "Format of .yuv files whose name and sidecar do not give it."),
        Option(
            "anchor",
            FLAG,
            f"Also make the cell every box shares: {contract.ANCHOR_ENCODER}, cq {contract.ANCHOR_CQ}.",
            flag="--anchor/--no-anchor",
            default=True,
            steps=(*_MAKING, "corpus"),
        ),
        _training(
            "seeds",
            whole_numbers(0, 2**31 - 1),
            "Seeds of the ensemble's networks; a verdict needs three.",
            default=contract.DEFAULT_SEEDS,
        ),
        _training(
            "epochs",
            whole(1, 999_999),
            "Passes over the training rows.",
            default=contract.DEFAULT_EPOCHS,
            otherwise=f"{contract.DEMO_EPOCHS} for demo clips",
        ),
        choice(
            "arch",
            tuple(contract.ARCHS),
            f"Network to train; only {contract.ARCH} uses the codec block.",
            steps=("train",),
        ),
        choice(
            "recipe",
            tuple(contract.RECIPES),
            "Training; contract-2 also trains for unknown encoders.",
            steps=("train",),
        ),
        _training(
            "folds",
            FOLDS,
            "loso holds out each content group, kfold:K K sets of groups.",
            default=contract.DEFAULT_FOLDS,
        ),
        _training(
            "holdout", some_of(contract.HOLDOUTS), "Also hold out each encoder, box or both, as evidence.", default=()
        ),
        _training("max_rows_per_source", whole(1, 1 << 31), "Train on at most N evenly spaced rows of a source."),
        _training(
            "baseline", path("M.onnx", absolute=True), "Model to compare the ensemble with, such as the shipped one."
        ),
        choice(
            "device",
            contract.DEVICES,
            "Device that trains; auto takes CUDA if torch can use it.",
            steps=("train", "verdict"),
        ),
        choice("gate", contract.GATES, "Gate that PROMOTE needs; expert includes default.", steps=("verdict",)),
        Option(
            "shard_only",
            FLAG,
            "Stop after the corpus and bundle it, without a verdict.",
            flag="--shard-only/--with-verdict",
            default=False,
            steps=("prereqs",),
        ),
        Option(
            "corpus",
            _DIR,
            "Train on this finished corpus instead of making one.",
            steps=("adopt",),
            shown_as="<corpus>",
        ),
        Option(
            "allow_partial",
            FLAG,
            "Continue without failed cells; otherwise they make the verdict INVALID.",
            flag="--allow-partial/--no-allow-partial",
            default=False,
            steps=("corpus", "adopt"),
            tolerance=True,
        ),
        Option(
            "stall_timeout",
            seconds(1),
            "Stop and retry a cell without progress for this long.",
            default=STALL_TIMEOUT,
            steps=("corpus",),
            tolerance=True,
        ),
        Option(
            "disk_wait",
            seconds(0),
            "Wait this long for space on a full disk.",
            default=60.0,
            steps=("corpus", "worker"),
            tolerance=True,
        ),
        _linking("scheduler", text("ADDR"), "Dask scheduler: 127.0.0.1:8786, or tls://HOST:8786 with certificates."),
        _linking("tls_ca", _PEM, "Certificate of the authority that all boxes share (PEM)."),
        _linking("tls_cert", _PEM, "Certificate of this box (PEM)."),
        _linking("tls_key", _PEM, "Key of --tls-cert (PEM, without a passphrase)."),
        Option(
            "worker_wait",
            seconds(0),
            "Wait this long for a worker that can make the remaining cells.",
            default=60.0,
            steps=("corpus",),
            remembered=False,
            cluster=True,
        ),
        Option(
            "sign",
            path("KEY", absolute=True),
            "Sign the bundle with this SSH key.",
            steps=("bundle",),
            remembered=False,
            shown_as="<key>",
        ),
        Option(
            "out_dir",
            _DIR,
            "Run folder.",
            otherwise="the last run below runs/ if it continues, else a new one",
            remembered=False,
        ),
    ),
)

#: Failure tolerances: another value is no reason for another run.
TOLERANCES = tuple(option.name for option in RUN if option.tolerance)
#: Options that say where cells are made; they are never remembered.
CLUSTER = tuple(option.name for option in RUN if option.cluster)

JSON = Option("as_json", FLAG, "Print the result as JSON on stdout.", flag="--json")

RUN_COMMANDS = Table(
    title="Parts of a run",
    options=(
        Option("config_file", FILE, "TOML file with options of the run.", flag="--config"),
        Option("first", whole(1, 5), "Start at step N with the contents of the run folder.", flag="--from"),
        Option("only", whole(1, 5), "Do step N only."),
        Option("dry_run", FLAG, "Print the plan and its cost; make nothing."),
        Option("show", FLAG, "List what would leave the box; pack nothing."),
    ),
)


def effective(*steps: str) -> tuple[Option, ...]:
    """Return the options that one of these steps uses and that the command line can give."""
    return tuple(option for option in RUN if option.on_command_line and set(option.steps) & set(steps))
