import keras
import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError
from sklearn.neighbors import NearestNeighbors

from tumorcls.model.backbone import FROZEN_OUTPUT
from tumorcls.model.gate import FEATURES, PICTURE, Gate, GateLimit, fit_gate, gate_features


@pytest.fixture(scope="module")
def features():
    """Features that vary along few directions, as a network's do: 12 of 40, and a little along the others; so do pictures."""
    generator = np.random.default_rng(0)
    mixing = generator.normal(size=(12, 40 + PICTURE))
    return 3 + generator.normal(size=(6000, 12)) @ mixing + 0.2 * generator.normal(size=(6000, 40 + PICTURE))


def test_slices_pass_and_what_lies_elsewhere_does_not(features):
    gate = fit_gate(features[:1000], features[1000:3000])
    assert gate.passes(features[3000:]).mean() >= 0.99
    assert 0.995 <= gate.limit.passed == gate.passes(features[1000:3000]).mean() < 1
    other = 3 + 5 * np.random.default_rng(1).normal(size=(100, 40 + PICTURE))  # about as large, but in other directions
    too_far = 3 + 6 * (features[3000:3100] - 3)  # the same directions
    assert not gate.passes(other).any()
    assert not gate.passes(too_far).any()
    for part in (slice(40), slice(40, None)):  # each is enough
        half = features[3000:3100].copy()
        half[:, part] = too_far[:, part]
        assert not gate.passes(half).any()


def test_distances_are_those_of_scikit_learn(features):
    train = features[:500]
    gate = fit_gate(train, features[500:1000])
    scaled = (features - train.mean(axis=0)) / train.std(axis=0)
    distances = gate.distances(features[1000:1100])
    for number, (part, margin) in enumerate(((slice(40), 1.03), (slice(40, None), 1.1))):  # as docs/no-slice.md says
        nearest = NearestNeighbors(n_neighbors=1).fit(scaled[:500, part])
        np.testing.assert_allclose(distances[:, number], nearest.kneighbors(scaled[1000:1100, part])[0][:, 0], rtol=5e-3)
        own = nearest.kneighbors(scaled[500:1000, part])[0][:, 0]
        limit = margin * np.quantile(own, 0.995, method="higher")
        assert gate.limit.distances[number] == pytest.approx(limit, rel=5e-3)


def test_few_images_are_enough_and_alike_ones_too():
    generator = np.random.default_rng(0)
    few = generator.normal(size=(6, 40 + PICTURE))
    assert fit_gate(few, few[:3] + 0.01).passes(few).all()
    alike = fit_gate(np.ones((6, 40 + PICTURE)), np.ones((6, 40 + PICTURE)))
    assert alike.passes(np.ones((1, 40 + PICTURE))).all()
    np.testing.assert_allclose(alike.space[1], 1e-3, rtol=1e-3, err_msg="what never varies is not divided by nothing")
    assert alike.limit.distances == (1e-3, 1e-3)
    assert not alike.passes(few).any()


def test_a_gate_of_one_image_by_hand():
    gate = Gate(np.array([[1.0, 2.0], [2.0, 0.5], [1.0, 0.0]], np.float16), GateLimit(distance=5.0, passed=1.0))
    np.testing.assert_allclose(gate.distances(np.array([[3.0, 2.0], [9.0, 4.0]])), [[0.0], [5.0]])
    np.testing.assert_allclose(gate.distances(np.array([[9.0, 4.0, 7.0]])), [[5.0]], err_msg="the first features count")
    assert gate.passes(np.array([[9.0, 4.0], [9.0, 4.1]])).tolist() == [True, False]


def test_a_picture_needs_room_beside_the_network():
    assert GateLimit(1.0, 1.0, PICTURE + 1, picture=2.0).distances == (1.0, 2.0)
    with pytest.raises(ValueError, match=f"features must be above {PICTURE} .*; got {PICTURE}"):
        GateLimit(1.0, 1.0, PICTURE, picture=2.0)


def test_it_looks_at_how_strong_and_how_uneven_channels_are_and_at_where():
    keras.utils.set_random_seed(0)
    image = keras.Input((24, 24, 3))
    block5 = keras.layers.Conv2D(112, 4, 4, name=FROZEN_OUTPUT["block6"])(image)  # 6 x 6: 2 x 2 in each of nine parts
    block6 = keras.layers.Conv2D(192, 2, 2, name=FROZEN_OUTPUT["block7"])(block5)
    network = keras.Model(image, block6)
    pictures = np.random.default_rng(0).uniform(0, 255, (2, 24, 24, 3)).astype(np.float32)
    looked_at, before, after = keras.Model(image, [gate_features(network), block5, block6])(pictures)
    found, before, after = (np.asarray(part, np.float64) for part in (looked_at, before, after))
    assert found.shape == (2, FEATURES)
    places = before.reshape(2, 3, 2, 3, 2, 112).mean(axis=(2, 4)).reshape(2, -1)
    wanted = np.concatenate([after.mean(axis=(1, 2)), after.std(axis=(1, 2)), places], axis=1)
    np.testing.assert_allclose(found[:, :-PICTURE], wanted, rtol=1e-3, atol=1e-3)


SOUND = {"distance": 20.0, "passed": 0.99, "features": FEATURES, "picture": 3.0}


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        *(("distance", value) for value in (0.0, -1.0, float("inf"), float("nan"))),
        *(("picture", value) for value in (0.0, float("inf"))),
        *(("passed", value) for value in (-0.1, 1.1)),
        *(("features", value) for value in (0, FEATURES + 1)),
    ],
)
def test_a_limit_of_a_file_must_be_one_that_something_can_lie_beyond(name, wrong):
    limits = TypeAdapter(GateLimit)
    assert limits.validate_python(SOUND) == GateLimit(**SOUND)
    with pytest.raises(ValidationError, match=name):
        limits.validate_python({**SOUND, name: wrong})
