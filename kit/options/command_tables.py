"""The options of the commands about a box, corpora, bundles, data sets and feature tables."""

from __future__ import annotations

from kit.core import contract
from kit.options.table import Option, Table, choice
from kit.options.values import DIR, FILE, FLAG, TEACHER, matching, text, whole

BOX = Table(
    title="platform, binaries and selftest",
    options=(
        Option("options", FLAG, "Check every encoder's arguments against ffmpeg's own help."),
        Option("tag", text("TAG"), "Platform that the tool is for.", flag="--platform", otherwise="this box's"),
        Option("everything", FLAG, "Run every test, not only the essential ones.", flag="--all"),
    ),
)

CLEAN = Table(
    title="clean",
    options=(Option("yes", FLAG, "Remove everything listed, without questions.", default=False),),
)

MERGE = Table(
    title="merge and corpus import",
    options=(
        Option("out", DIR, "Folder of the new shard.", required=True),
        choice("on_conflict", ("error", "drop"), "Fail on cells that boxes disagree about, or leave them out."),
        Option("assume_teacher", TEACHER, "Teacher of rows that do not name one; you vouch for it."),
        Option(
            "groups_file",
            FILE,
            "groups.json: content group of each source.",
            flag="--groups",
            otherwise="the rules of known data sets, else each source alone",
        ),
    ),
)

EXPORT = Table(
    title="corpus export",
    options=(
        choice(
            "form",
            ("jsonl", "parquet", "csv"),
            "File format; jsonl has the predecessor's rows.",
            flag="--format",
            required=True,
        ),
        Option("out", FILE, "New file; jsonl and csv named .gz are compressed.", required=True),
    ),
)

BUNDLES = Table(
    title="verify and report",
    options=(
        Option(
            "retrain",
            matching("all|0*[1-9]\\d{0,8}", "all or a number of 1 or more", metavar="N|all"),
            "Train N random members again and compare their scores.",
            otherwise="none; predictions stay unproven",
        ),
        Option(
            "max_epochs",
            whole(1, 999_999),
            "Refuse a bundle that was trained for more epochs.",
            default=contract.MOST_EPOCHS,
        ),
        Option("allowed_signers", FILE, "Require a signature by one of these SSH keys (ssh-keygen format)."),
        Option(
            "out", DIR, "Folder of the report page.", otherwise="report/ in a run folder, NAME-report beside a bundle"
        ),
    ),
)

SCORE = Table(
    title="score",
    options=(
        Option("model", FILE, "Exported model (.onnx) with its .json beside it.", required=True),
        Option("corpus", DIR, "Score every cell of a run or shard."),
        Option("ref", FILE, "Reference clip of a pair to score."),
        Option("dis", FILE, "Distorted clip of that pair."),
        Option("encoder", text("NAME"), "Encoder of --dis; codec-aware models need it."),
        Option("cq", whole(*contract.CQ_RANGE), "Quality point of --dis."),
        Option("preset", text("NAME"), "Preset of --dis.", otherwise="the middle of the scale"),
        Option("csv_file", FILE, "Write a line for every frame to this file.", flag="--csv"),
    ),
)

DATASETS = Table(
    title="dataset",
    options=(
        choice("dataset", contract.DATASETS, "Data set in DIR."),
        Option(
            "path",
            FILE,
            "Manifest to compare DIR with.",
            flag="--manifest",
            otherwise="the one in DIR, or the list of a packed folder",
        ),
        Option("out", DIR, "Folder of the copies.", required=True),
        choice("codec", ("ffv1", "x265"), "Codec of the copies; both are lossless."),
    ),
)

MANIFEST = Table(
    title="dataset manifest",
    options=(Option("out", FILE, "Manifest to write.", otherwise="DIR/NAME.yaml"),),
)

FEATURES = Table(
    title="extract-features, combine and join-mos",
    options=(
        choice("dataset", contract.DATASETS[1:], "Data set in --ref-dir.", required=True),
        Option("ref_dir", text("DIR"), "Folder of the data set.", otherwise="datasets/NAME below the data root"),
        choice("feature_set", contract.FEATURE_SETS, "Features of the table; full has all of the scorer's log."),
        Option("max_pairs", whole(1, 1 << 31), "Use the first N pairs only."),
        Option(
            "assume_dims",
            matching("[1-9]\\d{0,5}x[1-9]\\d{0,5}", "WxH", metavar="WxH", hint="For example 1920x1080."),
            "Size of .yuv files without known format: 8-bit 4:2:0, 25 fps.",
        ),
        Option(
            "cache",
            DIR,
            "Folder that keeps the features of measured pairs.",
            otherwise="features/ in the kit's cache",
            env="VMAF_TINY_AI_CACHE",
            on_command_line=False,
            in_file=False,
        ),
        Option("fill_missing", FLAG, "Fill features that an input lacks with NaN, and count them."),
        Option("features", FILE, "Table that gets the scores.", required=True),
        Option("scores", FILE, "CSV file of scores, with a header.", flag="--mos", required=True),
        Option("on", text("COLUMN=COLUMN"), "Column of the table and the CSV column that equals it.", repeats=True),
        Option("pattern", text("REGEX"), "Pattern of clip names whose named groups are CSV columns."),
        Option("score", text("COLUMN"), "CSV column that has the score.", required=True),
        Option("out", FILE, "Table to write (.parquet); a .json is written beside it.", required=True),
    ),
)
