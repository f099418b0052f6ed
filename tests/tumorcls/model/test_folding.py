import keras
import numpy as np
import pytest
from keras import layers

from tumorcls.model.backbone import FROZEN_OUTPUT, build_backbone, split_backbone, weights_sha256
from tumorcls.model.folding import fold_batch_norm

SIZE = 32


@pytest.fixture(scope="module")
def backbone():
    return build_backbone(SIZE, "phantoms")


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3)).astype(np.float32)


def of_kind(network, kind):
    return [layer for layer in network.layers if isinstance(layer, kind)]


def drawn(network):
    """Gives the statistics and the scale of each normalisation values that do something."""
    rng = np.random.default_rng(1)
    for layer in of_kind(network, layers.BatchNormalization):
        layer.set_weights([rng.uniform(0.5, 2.0, weight.shape) for weight in layer.get_weights()])
    return network


@pytest.mark.parametrize("trainable_from", FROZEN_OUTPUT)
def test_each_frozen_part_gives_the_same_without_a_normalisation(backbone, images, trainable_from):
    frozen, _ = split_backbone(backbone, trainable_from)
    before = weights_sha256(backbone)
    folded = fold_batch_norm(frozen)
    np.testing.assert_allclose(np.asarray(folded(images)), np.asarray(frozen(images)), rtol=1e-4, atol=1e-4)
    assert of_kind(frozen, layers.BatchNormalization)
    assert of_kind(folded, layers.BatchNormalization | layers.Dropout) == []
    assert folded.trainable_variables == []
    assert weights_sha256(backbone) == before
    assert frozen.output is backbone.get_layer(FROZEN_OUTPUT[trainable_from]).output, "the network can be cut there again"


def test_what_does_more_than_scale_a_convolution_stays():
    inputs = keras.Input((8, 8, 4))
    normed = layers.BatchNormalization()(inputs)  # after no convolution
    biased = layers.BatchNormalization()(layers.Conv2D(4, 3, use_bias=True, bias_initializer="ones")(normed))
    read_twice = layers.Conv2D(4, 3, use_bias=False)(biased)
    both = layers.add([layers.BatchNormalization()(read_twice), read_twice])
    bent = layers.BatchNormalization()(layers.Activation("relu")(layers.DepthwiseConv2D(1, use_bias=False)(both)))
    network = drawn(keras.Model(inputs, bent))
    folded = fold_batch_norm(network)
    batch = np.random.default_rng(2).normal(size=(2, 8, 8, 4)).astype(np.float32)
    np.testing.assert_allclose(np.asarray(folded(batch)), np.asarray(network(batch)), rtol=1e-5, atol=1e-6)
    assert len(of_kind(folded, layers.BatchNormalization)) == 4


def test_a_convolution_that_is_the_output_too_stays():
    inputs = keras.Input((8, 8, 4))
    seen = layers.Conv2D(4, 3, use_bias=False)(inputs)
    network = drawn(keras.Model(inputs, [seen, layers.BatchNormalization()(seen)]))
    batch = np.random.default_rng(2).normal(size=(2, 8, 8, 4)).astype(np.float32)
    for one, other in zip(fold_batch_norm(network)(batch), network(batch), strict=True):
        np.testing.assert_allclose(np.asarray(one), np.asarray(other), rtol=1e-5, atol=1e-6)


def test_weights_that_are_no_numbers_are_folded_in_silence_into_no_numbers():
    inputs = keras.Input((8, 8, 4))
    network = keras.Model(inputs, layers.BatchNormalization()(layers.DepthwiseConv2D(3, use_bias=False)(inputs)))
    network.layers[-1].set_weights([np.full(4, value, np.float32) for value in (3e38, 0, np.inf, -1e30)])
    answers = np.asarray(fold_batch_norm(network)(np.ones((1, 8, 8, 4), np.float32)))
    assert np.isnan(answers).all()
