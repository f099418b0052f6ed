"""Which rows come in which piece, with no network."""

import numpy as np
import pytest

from tumorcls.model import pieces
from tumorcls.model.pieces import PREDICT_BATCH, Placed, filled, prediction_pieces, training_pieces

ROWS = np.arange(1, 101, dtype=np.float32)[:, None]
TARGETS = np.arange(100, dtype=np.float32)[:, None] * 10
BATCHES = np.random.default_rng(0).permutation(100)[:96].reshape(12, 8).astype(np.int32)


def trained_on(found):
    """Returns rows and targets in the order of the steps."""
    steps = [(piece.rows[order], piece.targets[order]) for piece in found for order in piece.order[: piece.steps]]
    return np.array(steps)[:, :, :, 0]


@pytest.mark.parametrize("steps", [1, 5, 12, 100])
@pytest.mark.parametrize("whole", [True, False])
def test_each_step_trains_on_its_rows_and_their_targets(monkeypatch, steps, whole):
    monkeypatch.setattr(pieces, "TRAINING_BYTES", steps * 8 * 4)
    found = list(training_pieces(ROWS, TARGETS, BATCHES, whole))
    assert len({(piece.rows.shape, piece.targets.shape, piece.order.shape) for piece in found}) == 1, "compiled once"
    assert [piece.steps for piece in found] == ([1] * 12 if not whole else [min(steps, 12 - n) for n in range(0, 12, steps)])
    expected = np.stack([ROWS[BATCHES], TARGETS[BATCHES]], axis=1)[..., 0]
    np.testing.assert_array_equal(trained_on(found), expected)


def test_rows_on_the_device_are_one_piece():
    placed = Placed(filled(ROWS, 128), 512)
    [piece] = training_pieces(placed, TARGETS, BATCHES, True)
    assert (piece.rows is placed.rows, len(piece.targets), len(piece.order), piece.steps) == (True, 128, 16, 12)
    np.testing.assert_array_equal(trained_on([piece]), np.stack([ROWS[BATCHES], TARGETS[BATCHES]], axis=1)[..., 0])


@pytest.mark.parametrize("lengths", [(1,), (64,), (63, 2), (64, 64), (10, 0, 150, 40), (200, 1)])
@pytest.mark.parametrize("room", [1, 64, 128, 1000])
@pytest.mark.parametrize("whole", [True, False])
def test_all_rows_of_all_parts_are_predicted_in_order_and_none_twice(monkeypatch, lengths, room, whole):
    monkeypatch.setattr(pieces, "PREDICTION_BYTES", room * 4)
    rows = np.arange(1, sum(lengths) + 1, dtype=np.float32)[:, None]
    parts = np.split(rows, np.cumsum(lengths)[:-1])
    found = list(prediction_pieces(parts, whole))
    assert len({len(piece) for piece, _ in found}) == 1, "compiled once"
    assert all(batches * PREDICT_BATCH <= len(piece) for piece, batches in found)
    predicted = np.concatenate([piece[: batches * PREDICT_BATCH] for piece, batches in found])
    np.testing.assert_array_equal(filled(rows, len(predicted)), predicted)
    assert len(predicted) - len(rows) < PREDICT_BATCH, "no batch for nothing"
