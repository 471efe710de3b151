"""The model card, ``M.md`` next to ``M.onnx``: what somebody needs who has only the files of a model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kit.core import contract
from kit.training.codec_block import NO_PRESET, PRESETS

if TYPE_CHECKING:
    from jinja2 import Environment

_HEAD, _RUN = "card_head.md.j2", "card_run.md.j2"
#: Options of the kit's encodes for the quality point cq; :mod:`kit.platforms` makes them.
_OPTIONS = (
    ("libx264, libx265", "`-crf cq`"),
    ("libsvtav1, libaom-av1", "`-crf` round(cq · 63 / 51), at least 1 for libsvtav1"),
    ("libvvenc", "`-qp cq`"),
    ("h264_nvenc, hevc_nvenc", "`-rc vbr -cq cq`, at least 1"),
    ("av1_nvenc", "`-rc vbr -cq` round(cq · 63 / 51), at least 1"),
    ("h264_qsv, hevc_qsv, av1_qsv", "`-global_quality cq`; without ICQ `-q:v cq`, av1 5 · cq"),
    ("h264_amf, hevc_amf, av1_amf", "`-rc cqp` with cq for all kinds of frames"),
    ("h264_videotoolbox, hevc_videotoolbox", "`-q:v` 100 − 2 · cq, 1 to 99"),
)


def of_head(sidecar: Mapping[str, Any], registered: Mapping[str, Any], limits: str, score: float) -> str:
    """Return the card of a registered head.

    Args:
        registered: its line in the registry.
        limits: of the ship gate, in words.
        score: of the means of its features.
    """
    held_out = sidecar["corpus"]["held_out"] or []
    return _rendered(
        _HEAD,
        sidecar,
        registered,
        example={
            "what": f"{', '.join(sidecar['feature_order'])} of one frame; here the means of the standardiser",
            "features": _numbers(sidecar["feature_mean"]),
            "block": [],
            "outputs": "(score,)",
            "names": f'["{sidecar["output_name"]}"]',
            "printed": [("score", f"{score:.3f}")],
            "remark": "",
        },
        smoke=sidecar["notes"],
        validation=sidecar["validation"],
        limits=limits,
        trained=[name for name in sidecar["corpus"]["sources"] or [] if name not in held_out],
        held_out=held_out,
    )


def of_run(sidecar: Mapping[str, Any], registered: Mapping[str, Any], verdict: Mapping[str, Any]) -> str:
    """Return the card of a model of a run.

    Args:
        registered: its line in the registry.
        verdict: the document of the PROMOTE.
    """
    return _rendered(
        _RUN,
        sidecar,
        registered,
        example=_example(sidecar),
        smoke="it was made from the built-in demo clips, to show that the kit works.",
        headline=verdict.get("headline", verdict["recommendation"]),
        slots=_slots(sidecar) if sidecar["codec_aware"] else [],
        presets=_presets(sidecar["encoder_vocab"] or []),
        options=_options(sidecar["encoder_vocab"] or []),
        preset_scale=contract.PRESET_SCALE,
        crf_scale=contract.CRF_SCALE,
        no_preset=NO_PRESET,
        widths=_widths(sidecar["half_widths"]),
        **_method(sidecar["half_widths"]),
        unseen=_unseen(sidecar, verdict),
    )


def parameters(widths: Sequence[int]) -> int:
    """Return the number of weights and biases of layers with these widths, from input to output."""
    return sum((low + 1) * high for low, high in pairwise(widths))


def _rendered(template: str, sidecar: Mapping[str, Any], registered: Mapping[str, Any], **values: object) -> str:
    count = len(sidecar["feature_order"]) + (sidecar.get("codec_block_dim") or 0)
    weights = parameters((count, *sidecar["training_recipe"]["hidden"], 1))
    networks = len(sidecar["output_names"]) > 1 and len(sidecar["training_recipe"]["seeds"])
    return (
        _environment()
        .get_template(template)
        .render(
            sidecar=sidecar,
            registered=registered,
            parameters=f"{networks} networks of {weights} weights" if networks else f"{weights} weights",
            features=_features(sidecar),
            **values,
        )
    )


def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    # Markdown, not HTML: names from other people are put into code spans
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=False,  # noqa: S701
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["code"] = _code
    return environment


def _code(text: object) -> str:
    """Return a code span in one line for any text."""
    return "`" + " ".join(str(text).replace("`", "'").replace("|", "\\|").split()) + "`"


def _numbers(values: Sequence[float]) -> list[str]:
    """Return float32 values in the fewest digits that read back the same."""
    return [str(np.float32(value)) for value in values]


def _features(sidecar: Mapping[str, Any]) -> list[dict[str, Any]]:
    ranges = sidecar.get("input_ranges", {})
    return [
        {
            "name": name,
            "logged": contract.FEATURE_LOG_PREFIX + name if name in contract.FEATURES else name,
            "low": f"{ranges[name][0]:.4g}" if name in ranges else None,
            "high": f"{ranges[name][1]:.4g}" if name in ranges else None,
        }
        for name in sidecar["feature_order"]
    ]


def _slots(sidecar: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return name, value and range in training of each slot of the codec block."""
    slots = [
        {"name": slot, "value": f"1 for {name}, else 0", "shown": "yes" if name in trained else "no"}
        for slot, name in zip(sidecar["codec_block_layout"], sidecar["encoder_vocab"], strict=False)
        for trained in [sidecar["trained_encoders"]]
    ]
    for name, value in (("preset_norm", "see below"), ("crf_norm", "see below")):
        low, high = sidecar["input_ranges"][name]
        shown = f"{low:.4g} to {high:.4g}"
        if name == "crf_norm":
            shown += f" (cq {round(low * contract.CRF_SCALE)} to {round(high * contract.CRF_SCALE)})"
        slots.append({"name": name, "value": value, "shown": shown})
    return slots


