"""Exported graphs: the same bytes, the rules of the format, the values of torch; and the checks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from kit.core import contract, exits
from kit.core.errors import ExportFailed
from kit.models import export_check, graph, runtime
from kit.training.loop import inputs_for
from kit.training.model import restored
from kit.training.standardiser import fit_standardiser
from tests.training.builders import make_table, networks

TABLE = make_table(frames=120)
SCALE = fit_standardiser(TABLE.features, np.arange(len(TABLE), dtype=np.int32))
every_arch = pytest.mark.parametrize("arch", contract.ARCHS)


def written(folder: Path, data: bytes) -> Path:
    path = folder / "m.onnx"
    path.write_bytes(data)
    return path


# ------------------------------------------------------------------------------------------ the graph


@pytest.mark.essential
@every_arch
def test_one_network_as_a_graph(arch: str, tmp_path: Path) -> None:
    made = networks(arch, 1)
    found = export_check.check(written(tmp_path, graph.single(made[0], SCALE)), made, SCALE, TABLE)
    assert found.rows == contract.EXPORT_ROWS
    assert found.largest <= 1e-4


@every_arch
def test_the_ensemble_is_mean_and_spread_of_the_single_graphs(arch: str, tmp_path: Path) -> None:
    made = networks(arch)
    export_check.check(written(tmp_path, graph.fused(made, SCALE)), made, SCALE, TABLE)
    singles = [
        runtime.compute(runtime.open_session(graph.single(network, SCALE)), TABLE.features, TABLE.codec)
        for network in made
    ]
    members = np.stack([single[contract.SCORE_OUTPUT] for single in singles]).astype(np.float64)
    assert (members == 100).any()
    assert (members < 100).any()
    fused = runtime.compute(runtime.open_session(graph.fused(made, SCALE)), TABLE.features, TABLE.codec)
    assert fused[contract.SCORE_OUTPUT] == pytest.approx(members.mean(axis=0), abs=2e-5)
    inputs = inputs_for(TABLE, np.arange(len(TABLE), dtype=np.int32), SCALE, codec_aware=made[0].arch.codec_aware)
    unclipped = np.stack([network.unclipped(inputs) for network in made]).astype(np.float64)
    assert fused[contract.SPREAD_OUTPUT] == pytest.approx(unclipped.std(axis=0, ddof=1), abs=2e-5)


def test_members_that_are_all_clipped_still_disagree(tmp_path: Path) -> None:
    made = networks("linear")
    with torch.no_grad():
        for index, network in enumerate(made):
            network.weights[0].zero_()
            network.biases[0].fill_(110.0 + 15 * index)
    path = written(tmp_path, graph.fused(made, SCALE))
    export_check.check(path, made, SCALE, TABLE)
    computed = runtime.compute(runtime.open_session(path.read_bytes()), TABLE.features, TABLE.codec)
    assert (computed[contract.SCORE_OUTPUT] == 100).all()
    assert computed[contract.SPREAD_OUTPUT] == pytest.approx(15.0)


def test_the_same_weights_give_the_same_bytes() -> None:
    first, second = networks(), networks()
    assert graph.single(first[0], SCALE) == graph.single(second[0], SCALE)
    assert graph.fused(first, SCALE) == graph.fused(second, SCALE)
    assert graph.single(first[0], SCALE) != graph.single(first[1], SCALE)


@pytest.mark.parametrize("arch", [contract.ARCH, "linear"])
def test_a_graph_follows_the_rules_of_the_design(arch: str) -> None:
    for data in (graph.single(networks(arch)[0], SCALE), graph.fused(networks(arch), SCALE)):
        model = onnx.load_model_from_string(data)
        assert [(item.domain, item.version) for item in model.opset_import] == [("", 17)]
        assert model.ir_version == 8
        assert {node.op_type for node in model.graph.node} <= set(contract.ONNX_OPS)
        assert {"Sub", "Div"} <= {node.op_type for node in model.graph.node}
        assert all(tensor.raw_data and not tensor.external_data for tensor in model.graph.initializer)
        shapes = {
            end.name: [size.dim_param or size.dim_value for size in end.type.tensor_type.shape.dim]
            for end in model.graph.input
        }
        assert shapes == {"features": ["N", 6]} | ({"codec_onehot": ["N", 18]} if arch == contract.ARCH else {})


def test_an_ensemble_of_one_has_no_spread() -> None:
    with pytest.raises(ValueError, match="two networks"):
        graph.fused(networks(count=1), SCALE)


# ------------------------------------------------------------------------------------------ the checks


@pytest.mark.parametrize("count", [1, 3])
def test_a_wrong_weight_fails_the_check(count: int, tmp_path: Path) -> None:
    made = networks(count=count)
    for network in made:
        torch.nn.init.constant_(network.biases[-1], 50.0)
    data = graph.single(made[0], SCALE) if count == 1 else graph.fused(made, SCALE)
    export_check.check(written(tmp_path, data), made, SCALE, TABLE)
    with torch.no_grad():
        made[-1].weights[0][5, 3] += 0.01
    with pytest.raises(ExportFailed, match="onnxruntime and torch differ"):
        export_check.check(tmp_path / "m.onnx", made, SCALE, TABLE)


def test_a_wrong_standardiser_fails_the_check(tmp_path: Path) -> None:
    made = networks(count=1)
    path = written(tmp_path, graph.single(made[0], replace(SCALE, mean=SCALE.mean * np.float32(1.01))))
    with pytest.raises(ExportFailed, match="differ"):
        export_check.check(path, made, SCALE, TABLE)


def test_weights_that_are_not_finite_fail_the_check(tmp_path: Path) -> None:
    made = networks(count=1)
    with torch.no_grad():
        made[0].weights[1][0, 0] = torch.nan
    with pytest.raises(ExportFailed, match="not finite"):
        export_check.check(written(tmp_path, graph.single(made[0], SCALE)), made, SCALE, TABLE)


def test_an_output_outside_the_range_fails_the_check(tmp_path: Path) -> None:
    made = networks("linear", 1)
    with torch.no_grad():
        made[0].biases[0].fill_(50.0)
        made[0].weights[0].mul_(0.01)
    model = onnx.load_model_from_string(graph.single(made[0], SCALE))
    (highest,) = (tensor for tensor in model.graph.initializer if tensor.name == "highest")
    highest.raw_data = np.float32(101).tobytes()
    # real rows are not clipped
    with pytest.raises(ExportFailed, match=r"extreme rows: score is .* 101"):
        export_check.check(written(tmp_path, model.SerializeToString()), made, SCALE, TABLE)


def newer_ir(model: onnx.ModelProto) -> None:
    model.ir_version = 10


def newer_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 18
    model.graph.node.pop()
    model.graph.node.append(helper.make_node("Relu", [model.graph.node[-1].output[0]], ["score"]))


def forbidden_operator(model: onnx.ModelProto) -> None:
    model.graph.node[-1].output[0] = "before"
    model.graph.node.append(helper.make_node("Floor", ["before"], ["score"]))


def renamed_output(model: onnx.ModelProto) -> None:
    model.graph.node[-1].output[0] = model.graph.output[0].name = "quality"


def broken(model: onnx.ModelProto) -> None:
    model.graph.node[3].input[0] = "nowhere"


def external(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")


@pytest.mark.parametrize(
    ("change", "value"),
    [
        (newer_ir, "ir_version 10"),
        (newer_opset, "operator sets .*18"),
        (forbidden_operator, "Floor"),
        (renamed_output, "quality"),
        (broken, "onnx.checker"),
        (external, "onnx.checker|outside the file"),
    ],
)
def test_a_graph_that_breaks_a_rule_is_refused(
    change: Callable[[onnx.ModelProto], None], value: str, tmp_path: Path
) -> None:
    made = networks(count=1)
    model = onnx.load_model_from_string(graph.single(made[0], SCALE))
    change(model)
    with pytest.raises(ExportFailed, match=value) as caught:
        export_check.check(written(tmp_path, model.SerializeToString()), made, SCALE, TABLE)
    assert caught.value.exit_code == exits.INTERNAL


def test_a_restored_network_is_the_trained_one() -> None:
    network = networks(count=1)[0]
    arrays = {name: value.numpy() for name, value in network.state_dict().items()}
    again, scale = restored(network.arch, arrays | {"mean": SCALE.mean, "std": SCALE.std})
    inputs = torch.zeros(2, 24)
    assert again.scores(inputs).tolist() == network.scores(inputs).tolist()
    assert scale.mean.tolist() == SCALE.mean.tolist()
