import keras
import numpy as np
import pytest

from tumorcls.inference.activation_map import Explainer, explainer_of, overlay
from tumorcls.model.backbone import build_backbone, build_classifier, logits_of
from tumorcls.model.calibration import softmax


@pytest.fixture(scope="module")
def network():
    backbone = build_backbone(64, "none")
    head = keras.layers.Dense(4)
    head.build((None, 1280))
    return build_classifier(backbone, head, 0.0)


def test_answers_are_the_networks_own_and_maps_average_to_the_logit(network):
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3)).astype(np.uint8)
    explained = Explainer(network).explain(images)
    np.testing.assert_allclose(explained.probabilities, np.asarray(network.predict_on_batch(images)), rtol=1e-4)
    assert explained.maps.shape == (3, 2, 2)
    assert explained.maps.min() >= 0
    assert explained.maps.max() <= 1
    # Without the cut at 0 the mean over the map is the logit: that is why no gradient is needed.
    inner = [network.get_layer(name).output for name in ("top_activation", "logits")]
    features, logits = keras.Model(network.input, inner)(images)
    kernel = np.asarray(network.get_layer("logits").kernel)
    np.testing.assert_allclose((np.asarray(features) @ kernel).mean(axis=(1, 2)), np.asarray(logits), atol=1e-3)


def test_a_network_that_is_asked_again_is_not_traced_again(network):
    kept = explainer_of(network, False)
    assert explainer_of(network, False) is kept
    assert explainer_of(network, True) is not kept
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype(np.uint8)
    before = kept.explain(images)
    dense = network.get_layer("logits")
    weights = dense.get_weights()
    dense.set_weights([-weights[0], -weights[1]])
    try:
        found, fresh = kept.explain(images), Explainer(network).explain(images)
    finally:
        dense.set_weights(weights)
    np.testing.assert_allclose(found.maps, fresh.maps, atol=1e-5)
    assert np.abs(found.maps - before.maps).max() > 0.1, "else it shows nothing"


@pytest.mark.slow  # what it builds stays in the process
def test_an_average_with_the_mirror_image_is_the_same_for_both_and_its_map_is_mirrored_back(network):
    images = np.random.default_rng(1).integers(0, 256, (3, 64, 64, 3)).astype(np.uint8)
    explainer = Explainer(network, mirror_average=True)
    there, back = explainer.explain(images), explainer.explain(images[:, :, ::-1])
    logits = [np.asarray(logits_of(network).predict_on_batch(seen)) for seen in (images, images[:, :, ::-1])]
    np.testing.assert_allclose(there.probabilities, softmax(np.mean(logits, axis=0)), atol=1e-5)
    np.testing.assert_allclose(there.probabilities, back.probabilities, atol=1e-5)
    np.testing.assert_allclose(there.maps, back.maps[:, :, ::-1], atol=1e-5)
    assert np.ptp(there.maps, axis=2).max() > 0.01, "a map that is the same on both sides shows nothing"


def test_overlay_colours_where_the_map_is_warm_and_nothing_else():
    image = np.full((60, 60, 3), 100, np.uint8)
    activation = np.zeros((3, 3), np.float32)
    activation[0, 0] = 1
    shown = overlay(image, activation)
    assert shown.shape == image.shape
    assert (shown[40:, 40:] == 100).all()
    assert np.abs(shown[5, 5].astype(int) - 100).max() > 30
