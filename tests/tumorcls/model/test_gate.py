import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from tumorcls.model.gate import MARGIN, Gate, GateLimit, fit_gate


@pytest.fixture(scope="module")
def features():
    """Features that vary along few directions, as a network's do: 12 of 40, and a little along the others."""
    generator = np.random.default_rng(0)
    mixing = generator.normal(size=(12, 40))
    return 3 + generator.normal(size=(3000, 12)) @ mixing + 0.2 * generator.normal(size=(3000, 40))


def test_slices_pass_and_what_lies_elsewhere_does_not(features):
    gate = fit_gate(features[:1000], features[1000:2000])
    assert gate.passes(features[2000:]).mean() >= 0.99
    assert gate.limit.passed >= 0.995
    generator = np.random.default_rng(1)
    assert not gate.passes(3 + 5 * generator.normal(size=(100, 40))).any()  # about as large, but in other directions
    assert not gate.passes(3 + 6 * (features[2000:2100] - 3)).any()  # the same directions, too far


def test_distances_are_those_of_scikit_learn(features):
    train = features[:500]
    gate = fit_gate(train, features[500:1000])
    scaled = (features - train.mean(axis=0)) / train.std(axis=0)
    nearest = NearestNeighbors(n_neighbors=1).fit(scaled[:500])
    np.testing.assert_allclose(gate.distances(features[1000:1100]), nearest.kneighbors(scaled[1000:1100])[0][:, 0], rtol=5e-3)
    own = nearest.kneighbors(scaled[500:1000])[0][:, 0]
    assert gate.limit.distance == pytest.approx(MARGIN * np.quantile(own, 0.995, method="higher"), rel=5e-3)


def test_few_images_are_enough_and_alike_ones_too():
    generator = np.random.default_rng(0)
    few = generator.normal(size=(6, 40))
    assert fit_gate(few, few[:3] + 0.01).passes(few).all()
    alike = fit_gate(np.ones((6, 40)), np.ones((6, 40)))
    assert alike.passes(np.ones((1, 40))).all()
    assert not alike.passes(few).any()


def test_a_gate_of_one_image_by_hand():
    gate = Gate(np.array([[1.0, 2.0], [2.0, 0.5], [1.0, 0.0]], np.float16), GateLimit(distance=5.0, passed=1.0))
    np.testing.assert_allclose(gate.distances(np.array([[3.0, 2.0], [9.0, 4.0]])), [0.0, 5.0])
    np.testing.assert_allclose(gate.distances(np.array([[9.0, 4.0, 7.0]])), [5.0], err_msg="the first features count")
    assert gate.passes(np.array([[9.0, 4.0], [9.0, 4.1]])).tolist() == [True, False]
