"""The sidecar of a model, ``M.json`` next to ``M.onnx``: of heads and of ensembles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from kit.core import contract
from kit.core.canon import sha256_json
from kit.core.errors import BadInput
from kit.core.inputs import DEFAULT_INPUTS, UNNAMED_INPUTS, Inputs, read_inputs
from kit.models.runtime import Checked
from kit.models.shown import Shown
from kit.system import validation
from kit.training.recipe import Recipe
from kit.training.standardiser import Standardiser

#: Schemas of the sidecars of heads and of ensembles.
HEAD_SCHEMA, ENSEMBLE_SCHEMA = "tiny_sidecar", "sidecar"
KIND = "fr"
#: What the graph does with raw features before the first layer.
_NORMALIZATION = MappingProxyType(
    {"formula": "(features - feature_mean) / feature_std", "inputs": [contract.FEATURES_INPUT], "in_graph": True}
)


@dataclass(frozen=True, kw_only=True)
class Description:
    """What the sidecar of a model says besides its hash and its provenance.

    Attributes:
        id: name of the model, and of its files without suffix.
        seeds: of its networks.
        device: that they were trained on.
        fitted_on: rows that they were trained on, in words.
        dataset: names of the data sets that the rows were made for; None for initial weights.
        manifest: path and hash of the manifest of its corpus; None for a feature table, which has none.
        commit: of the kit; None where that is unknown.
        config_sha256: hash of the options of the fit; None for the hash of the recipe.
        fields: what only heads or only ensembles have.
    """

    id: str
    name: str
    recipe: Recipe
    seeds: Sequence[int]
    device: str
    fitted_on: str
    scale: Standardiser
    outputs: Sequence[str]
    corpus: Mapping[str, object]
    notes: str
    license: str | None
    dataset: str | None
    manifest: Mapping[str, str] | None
    commit: str | None = None
    config_sha256: str | None = None
    fields: Mapping[str, object]


def sidecar(description: Description, *, sha256: str, run_provenance: Mapping[str, object]) -> dict[str, object]:
    """Return the content of a sidecar; some facts have two names, since two loaders read them."""
    arch, scale = description.recipe.architecture, description.scale
    inputs = [contract.FEATURES_INPUT, *([contract.CODEC_INPUT] if arch.codec_aware else [])]
    training_recipe = _training_recipe(description)
    return {
        "schema_version": contract.SIDECAR_VERSION,
        "id": description.id,
        "name": description.name,
        "kind": KIND,
        "codec_aware": arch.codec_aware,
        "feature_set": arch.inputs.feature_set,
        "feature_order": list(arch.inputs.features),
        "feature_mean": scale.mean.tolist(),
        "feature_std": scale.std.tolist(),
        "onnx_has_scaler": True,
        "input_normalization": dict(_NORMALIZATION),
        "input_names": inputs,
        "input_name": inputs[0],
        "output_names": list(description.outputs),
        "output_name": description.outputs[0],
        "expected_output_range": list(contract.SCORE_RANGE),
        "onnx": f"{description.id}.onnx",
        "opset": contract.ONNX_OPSET,
        "onnx_opset": contract.ONNX_OPSET,
        "sha256": sha256,
        "dataset": description.dataset,
        "parent_dataset_manifest": description.manifest,
        "corpus": dict(description.corpus),
        "training_recipe": training_recipe,
        "train_config_hash": description.config_sha256 or sha256_json(training_recipe),
        "train_commit": description.commit,
        "license": description.license,
        "notes": description.notes,
        "run_provenance": run_provenance,
        **description.fields,
    }


def _training_recipe(description: Description) -> dict[str, object]:
    """Return the recipe of a model with the fields of its architecture."""
    recipe = description.recipe
    arch = {name: value for name, value in recipe.architecture.as_dict().items() if name != "name"}
    return {
        **recipe.as_dict(),
        **arch,
        "optimizer": recipe.solver,
        "loss": "mse",
        "seeds": list(description.seeds),
        "device": description.device,
        "fitted_on": description.fitted_on,
    }


def sidecar_problems(document: Any) -> list[str]:
    """Check a sidecar of either kind: its schema, and that its lists match each other; one line per problem."""
    is_head = isinstance(document, dict) and document.get("output_name") == contract.TINY_OUTPUT
    if problems := validation.problems(HEAD_SCHEMA if is_head else ENSEMBLE_SCHEMA, document):
        return problems
    try:
        inputs = inputs_of(document)
    except BadInput as error:
        return [error.message]
    count = len(inputs.features)
    lengths = {name: (len(document[name]), count) for name in ("feature_mean", "feature_std")}
    if example := document.get("example"):
        lengths["example.features"] = (len(example["features"]), count)
    if document.get("codec_block_dim") is not None:
        lengths["codec_block_dim"] = (document["codec_block_dim"], inputs.codec_width)
        lengths["codec_block_layout"] = (len(document["codec_block_layout"]), inputs.codec_width)
    problems = [f"$.{name}: {own}; expected {wanted}" for name, (own, wanted) in lengths.items() if own != wanted]
    ranges = document.get("input_ranges", {}).items()
    return problems + [f"$.input_ranges.{name}: {low} is above {high}" for name, (low, high) in ranges if low > high]


def inputs_of(document: Mapping[str, Any]) -> Inputs:
    """Return the inputs that a sidecar records.

    Raises:
        BadInput: a known feature set or vocabulary version is listed with other names.
    """
    vocabulary = document if document.get("encoder_vocab") else DEFAULT_INPUTS.as_dict()
    return read_inputs(
        {
            "feature_set": document.get("feature_set", UNNAMED_INPUTS.feature_set),
            "features": document["feature_order"],
            "encoder_vocab_version": vocabulary["encoder_vocab_version"],
            "encoder_vocab": vocabulary["encoder_vocab"],
        }
    )


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """How far off the scores of content are that was not in training: out-of-fold errors, VMAF points.

    Attributes:
        of: whose errors: of the ensemble mean, or of one seed.
        worst_source: ``name``, ``rmse`` and ``bias`` of the source with the largest RMSE.
        half_widths: ``half_widths`` of a verdict, for these errors; None where they were not computed.
    """

    of: str
    mean_plcc: float
    rmse: float
    bias: float
    worst_source: Mapping[str, Any]
    half_widths: Mapping[str, Any] | None


@dataclass(frozen=True, kw_only=True)
class TrainedEnsemble:
    """What all models of an architecture share in a run.

    Attributes:
        verdict: the document of the PROMOTE.
        scale: the standardiser of all members.
        device: that the members were trained on.
        shown: what they were fitted to.
        accuracy: of each seed's model, and as None of the ensemble in one file.
        commit: of the kit; None where that is unknown.
        reason: why it is exported beside the ensemble of the verdict; None for that ensemble itself.
    """

    verdict: Mapping[str, Any]
    recipe: Recipe
    scale: Standardiser
    device: str
    seeds: tuple[int, ...]
    shown: Shown
    accuracy: Mapping[int | None, Accuracy]
    commit: str | None = None
    reason: str | None = None

    @property
    def models(self) -> tuple[int | None, ...]:
        """The seeds whose networks have their own file, and None for all in one file; of a companion that alone."""
        if len(self.seeds) == 1:
            return self.seeds
        return (None,) if self.reason is not None else (*self.seeds, None)

    @property
    def trained_encoders(self) -> list[str]:
        """Encoders of the vocabulary that the corpus has."""
        return [name for name in self.recipe.inputs.encoder_vocab if name in self.verdict["corpus"]["encoders"]]

    @property
    def untrained_encoders(self) -> list[str]:
        """Encoders of the vocabulary without a row in the corpus."""
        return [name for name in self.recipe.inputs.encoder_vocab if name not in self.verdict["corpus"]["encoders"]]

    def summary(self, seed: int | None) -> str:
        """Return what the registry says that a model computes; ``seed`` is None for the ensemble in one file."""
        arch = self.recipe.architecture
        inputs = f"{len(arch.inputs.features)} libvmaf features"
        inputs += " and the codec block" if arch.codec_aware else ""
        text = f"{stem_of(arch.name)}, {_part(seed)}: full-reference quality of a frame from {inputs}"
        if seed is None:
            text += f"; mean of {len(self.seeds)} networks and their disagreement"
        teacher = (self.verdict["corpus"]["teacher"] or {}).get("id") or "not recorded"
        return f"{text}; teacher {teacher[:40]}."

    def describe(self, seed: int | None, checked: Checked, example: Mapping[str, object]) -> Description:
        """Return the description of one seed's model, or of the ensemble in one file for None.

        Args:
            example: see :func:`kit.models.export.example_of`.
        """
        arch, accuracy = self.recipe.architecture, self.accuracy[seed]
        return Description(
            id=model_id(arch.name, seed),
            name=f"{stem_of(arch.name)} {contract.ENSEMBLE}, {_part(seed)}",
            recipe=self.recipe,
            seeds=self.seeds if seed is None else (seed,),
            device=self.device,
            fitted_on=self._fitted_on(),
            scale=self.scale,
            outputs=(contract.SCORE_OUTPUT, contract.SPREAD_OUTPUT) if seed is None else (contract.SCORE_OUTPUT,),
            corpus={**self.verdict["corpus"], "demo": self.verdict["demo"]},
            notes=self._notes(checked, accuracy),
            license=contract.MODEL_LICENSE,
            dataset=", ".join(self.shown.corpora),
            manifest={"path": "corpus/shard.json", "sha256": self.shown.manifest_sha256},
            commit=self.commit,
            fields={
                "ensemble_id": _ensemble_id(arch.name),
                "companion_of": None if self.reason is None else _ensemble_id(contract.ARCH),
                "companion_reason": self.reason,
                "seed": seed,
                **_codec_fields(arch.inputs, codec_aware=arch.codec_aware),
                "gate": self.verdict["gate"],
                "loso_mean_plcc": accuracy.mean_plcc,
                "accuracy": {
                    "of": accuracy.of,
                    "rmse": accuracy.rmse,
                    "bias": accuracy.bias,
                    "worst_source": {name: accuracy.worst_source[name] for name in ("name", "rmse", "bias")},
                },
                "half_widths": accuracy.half_widths,
                "input_ranges": {name: list(limits) for name, limits in self.shown.ranges.items()},
                "resolutions": list(self.shown.resolutions),
                "trained_encoders": self.trained_encoders,
                "untrained_encoders": self.untrained_encoders,
                "example": dict(example),
            },
        )

    def _fitted_on(self) -> str:
        most = self.recipe.max_rows_per_source
        return "all rows" if most is None else f"at most {most} rows of a source"

    def _notes(self, checked: Checked, accuracy: Accuracy) -> str:
        corpus, worst = self.verdict["corpus"], accuracy.worst_source
        text = (
            f"Fitted on {self._fitted_on()} of {corpus['sources']} sources ({corpus['rows']} rows) after PROMOTE. "
            f"Out of fold: RMSE {accuracy.rmse:.2f} VMAF points, worst source {worst['rmse']:.2f}."
        )
        if self.recipe.architecture.codec_aware:
            text += f" Encoders in training: {', '.join(self.trained_encoders) or 'none of the vocabulary'}."
        if self.reason is not None:
            text += f" {self.reason}"
        if self.verdict["demo"]:
            text = f"Made from demo clips: it shows that the kit works and is for no measurement. {text}"
        return f"{text} onnxruntime and torch differ by at most {checked.largest:.1e} on {checked.rows} rows."[:512]


def stem_of(arch: str) -> str:
    """Return the name of an architecture in names of models."""
    return contract.FEATURES_ONLY if arch in contract.ABLATIONS else arch


def _ensemble_id(arch: str) -> str:
    return f"{stem_of(arch)}_{contract.ENSEMBLE}"


def model_id(arch: str, seed: int | None) -> str:
    """Return the name of a model, and of its files without suffix; ``seed`` is None for the ensemble in one file."""
    return f"{_ensemble_id(arch)}_{'ensemble' if seed is None else f'seed{seed}'}"


def _part(seed: int | None) -> str:
    return "ensemble" if seed is None else f"seed {seed}"


def _codec_fields(inputs: Inputs, *, codec_aware: bool) -> dict[str, object]:
    """Return the codec block; null for an architecture without it."""
    fields = {
        "codec_block_layout": list(inputs.codec_block_layout),
        "codec_block_dim": inputs.codec_width,
        "encoder_vocab": list(inputs.encoder_vocab),
        "encoder_vocab_version": inputs.encoder_vocab_version,
    }
    return fields if codec_aware else dict.fromkeys(fields)
