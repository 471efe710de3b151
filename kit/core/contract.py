"""Names, orders, numbers and thresholds that a verdict depends on, each defined here only.

Plain data. Changing a value changes the meaning of a verdict and needs a new version number and an ADR.
"""

from __future__ import annotations

from types import MappingProxyType

#: Version of the row schema, of ``shard.json`` and of the cell key.
SCHEMA_VERSION = 1

#: Version of the verdict document and of the rules it was made by; a bundle is judged by the rules of its own version.
VERDICT_VERSION = 2

#: The filter before every conversion of pixel format: swscale's reproducible path. Part of a cell's key.
CONVERT = "scale=flags=bicubic+accurate_rnd+full_chroma_int+bitexact"

#: The six features in the order of every matrix, table and model input.
FEATURES = ("adm2", "vif_scale0", "vif_scale1", "vif_scale2", "vif_scale3", "motion2")

#: Prefix of the features in a libvmaf log (fixed-point extractors of vmaf_v0.6.1).
FEATURE_LOG_PREFIX = "integer_"

#: Name of this set of features; part of the cell key.
FEATURE_SET = "canonical-6"
#: Columns of each feature set that networks are trained on.
FEATURE_COLUMNS = MappingProxyType({FEATURE_SET: FEATURES})
#: Feature sets of tables: the six, or every feature in the scorer's log.
FEATURE_SETS = (FEATURE_SET, "full")

#: The model that the six features belong to, for every teacher.
CANONICAL_MODEL = "vmaf_v0.6.1"
DEFAULT_TEACHER = CANONICAL_MODEL

#: Backends that compute features and teacher. The CPU is the reference. Part of the scorer's id, so never mixed.
SCORER_BACKENDS = ("cpu", "cuda")
DEFAULT_SCORER_BACKEND = "cpu"

#: Platform tags of the folders under ``binaries/``.
PLATFORM_TAGS = (
    "linux-x86_64-cuda",
    "linux-x86_64-sycl",
    "linux-x86_64-vulkan",
    "linux-aarch64-cpu",
    "darwin-arm64-cpu",
    "darwin-x86_64-cpu",
)

#: Range of every VMAF teacher, in VMAF points.
SCORE_RANGE = (0.0, 100.0)

#: Range of each feature, generous: adm2 and vif are ratios (1 without loss, more where an encoder sharpens), motion2 is
#: a mean difference of luma on the scale of 8 bits. libvmaf returns no value outside.
FEATURE_RANGES = MappingProxyType({**dict.fromkeys(FEATURES, (0.0, 10.0)), "motion2": (0.0, 255.0)})
#: Range of a feature without an entry there.
OTHER_FEATURE_RANGE = (0.0, 255.0)

#: Most frames of a received cell: 18 hours at 60 frames a second.
MOST_FRAMES = 4_000_000

#: Encoder vocabularies by version, append only: a version keeps the slots of those before it, since the index is the
#: position in the one-hot part of the codec block.
ENCODER_VOCABS = MappingProxyType(
    {
        3: (
            "libx264",
            "libaom-av1",
            "libx265",
            "h264_nvenc",
            "hevc_nvenc",
            "av1_nvenc",
            "h264_amf",
            "hevc_amf",
            "av1_amf",
            "h264_qsv",
            "hevc_qsv",
            "av1_qsv",
            "libvvenc",
            "libsvtav1",
            "h264_videotoolbox",
            "hevc_videotoolbox",
        ),
    }
)
#: The version of new trainings.
ENCODER_VOCAB_VERSION = 3
ENCODER_VOCAB = ENCODER_VOCABS[ENCODER_VOCAB_VERSION]

#: ``preset_norm`` = ordinal / PRESET_SCALE; ``crf_norm`` = cq / CRF_SCALE, absolute.
PRESET_SCALE = 9
CRF_SCALE = 63

#: Values of ``--dataset``: recognise the data set, one of the known ones, or any folder of clips.
DATASETS = ("auto", "npd", "bvi-dvc", "konvid-1k", "dir")

#: Range of requested quality points, both ends included.
CQ_RANGE = (0, 51)
DEFAULT_CQS = (19, 25, 31, 37)

#: The cell of each source that every box encodes, so that any two boxes can be compared.
ANCHOR_ENCODER = "libx264"
ANCHOR_CQ = 31

