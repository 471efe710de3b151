"""What is said of a model beside it: its sidecar, and its line in the registry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from kit.core import contract
from kit.core.canon import sha256_json
from kit.models.runtime import Checked
from kit.training.recipe import Architecture, Recipe, architecture
from kit.training.standardiser import Standardiser

#: Version of ``registry.json``.
REGISTRY_VERSION = 1
#: What each slot of the codec block holds, in the words of the loaders that read it.
_CODEC_SLOTS = (*(f"encoder_onehot[{name}]" for name in contract.ENCODER_VOCAB), "preset_norm", "crf_norm")


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What all models of a run have in common.

    Attributes:
        verdict: the document that says PROMOTE.
        scale: the standardiser of all members.
        device: what they were trained on.
    """

    verdict: Mapping[str, Any]
    recipe: Recipe
    scale: Standardiser
    device: str
    seeds: tuple[int, ...]

    @property
    def arch(self) -> Architecture:
        return architecture(self.recipe.arch)

    @property
    def ensemble_id(self) -> str:
        return f"{self.arch.name}_{contract.ENSEMBLE}"

    @property
    def trained_encoders(self) -> list[str]:
        """Encoders of the vocabulary that the corpus shows."""
        return [name for name in contract.ENCODER_VOCAB if name in self.verdict["corpus"]["encoders"]]

    @property
    def untrained_encoders(self) -> list[str]:
        """Encoders of the vocabulary of which the corpus holds no row."""
        return [name for name in contract.ENCODER_VOCAB if name not in self.verdict["corpus"]["encoders"]]


@dataclass(frozen=True, kw_only=True)
class Model:
    """One file: ``seed`` is None for the whole ensemble."""

    origin: Origin
    seed: int | None
    sha256: str
    checked: Checked

    @property
    def id(self) -> str:
        return model_id(self.origin.arch.name, self.seed)

    @property
    def _of(self) -> str:
        return "ensemble" if self.seed is None else f"seed {self.seed}"

    @property
    def name(self) -> str:
        return f"{self.origin.arch.name} {contract.ENSEMBLE}, {self._of}"

    @property
    def description(self) -> str:
        """What it computes."""
        inputs = "six libvmaf features" + (" and the codec block" if self.origin.arch.codec_aware else "")
        what = f"{self.origin.arch.name}, {self._of}: full-reference quality of a frame from {inputs}"
        if self.seed is None:
            what += f"; mean and standard deviation of {len(self.origin.seeds)} networks"
        return f"{what}; teacher {_teacher(self.origin.verdict)}."

    @property
    def notes(self) -> str:
        """What a user has to know."""
        corpus = self.origin.verdict["corpus"]
        text = (
            f"Fitted on all {corpus['rows']} rows of {corpus['sources']} sources after PROMOTE. onnxruntime and torch "
            f"differ by at most {self.checked.largest:.1e} VMAF points on {self.checked.rows} rows."
        )
        if self.origin.arch.codec_aware:
            text += (
                f" Encoders in the corpus: {', '.join(self.origin.trained_encoders) or 'none'}; others are untrained."
            )
        if self.origin.verdict["demo"]:
            text = f"Made from demo clips: it shows that the kit works and is for no measurement. {text}"
        return text


def model_id(arch: str, seed: int | None) -> str:
    """Name of a model, and of its files without their suffix; ``seed`` is None for the whole ensemble."""
    return f"{arch}_{contract.ENSEMBLE}_{'ensemble' if seed is None else f'seed{seed}'}"


def _teacher(verdict: Mapping[str, Any]) -> str:
    return ((verdict["corpus"]["teacher"] or {}).get("id") or "not told")[:40]


