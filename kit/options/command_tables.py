"""The options of the commands about a box, corpora, bundles, data sets and feature tables."""

from __future__ import annotations

from kit.core import contract
from kit.options import values
from kit.options.table import Option, Table

_DIR, _FILE = values.path("DIR"), values.path("FILE")

BOX = Table(
    title="platform, binaries and selftest",
    options=(
        Option(
            name="options",
            kind=values.FLAG,
            default=False,
            help="Check every encoder's arguments against ffmpeg's own help.",
        ),
        Option(
            name="tag",
            flag="--platform",
            kind=values.text("TAG"),
            help="Platform that the tool is for.",
            default_words="this box's",
        ),
        Option(
            name="everything",
            flag="--all",
            kind=values.FLAG,
            default=False,
            help="Run every test, not only the essential ones.",
        ),
    ),
)

MERGE = Table(
    title="merge and corpus import",
    options=(
        Option(name="out", kind=_DIR, required=True, help="Folder of the new shard."),
        Option(
            name="on_conflict",
            kind=values.one_of(("error", "drop")),
            default="error",
            help="Fail on cells that boxes disagree about, or leave them out.",
        ),
        Option(
            name="assume_teacher",
            kind=values.TEACHER,
            help="Teacher of rows that do not name one; you vouch for it.",
        ),
        Option(
            name="groups_file",
            flag="--groups",
            kind=_FILE,
            help="groups.json: content group of each source.",
            default_words="the rules of known data sets, else each source alone",
        ),
    ),
)

EXPORT = Table(
    title="corpus export",
    options=(
        Option(
            name="form",
            flag="--format",
            kind=values.one_of(("jsonl", "parquet", "csv")),
            required=True,
            help="File format; jsonl has the predecessor's rows.",
        ),
        Option(name="out", kind=_FILE, required=True, help="New file; jsonl and csv named .gz are compressed."),
    ),
)

BUNDLES = Table(
    title="verify and report",
    options=(
        Option(
            name="retrain",
            kind=values.matching(r"all|0*[1-9]\d{0,8}", "all or a number of 1 or more", metavar="N|all"),
            help="Train N random members again and compare their PLCC.",
            default_words="none; predictions stay unproven",
        ),
        Option(
            name="allowed_signers", kind=_FILE, help="Require a signature by one of these SSH keys (ssh-keygen format)."
        ),
        Option(
            name="out",
            kind=_DIR,
            help="Folder of the report page.",
            default_words="report/ in a run folder, NAME-report beside a bundle",
        ),
    ),
)

SCORE = Table(
    title="score",
    options=(
        Option(name="model", kind=_FILE, required=True, help="Exported model (.onnx) with its .json beside it."),
        Option(name="corpus", kind=_DIR, help="Score every cell of a run or shard."),
        Option(name="ref", kind=_FILE, help="Reference clip of a pair to score."),
        Option(name="dis", kind=_FILE, help="Distorted clip of that pair."),
        Option(name="encoder", kind=values.text("NAME"), help="Encoder of --dis; codec-aware models need it."),
        Option(name="cq", kind=values.whole(*contract.CQ_RANGE), help="Quality point of --dis."),
        Option(
            name="preset", kind=values.text("NAME"), help="Preset of --dis.", default_words="the middle of the scale"
        ),
        Option(name="csv_file", flag="--csv", kind=_FILE, help="Write a line for every frame to this file."),
    ),
)

DATASETS = Table(
    title="dataset",
    options=(
        Option(
            name="name",
            flag="--dataset",
            kind=values.one_of(contract.DATASETS),
            help="Data set in DIR.",
            default=contract.DATASETS[0],
        ),
        Option(
            name="path",
            flag="--manifest",
            kind=_FILE,
            help="Manifest to compare DIR with.",
            default_words="the one in DIR, or the list of a packed folder",
        ),
        Option(name="out", kind=_DIR, required=True, help="Folder of the copies."),
        Option(
            name="codec",
            kind=values.one_of(("ffv1", "x265")),
            default="ffv1",
            help="Codec of the copies; both are lossless.",
        ),
    ),
)

MANIFEST = Table(
    title="dataset manifest",
    options=(Option(name="out", kind=_FILE, help="Manifest to write.", default_words="DIR/NAME.yaml"),),
)

FEATURES = Table(
    title="extract-features, combine and join-mos",
    options=(
        Option(
            name="dataset",
            kind=values.one_of(contract.DATASETS[1:]),
            required=True,
            help="Data set in --ref-dir.",
        ),
        Option(
            name="ref_dir",
            kind=values.text("DIR"),
            help="Folder of the data set.",
            default_words="datasets/NAME below the data root",
        ),
        Option(
            name="feature_set",
            kind=values.one_of(contract.FEATURE_SETS),
            default=contract.FEATURE_SET,
            help="Features of the table; full has all of the scorer's log.",
        ),
        Option(name="max_pairs", kind=values.whole(1, 1 << 31), help="Use the first N pairs only."),
        Option(
            name="assume_dims",
            kind=values.matching(r"[1-9]\d{0,5}x[1-9]\d{0,5}", "WxH", metavar="WxH", hint="For example 1920x1080."),
            help="Size of .yuv files without known format: 8-bit 4:2:0, 25 fps.",
        ),
        Option(
            name="cache",
            kind=values.path("DIR"),
            help="Folder that keeps the features of measured pairs.",
            default_words="features/ in the kit's cache",
            env="VMAF_TINY_AI_CACHE",
            on_command_line=False,
            in_file=False,
        ),
        Option(
            name="fill_missing",
            kind=values.FLAG,
            default=False,
            help="Fill features that an input lacks with NaN, and count them.",
        ),
        Option(name="features", kind=_FILE, required=True, help="Table that gets the scores."),
        Option(name="scores", flag="--mos", kind=_FILE, required=True, help="CSV file of scores, with a header."),
        Option(
            name="on",
            kind=values.text("COLUMN=COLUMN"),
            repeats=True,
            help="Column of the table and the CSV column that equals it.",
        ),
        Option(
            name="pattern",
            kind=values.text("REGEX"),
            help="Pattern of clip names whose named groups are CSV columns.",
        ),
        Option(name="score", kind=values.text("COLUMN"), required=True, help="CSV column that has the score."),
        Option(name="out", kind=_FILE, required=True, help="Table to write (.parquet); a .json is written beside it."),
    ),
)