DEFAULT_SEEDS = (0, 1, 2, 3, 4)
DEFAULT_EPOCHS = 200
#: The demo runs all steps within minutes; its verdict recommends nothing.
DEMO_EPOCHS = 60

#: Architectures by name: widths of the hidden layers, activation, whether the codec block is an input, dropout.
#: The first one is the default; the others are tiny heads on the six features alone.
ARCH = "fr_regressor_v2"
ARCHS = MappingProxyType(
    {
        ARCH: ((64, 64), "gelu", True, 0.1),
        "linear": ((), "relu", False, 0.0),
        "mlp_small": ((16, 8), "relu", False, 0.0),
        "mlp_medium": ((64, 32), "relu", False, 0.0),
    }
)
#: Architectures without an option: the default one without the codec block, to measure the effect of the block.
WITHOUT_BLOCK = "no_codec_block"
ABLATIONS = MappingProxyType({WITHOUT_BLOCK: ((64, 64), "gelu", False, 0.1)})
#: Name of the ablation's models, which are exported beside those of ``ARCH`` where they are not worse.
FEATURES_ONLY = f"{ARCH}_features"
#: Architectures that are trained in the same folds with the same seeds as ``ARCH`` and compared with it.
BASELINES = ("linear", "mlp_small", "no_codec_block")
#: Most sets of content groups, and number of seeds, with which each encoder is held out in a corpus of several.
UNSEEN_SETS, UNSEEN_SEEDS = 4, 2
#: Seeds of a baseline where they are fewer than the ensemble's; the ensemble's same seeds are compared with it.
BASELINE_SEEDS = MappingProxyType({"linear": 1, WITHOUT_BLOCK: 2})
#: Name of the ``--baseline`` model among them.
SHIPPED = "shipped"
#: Name of the teacher's published formula among them; it is computed and needs no training.
TEACHER_FORMULA = "teacher_formula"
#: Training recipe of every architecture: Adam, mean squared error.
LEARNING_RATE = 5e-4
WEIGHT_DECAY = 1e-5
BATCH_SIZE = 32

#: Values of ``--recipe``, with the share of the training rows whose codec block is zero; where there are such rows, an
#: encoder without training rows is given to the network as a block of zeros.
RECIPES = MappingProxyType({"contract-2": 0.5, "contract": 0.0})
#: Recipe of a document that names none.
UNNAMED_RECIPE = "contract"
#: Values of a recipe's solver: Adam in batches, or the closed form of a linear network.
ADAM, LEAST_SQUARES = "adam", "least squares"

#: Defaults of tiny heads, which are fitted to a feature table. Adam and its weight decay are those above; a head of a
#: few hundred weights takes larger batches and steps.
TINY_ARCH, TINY_EPOCHS, TINY_BATCH_SIZE, TINY_LEARNING_RATE = "mlp_small", 30, 256, 1e-3

#: Limits of the ship gate of tiny heads: held-out rows, PLCC with the teacher, RMSE in VMAF points (targets 0 to 100).
#: Looser ones may be requested and are written into report, card and registry.
SHIP_ROWS, SHIP_MIN_PLCC, SHIP_MAX_RMSE = 100, 0.97, 3.0

#: Default of ``--folds``: each content group is held out once; the alternative is ``kfold:K``.
DEFAULT_FOLDS = "loso"
#: Values of ``--holdout``: additional hold-outs, for evidence that no gate uses.
HOLDOUTS = ("encoder", "box")

#: Values of ``--device``.
DEVICES = ("auto", "cpu", "cuda", "mps")

#: The default gate. The hash of this mapping is part of every verdict. Fewer than ``seeds_min`` seeds, fewer than
#: ``groups_min`` groups with a correlation, or fewer than ``defined_folds_min`` of the folds with one: INVALID.
GATE_THRESHOLDS = MappingProxyType(
    {
        "mean_plcc_min": 0.95,
        "plcc_spread_max": 0.005,
        "per_seed_plcc_min": 0.95,
        "groups_min": 3,
        "seeds_min": 3,
        "defined_folds_min": 0.9,
    }
)

#: Values of ``--gate``: which gates have to be passed. The first one always has to be.
GATES = ("default", "expert")