def sidecar(model: Model, run_provenance: Mapping[str, object]) -> dict[str, object]:
    """The content of ``M.json``; some facts stand there under two names, since two loaders read them."""
    origin = model.origin
    arch, gate = origin.arch, origin.verdict["gate"]
    inputs = [contract.FEATURES_INPUT, *([contract.CODEC_INPUT] if arch.codec_aware else [])]
    outputs = [contract.SCORE_OUTPUT, *([contract.SPREAD_OUTPUT] if model.seed is None else [])]
    recipe = training_recipe(origin, origin.seeds if model.seed is None else (model.seed,))
    return {
        "id": model.id,
        "name": model.name,
        "ensemble_id": origin.ensemble_id,
        "seed": model.seed,
        "kind": "fr",
        **_codec_facts(arch),
        **graph_facts(model.id, inputs, outputs, origin.scale),
        "sha256": model.sha256,
        "corpus": {**origin.verdict["corpus"], "demo": origin.verdict["demo"]},
        "training_recipe": recipe,
        "train_config_hash": sha256_json(recipe),
        "train_commit": None,
        "license": contract.MODEL_LICENSE,
        "gate": gate,
        "loso_mean_plcc": gate["mean_plcc"] if model.seed is None else gate["per_seed_plccs"][str(model.seed)],
        "trained_encoders": origin.trained_encoders,
        "untrained_encoders": origin.untrained_encoders,
        "notes": model.notes,
        "run_provenance": run_provenance,
    }


def graph_facts(name: str, inputs: Sequence[str], outputs: Sequence[str], scale: Standardiser) -> dict[str, object]:
    """What loaders need to know of the graph in ``name.onnx``."""
    return {
        "feature_order": list(contract.FEATURES),
        "feature_mean": scale.mean.tolist(),
        "feature_std": scale.std.tolist(),
        "onnx_has_scaler": True,
        "input_names": list(inputs),
        "input_name": inputs[0],
        "output_names": list(outputs),
        "output_name": outputs[0],
        "expected_output_range": list(contract.SCORE_RANGE),
        "onnx": f"{name}.onnx",
        "opset": contract.ONNX_OPSET,
        "onnx_opset": contract.ONNX_OPSET,
    }


def _codec_facts(arch: Architecture) -> dict[str, object]:
    """The codec block; null for an architecture that does not take it."""
    facts = {
        "codec_block_layout": list(_CODEC_SLOTS),
        "codec_block_dim": contract.CODEC_DIM,
        "encoder_vocab": list(contract.ENCODER_VOCAB),
        "encoder_vocab_version": contract.ENCODER_VOCAB_VERSION,
    }
    return {"codec_aware": arch.codec_aware, **(facts if arch.codec_aware else dict.fromkeys(facts))}


def training_recipe(origin: Origin, seeds: Sequence[int]) -> dict[str, object]:
    """Everything besides the corpus that decides the weights of these seeds."""
    return recipe_facts(origin.recipe, seeds, device=origin.device, fitted_on="all rows")


def recipe_facts(recipe: Recipe, seeds: Sequence[int], *, device: str, fitted_on: str) -> dict[str, object]:
    """A recipe with its architecture spelled out."""
    arch = architecture(recipe.arch)
    spelled = asdict(arch)
    spelled.pop("name")
    return {
        **asdict(recipe),
        **spelled,
        "hidden": list(arch.hidden),
        "optimizer": "adam",
        "loss": "mse",
        "seeds": list(seeds),
        "device": device,
        "fitted_on": fitted_on,
    }


def registry(models: Sequence[Model]) -> dict[str, object]:
    """The content of ``registry.json``."""
    return {
        "schema_version": REGISTRY_VERSION,
        "models": [
            {
                "id": model.id,
                "kind": "fr",
                "onnx": f"{model.id}.onnx",
                "sha256": model.sha256,
                "opset": contract.ONNX_OPSET,
                "description": model.description,
                "notes": model.notes,
                "smoke": model.origin.verdict["demo"],
                "license": contract.MODEL_LICENSE,
            }
            for model in models
        ],
    }
