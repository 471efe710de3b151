"""The options of a run and of its steps."""

from __future__ import annotations

from kit.core import contract
from kit.options import values
from kit.options.table import Option, Table

#: Seconds without progress after which a cell's processes are stopped.
STALL_TIMEOUT = 120.0

#: The steps of a run. A run on a finished corpus does ``adopt`` in place of the first two.
STEPS = ("prereqs", "corpus", "train", "verdict", "bundle")
_MAKING = ("prereqs", "worker")
_CERTIFICATE = values.path("FILE", absolute=True)

RUN = Table(
    title="A run and its steps",
    options=(
        Option(
            name="ref_dir",
            kind=values.path("DIR", absolute=True),
            help="Folder of reference clips, searched recursively.",
            default_words="demo clips",
            steps=_MAKING,
        ),
        Option(
            name="dataset",
            kind=values.one_of(contract.DATASETS),
            help="Data set in --ref-dir; alone, a data set below the data root.",
            default=contract.DATASETS[0],
            steps=_MAKING,
        ),
        Option(
            name="data_root",
            kind=values.path("DIR", absolute=True),
            help="Folder that has each known data set as datasets/NAME.",
            default_words="~/.cache/vmaf-train",
            env="VMAF_DATA_ROOT",
            on_command_line=False,
        ),
        Option(
            name="encoders",
            kind=values.some_of(contract.ENCODER_VOCAB, hint="Leave it out for the platform's encoders."),
            help="Encoders to use; each of them must work.",
            default_words="those of the platform",
            steps=_MAKING,
        ),
        Option(
            name="teacher",
            kind=values.TEACHER,
            help="VMAF model that gives the target: a name or a .json file.",
            default=contract.DEFAULT_TEACHER,
            steps=_MAKING,
        ),
        Option(
            name="cqs",
            kind=values.whole_numbers(*contract.CQ_RANGE, ascending=True),
            help="Quality points.",
            default=contract.DEFAULT_CQS,
            steps=("prereqs", "corpus"),
        ),
        Option(
            name="box",
            kind=values.BOX,
            help="Name of this box in the results.",
            default_words="a random tag",
            steps=(*_MAKING, "adopt"),
        ),
        Option(
            name="ffmpeg",
            kind=values.path("PATH", absolute=True),
            help="The ffmpeg that encodes; the bundled one scores if this cannot.",
            default_words="bundled",
            env="FFMPEG_BIN",
            steps=_MAKING,
        ),
        Option(
            name="vmaf_bin",
            kind=values.path("PATH", absolute=True),
            help="The vmaf tool that scores.",
            default_words="binaries/PLATFORM/vmaf, else ffmpeg's filter",
            env="LIBVMAF_BIN",
            steps=_MAKING,
        ),
        Option(
            name="scorer_backend",
            kind=values.one_of(contract.SCORER_BACKENDS),
            help="Where the vmaf tool computes; a corpus has one backend only.",
            default=contract.DEFAULT_SCORER_BACKEND,
            steps=_MAKING,
        ),
        Option(
            name="gpu",
            kind=values.whole(0, 999, metavar="INDEX", hint="Another run with its own --out-dir may use another GPU."),
            help="NVIDIA GPU that encodes, as nvidia-smi counts.",
            default_words="the first",
            steps=_MAKING,
        ),
        Option(
            name="render_node",
            kind=values.RENDER_NODE,
            help="Render node of the Intel GPU that encodes, such as renderD129.",
            default_words="the first with Intel's driver",
            steps=_MAKING,
        ),
        Option(
            name="cuda_visible",
            kind=values.text("INDEXES"),
            help="NVIDIA GPUs that CUDA may use.",
            default="",
            env="CUDA_VISIBLE_DEVICES",
            on_command_line=False,
            remembered=False,
        ),
        Option(
            name="geometry",
            kind=values.GEOMETRY,
            help="Format of .yuv files whose name and sidecar do not give it.",
            steps=_MAKING,
        ),
        Option(
            name="anchor",
            kind=values.FLAG,
            flag="--anchor/--no-anchor",
            help=f"Also make the cell every box shares: {contract.ANCHOR_ENCODER}, cq {contract.ANCHOR_CQ}.",
            default=True,
            steps=(*_MAKING, "corpus"),
        ),
        Option(
            name="seeds",
            kind=values.whole_numbers(0, 2**31 - 1),
            help="Seeds of the ensemble's networks.",
            default=contract.DEFAULT_SEEDS,
            steps=("train",),
        ),
        Option(
            name="epochs",
            kind=values.whole(1, 999_999),
            help="Passes over the training rows.",
            default=contract.DEFAULT_EPOCHS,
            default_words=f"{contract.DEMO_EPOCHS} for demo clips",
            steps=("train",),
        ),
        Option(
            name="arch",
            kind=values.one_of(tuple(contract.ARCHS)),
            help=f"Network to train; only {contract.ARCH} uses the codec block.",
            default=contract.ARCH,
            steps=("train",),
        ),
        Option(
            name="folds",
            kind=values.FOLDS,
            help="loso holds out each content group, kfold:K K sets of groups.",
            default=contract.DEFAULT_FOLDS,
            steps=("train",),
        ),
        Option(
            name="holdout",
            kind=values.some_of(contract.HOLDOUTS),
            help="Also hold out each encoder, box or both, as evidence.",
            default=(),
            steps=("train",),
        ),
        Option(
            name="baseline",
            kind=values.path("M.onnx", absolute=True),
            help="Model to compare the ensemble with, such as the shipped one.",
            steps=("train",),
        ),
        Option(
            name="device",
            kind=values.one_of(contract.DEVICES),
            help="Device that trains; auto takes CUDA if torch can use it.",
            default=contract.DEVICES[0],
            steps=("train", "verdict"),
        ),
        Option(
            name="gate",
            kind=values.one_of(contract.GATES),
            help="Gate that PROMOTE needs; expert includes default.",
            default=contract.GATES[0],
            steps=("verdict",),
        ),
        Option(
            name="shard_only",
            kind=values.FLAG,
            flag="--shard-only/--with-verdict",
            help="Stop after the corpus and bundle it, without a verdict.",
            default=False,
            steps=("prereqs",),
        ),
        Option(
            name="corpus",
            kind=values.path("DIR", absolute=True),
            help="Train on this finished corpus instead of making one.",
            steps=("adopt",),
        ),
        Option(
            name="allow_partial",
            kind=values.FLAG,
            flag="--allow-partial/--no-allow-partial",
            help="Continue without failed cells; otherwise they make the verdict INVALID.",
            default=False,
            steps=("corpus", "adopt"),
            tolerance=True,
        ),
        Option(
            name="stall_timeout",
            kind=values.seconds(1),
            help="Stop and retry a cell without progress for this long.",
            default=STALL_TIMEOUT,
            steps=("corpus",),
            tolerance=True,
        ),
        Option(
            name="disk_wait",
            kind=values.seconds(0),
            help="Wait this long for space on a full disk.",
            default=60.0,
            steps=("corpus", "worker"),
            tolerance=True,
        ),
        Option(
            name="scheduler",
            kind=values.text("ADDR"),
            help="Dask scheduler: 127.0.0.1:8786, or tls://HOST:8786 with certificates.",
            steps=("corpus", "worker"),
            remembered=False,
            cluster=True,
        ),
        Option(
            name="tls_ca",
            kind=_CERTIFICATE,
            help="Certificate of the authority that all boxes share (PEM).",
            steps=("corpus", "worker"),
            remembered=False,
            cluster=True,
        ),
        Option(
            name="tls_cert",
            kind=_CERTIFICATE,
            help="Certificate of this box (PEM).",
            steps=("corpus", "worker"),
            remembered=False,
            cluster=True,
        ),
        Option(
            name="tls_key",
            kind=_CERTIFICATE,
            help="Key of --tls-cert (PEM, without a passphrase).",
            steps=("corpus", "worker"),
            remembered=False,
            cluster=True,
        ),
        Option(
            name="worker_wait",
            kind=values.seconds(0),
            help="Wait this long for a worker that can make the remaining cells.",
            default=60.0,
            steps=("corpus",),
            remembered=False,
            cluster=True,
        ),
        Option(
            name="sign",
            kind=values.path("KEY", absolute=True),
            help="Sign the bundle with this SSH key.",
            steps=("bundle",),
            remembered=False,
        ),
        Option(
            name="out_dir",
            kind=values.path("DIR", absolute=True),
            help="Run folder.",
            default_words="the last unfinished run below runs/, else a new one",
            remembered=False,
        ),
    ),
)

#: Failure tolerances: another value is no reason for another run.
TOLERANCES = tuple(option.name for option in RUN if option.tolerance)
#: Options that say where cells are made; they are never remembered.
CLUSTER = tuple(option.name for option in RUN if option.cluster)

JSON = Option(
    name="as_json", flag="--json", kind=values.FLAG, default=False, help="Print the result as JSON on stdout."
)

RUN_COMMANDS = Table(
    title="Parts of a run",
    options=(
        Option(
            name="config_file", flag="--config", kind=values.path("FILE"), help="TOML file with options of the run."
        ),
        Option(
            name="first",
            flag="--from",
            kind=values.whole(1, 5),
            help="Start at step N with the contents of the run folder.",
        ),
        Option(name="only", kind=values.whole(1, 5), help="Do step N only."),
        Option(name="dry_run", kind=values.FLAG, default=False, help="Print the plan and its cost; make nothing."),
        Option(name="show", kind=values.FLAG, default=False, help="List what would leave the box; pack nothing."),
    ),
)


def effective(*steps: str) -> tuple[Option, ...]:
    """Return the options that one of these steps uses and that the command line can give."""
    return tuple(option for option in RUN if option.on_command_line and set(option.steps) & set(steps))