#: The expert gate, fixed before any verdict; reasons: docs/adr/0027. The hash of this mapping is part of every verdict.
#: RMSE, bias and p95 are VMAF points; ``linear_ratio_max`` is the ensemble's RMSE over that of the least-squares line.
EXPERT_THRESHOLDS = MappingProxyType(
    {
        "near_duplicates_max": 0,
        "ensemble_rmse_max": 2.0,
        "source_rmse_max": 3.0,
        "clip_p95_max": 2.0,
        "unseen_rmse_max": 3.0,
        "encoder_bias_max": 2.0,
        "seed_rmse_max": 3.0,
        "linear_ratio_max": 0.9,
        "evidence_groups_min": 9,
    }
)

#: Largest accepted difference of a scorer from the golden table, in VMAF points.
GOLDEN_TOLERANCE = 2e-3

#: Largest accepted difference of a score from the teacher's formula of its features, in VMAF points. Logs round
#: features to six digits, which alone moves a score by up to 1.6e-4 (docs/adr/0025).
FORMULA_TOLERANCE = 2e-3

#: Most epochs that a bundle may ask for when its members are trained again.
MOST_EPOCHS = 2000

#: A model scores the rows that it was fitted to with an RMSE of at most this ratio of the out-of-fold RMSE of its seed,
#: plus the margin in VMAF points; honest models have a ratio of 0.4 to 1 (docs/adr/0025).
FITTED_RMSE_RATIO, FITTED_MARGIN = 1.25, 0.05
#: Its bias differs from the out-of-fold bias by at most this share of the out-of-fold RMSE, plus the margin.
FITTED_BIAS_SHARE = 0.75

#: Members trained again: the RMS of the difference of scores is at most this share of the RMSE of the member trained
#: again, plus the margin in VMAF points. Rounding errors make up to 7e-4 of it (docs/adr/0025).
RETRAINED_RMS_SHARE, RETRAINED_MARGIN = 0.1, 0.01

#: Largest accepted difference of a least-squares baseline from the one computed again, in VMAF points.
LEAST_SQUARES_TOLERANCE = 0.01

#: Largest accepted difference of an anchor's mean score on two boxes with different builds or architectures of x264, in
#: VMAF points. x264 with and without assembly differs by 0.04 to 0.44 (docs/adr/0016), a broken scorer by more: CUDA
#: with more than 8 bits by 1 to 1.5. For cells with equal keys, GOLDEN_TOLERANCE applies.
ANCHOR_TOLERANCE = 1.0

#: Resolution, rate and length of a probe encode; hardware encoders refuse smaller frames.
PROBE_WIDTH, PROBE_HEIGHT, PROBE_FPS, PROBE_FRAMES = 640, 360, 30, 30

#: Versions of exported graphs. onnxruntime builds in the field read neither newer versions nor the default of onnx.
ONNX_OPSET, ONNX_IR_VERSION = 17, 8
#: Operators that the runtimes of these graphs accept; GELU is written with Erf, since opset 17 has no Gelu.
ONNX_OPS = (
    "Identity",
    "Reshape",
    "Flatten",
    "Squeeze",
    "Unsqueeze",
    "Transpose",
    "Concat",
    "Slice",
    "Gather",
    "Cast",
    "Shape",
    "Expand",
    "Add",
    "Sub",
    "Mul",
    "Div",
    "Neg",
    "Abs",
    "Sqrt",
    "Pow",
    "Exp",
    "Log",
    "Clip",
    "Min",
    "Max",
    "Sum",
    "Mean",
    "ReduceMean",
    "ReduceSum",
    "Gemm",
    "MatMul",
    "Relu",
    "Sigmoid",
    "Tanh",
    "Softmax",
    "Erf",
    "Constant",
    "ConstantOfShape",
)
#: Version of the sidecars of models; a sidecar without one is of version 1.
SIDECAR_VERSION = 2
#: Names of a graph's inputs, raw features [N, features] and codec block [N, slots], and outputs, VMAF points [N].
FEATURES_INPUT, CODEC_INPUT = "features", "codec_onehot"
#: Output of a tiny head.
TINY_OUTPUT = "vmaf"
SCORE_OUTPUT, SPREAD_OUTPUT = "score", "score_std"

#: Kinds of models in a registry: full reference, no reference, filter.
MODEL_KINDS = ("fr", "nr", "filter")
#: Suffix of an ensemble's name, after the architecture and ``_``.
ENSEMBLE = "ensemble_v1"
#: Largest accepted difference of onnxruntime from torch in VMAF points, and the number of rows it is checked on.
EXPORT_TOLERANCE, EXPORT_ROWS = 1e-4, 1000
#: SPDX id of the models' license, the same as the kit's.
MODEL_LICENSE = "BSD-3-Clause"
