"""Exported graphs of networks that were trained for unknown encoders."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kit.core import contract
from kit.models import graph, runtime
from kit.models.export_check import expected
from kit.models.graph_format import format_problems
from kit.training.model import Network
from kit.training.standardiser import Standardiser
from kit.training.table import Rows
from tests.training.builders import make_table, networks

TABLE = make_table()
WIDTH = TABLE.inputs.codec_width
ENCODERS = len(TABLE.inputs.encoder_vocab)
SCALE = Standardiser(mean=np.zeros(6, dtype=np.float32), std=np.ones(6, dtype=np.float32))
#: Slots of encoders that the networks were trained with.
TRAINED = (0, 2)


def made(slots: tuple[int, ...] = TRAINED, count: int = 3) -> list[Network]:
    result = networks(count=count)
    for network in result:
        network.trained_slots = torch.zeros(WIDTH)
        network.trained_slots[list(slots)] = 1
    return result


def rows_with(slot: int | None) -> Rows:
    """Rows of one encoder, or of none of the vocabulary, with a preset and a quality point."""
    codec = np.zeros((len(TABLE), WIDTH), dtype=np.float32)
    codec[:, ENCODERS:] = (5 / 9, 31 / 63)
    if slot is not None:
        codec[:, slot] = 1
    return Rows(features=TABLE.features, codec=codec, target=TABLE.target, inputs=TABLE.inputs)


@pytest.mark.essential
@pytest.mark.parametrize("count", [1, 3])
def test_every_encoder_that_was_not_in_training_scores_as_no_encoder(count: int) -> None:
    members = made(count=count)
    data = graph.fused(members, SCALE) if count > 1 else graph.single(members[0], SCALE)
    outputs = (contract.SCORE_OUTPUT, contract.SPREAD_OUTPUT)[:count]
    assert format_problems(data, TABLE.inputs, codec_aware=True, outputs=outputs) == []
    session, every = runtime.open_session(data), np.arange(len(TABLE), dtype=np.int32)
    blank = runtime.compute(session, TABLE.features, np.zeros((len(TABLE), WIDTH), dtype=np.float32))
    for slot in (*range(ENCODERS), None):
        rows = rows_with(slot)
        computed = runtime.compute(session, rows.features, rows.codec)
        for name, values in expected(members, SCALE, rows, every, outputs).items():
            assert computed[name] == pytest.approx(values, abs=1e-4)
        same = np.array_equal(computed[contract.SCORE_OUTPUT], blank[contract.SCORE_OUTPUT])
        assert same == (slot not in TRAINED)


def test_a_network_of_the_contract_recipe_uses_every_slot() -> None:
    session = runtime.open_session(graph.single(networks(count=1)[0], SCALE))
    scores = {
        slot: runtime.compute(session, TABLE.features, rows_with(slot).codec)[contract.SCORE_OUTPUT].tobytes()
        for slot in range(ENCODERS)
    }
    assert len(set(scores.values())) == ENCODERS


def test_an_ensemble_has_one_list_of_encoders() -> None:
    with pytest.raises(ValueError, match="encoders"):
        graph.fused([*made(), *made((1,))], SCALE)