def _presets(vocabulary: Sequence[str]) -> list[tuple[str, str]]:
    """Return the ordinals of presets, encoders with the same ones together."""
    same: defaultdict[str, list[str]] = defaultdict(list)
    for encoder in vocabulary:
        if encoder in PRESETS:
            same[", ".join(f"{name} = {ordinal}" for name, ordinal in PRESETS[encoder].items())].append(encoder)
    return [(", ".join(encoders), ordinals) for ordinals, encoders in same.items()]


def _options(vocabulary: Sequence[str]) -> list[tuple[str, str]]:
    return [(encoders, text) for encoders, text in _OPTIONS if set(encoders.split(", ")) & set(vocabulary)]


def _example(sidecar: Mapping[str, Any]) -> dict[str, Any]:
    example, names = sidecar["example"], sidecar["output_names"]
    block = example[contract.CODEC_INPUT]
    return {
        "what": f"{', '.join(sidecar['feature_order'])} of a frame of the training rows",
        "features": _numbers(example[contract.FEATURES_INPUT]),
        "block": [] if block is None else _block_lines(sidecar["codec_block_layout"], block),
        "outputs": ", ".join(names) if len(names) > 1 else f"({names[0]},)",
        "names": "[" + ", ".join(f'"{name}"' for name in names) + "]",
        "printed": [(name, f"{example[name]:.3f}") for name in names],
        "remark": f" The teacher's score of this frame is {example['teacher']:.3f}.",
    }


def _block_lines(layout: Sequence[str], block: Sequence[float]) -> list[str]:
    """Return the lines that fill the codec block of the example."""
    lines = []
    for slot, (name, value) in enumerate(zip(layout, block, strict=True)):
        scale = {"preset_norm": contract.PRESET_SCALE, "crf_norm": contract.CRF_SCALE}.get(name)
        if scale is not None:
            lines.append(f"codec[0, {slot}] = {round(value * scale)} / {scale}  # {name}")
        elif value:
            lines.append(f"codec[0, {slot}] = 1  # {name}")
    return lines


def _widths(half_widths: Mapping[str, Any] | None) -> list[dict[str, str]]:
    """Return a line for each level, the largest first."""
    if half_widths is None:
        return []
    levels = sorted(half_widths["frame"], key=float, reverse=True)
    return [
        {"level": f"{float(level):.0%}".replace("%", " %")}
        | {unit: _width(half_widths[unit][level]["half_width"]) for unit in ("frame", "clip")}
        for level in levels
    ]


def _width(value: float | None) -> str:
    return "not known" if value is None else f"± {value:.2f}"


def _method(half_widths: Mapping[str, Any] | None) -> dict[str, str]:
    """Return the method of the intervals, and where they held least, in sentences."""
    if half_widths is None:
        return {"method": "", "worst": ""}
    entry = half_widths["clip"]["0.95"]
    what = "of the out-of-fold errors" if entry["method"] == "grouped conformal" else "a model of the errors"
    method = f"{entry['method']}, {what}, over {entry['groups']} content groups"
    if entry["worst_group"] is None:
        return {"method": method, "worst": ""}
    name, share = _code(entry["worst_group"]["name"]), 100 * entry["worst_group"]["coverage"]
    return {
        "method": method,
        "worst": f"Where they hold least: {share:.0f} % of the clips of {name} are inside the interval at 95 % that "
        "the other groups give.",
    }


def _unseen(sidecar: Mapping[str, Any], verdict: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the RMSE of each held-out encoder, of networks like these."""
    block = verdict["evidence"].get("codec_block")
    if not isinstance(block, Mapping):
        return []
    name = "rmse_with" if sidecar["codec_aware"] else "rmse_without"
    return [(encoder, f"{figures[name]:.2f}") for encoder, figures in block["unseen"].items()]
