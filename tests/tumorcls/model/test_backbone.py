from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras.initializers import VarianceScaling
from keras.src.initializers import random_initializers

from tumorcls.errors import WeightsError
from tumorcls.model.backbone import FROZEN_OUTPUT, build_backbone, set_batch_norm, split_backbone, weights_sha256

SIZE = 32
STD = np.array([0.229, 0.224, 0.225], np.float32)


@pytest.fixture(scope="module")
def backbone():
    return build_backbone(SIZE, "none")


@pytest.fixture(scope="module")
def batch():
    return np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3)).astype(np.float32)


def normalization(model):
    return next(layer for layer in model.layers if isinstance(layer, keras.layers.Normalization))


@pytest.mark.parametrize("trainable_from", FROZEN_OUTPUT)
def test_the_two_parts_together_are_the_network(backbone, trainable_from, batch):
    backbone.trainable = True  # an earlier cut froze a part
    whole = np.asarray(backbone(batch))
    frozen, trained = split_backbone(backbone, trainable_from)
    np.testing.assert_allclose(np.asarray(trained(frozen(batch))), whole, rtol=1e-4, atol=1e-5)
    assert frozen.trainable_variables == []
    assert (trained.trainable_variables == []) == (trainable_from == "head")


def test_all_freezes_nothing(backbone):
    frozen, trained = split_backbone(backbone, "all")
    assert frozen is None
    assert trained is backbone


def test_random_weights_are_the_same_everywhere_and_their_features_differ_between_images(backbone, batch):
    assert weights_sha256(backbone) == weights_sha256(build_backbone(SIZE, "none"))
    features = np.asarray(backbone(batch))
    assert features.std(axis=0).mean() > 0.01, "activations do not fade away"


def test_where_weights_are_read_none_is_drawn(backbone, tmp_path, monkeypatch):
    """On JAX each shape that is drawn is a program to compile: a minute, on a slow processor, for what is thrown away."""
    path = tmp_path / "some.weights.h5"
    backbone.save_weights(path)
    with monkeypatch.context() as context:
        context.setattr(random_initializers.random, "truncated_normal", None)
        loaded, phantoms = build_backbone(SIZE, str(path)), build_backbone(SIZE, "phantoms")
        with pytest.raises(TypeError):
            build_backbone(SIZE, "none")
    assert weights_sha256(loaded) == weights_sha256(backbone)
    plain = keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=(SIZE, SIZE, 3), pooling="avg")
    for model in (loaded, phantoms):
        described = [initializers(layer) for layer in model.layers]
        assert described == [initializers(layer) for layer in plain.layers], "a saved model says what Keras's says"
    assert {type(layer.kernel_initializer) for layer in loaded.layers if hasattr(layer, "kernel_initializer")} == {
        VarianceScaling
    }


def initializers(layer):
    return {name: value for name, value in layer.get_config().items() if "initializer" in name}


def test_kerass_own_file_by_path_normalises_as_keras_does(backbone, batch, tmp_path):
    # Keras's file holds std where the layer takes a variance, and Keras mends that only for weights="imagenet".
    layer = normalization(backbone)
    original = layer.get_weights()
    outputs = {}
    for name, variance in (("kerass", STD), ("squared", STD**2)):
        values = [np.full_like(v, 0.45) if i == 0 else variance if i == 1 else v for i, v in enumerate(original)]
        layer.set_weights(values)
        path = tmp_path / f"{name}.weights.h5"
        backbone.save_weights(path)
        loaded = build_backbone(SIZE, str(path))
        outputs[name] = np.asarray(normalization(loaded)(batch / 255))
    layer.set_weights(original)
    np.testing.assert_allclose(outputs["squared"], (batch / 255 - 0.45) / STD, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(outputs["kerass"], outputs["squared"], rtol=1e-4, atol=1e-4)


def test_weights_that_are_not_there_or_do_not_fit_are_one_line(tmp_path):
    for content in (b"no weights", b""):
        path = tmp_path / "bad.h5"
        path.write_bytes(content)
        with pytest.raises(WeightsError, match="must fit EfficientNetB0") as caught:
            build_backbone(SIZE, str(path))
        assert "\n" not in str(caught.value)
    with pytest.raises(WeightsError, match="does not exist"):
        build_backbone(SIZE, str(tmp_path / "missing.h5"))


def test_imagenet_offline_names_the_ways_out(monkeypatch):
    def offline(*args, **kwargs):
        raise Exception("URL fetch failure on https://example.org: None -- unreachable")

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", offline)
    with pytest.raises(WeightsError, match='weights = "none"') as caught:
        build_backbone(SIZE, "imagenet")
    assert "\n" not in str(caught.value)


def test_a_hash_does_not_hang_on_how_wide_integers_are():
    values = [np.ones((2, 3), np.float32), np.asarray(7)]
    wide, narrow = ([values[0], values[1].astype(width)] for width in (np.int64, np.int32))
    hashes = {weights_sha256(SimpleNamespace(get_weights=lambda given=given: given)) for given in (wide, narrow)}
    assert len(hashes) == 1
    assert weights_sha256(SimpleNamespace(get_weights=lambda: [values[0], np.asarray(8)])) not in hashes


def test_frozen_batch_norm_keeps_its_statistics(batch):
    backbone = build_backbone(SIZE, "none")
    _, trained = split_backbone(backbone, "block7")
    set_batch_norm(trained, "freeze")
    norm = backbone.get_layer("top_bn")
    before = [value.copy() for value in norm.get_weights()]
    backbone(batch, training=True)
    for old, new in zip(before, norm.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    set_batch_norm(trained, "train")
    backbone(batch, training=True)
    assert any((old != new).any() for old, new in zip(before, norm.get_weights(), strict=True))
