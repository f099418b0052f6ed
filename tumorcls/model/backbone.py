"""The network: EfficientNetB0, split where training begins, and the model that is saved.

Input everywhere: RGB images of shape (n, size, size, 3), uint8 or float32 in [0, 255]. EfficientNet rescales inside
(M. Tan and Q. V. Le, EfficientNet, ICML 2019), so nothing outside divides by 255.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
from keras import KerasTensor
from numpy.typing import NDArray

from tumorcls.config.train_config import TrainableFrom
from tumorcls.data.labels import CLASSES
from tumorcls.data.phantom import render
from tumorcls.errors import WeightsError, reason
from tumorcls.model.backend import pin_settings
from tumorcls.model.weights import check_weights, load_weights

FROZEN_OUTPUT: dict[TrainableFrom, str] = {
    "block2": "block1a_project_bn",
    "block3": "block2b_add",
    "block4": "block3b_add",
    "block5": "block4c_add",
    "block6": "block5c_add",
    "block7": "block6d_add",
    "head": "avg_pool",
}
"""Last layer of the frozen part for each place where training may begin; the block's output, never inside a block."""

_IMAGENET_STD = (0.229, 0.224, 0.225)
SHORT_RUN_MOMENTUM = 0.9
"""Of BatchNormalization's moving statistics. EfficientNet's 0.99 still holds a third of its first values after 100 steps, which
is all that a short run on a small set has."""

_RANDOM_WEIGHTS_SEED = 0

PHANTOM_WEIGHTS = Path(__file__).with_name("phantom_weights.h5")
"""Of `weights = "phantoms"`: trained by `benchmarks/phantom_weights.py` on generated images alone, from random weights."""


def build_backbone(image_size: int, weights: str) -> keras.Model:
    """Builds EfficientNetB0 without top, ending in global average pooling: from images (n, size, size, 3) to (n, 1280).

    Weights are `imagenet`, `phantoms` (trained on generated images, in this package), `none` (random, the same everywhere), or
    the path of a weights file without top.

    Raises:
        WeightsError: The weights are not there, cannot be downloaded or do not fit.
    """
    if weights == "none":
        keras.utils.set_random_seed(_RANDOM_WEIGHTS_SEED)
        backbone = _efficientnet(image_size, drawn=True)
        _calibrate(backbone, image_size)
        return backbone
    if weights == "imagenet":
        try:
            backbone = _efficientnet(image_size, "imagenet")
        except Exception as error:  # Keras raises a bare Exception where a download fails
            raise WeightsError(
                f'weights: "imagenet" must be in Keras\'s cache or reachable; {reason(error)}. '
                'Go online once, name a weights file by its path, or use weights = "none" (random); "phantoms" are for a demo.'
            ) from None
        check_weights(backbone)
        return backbone
    path = PHANTOM_WEIGHTS if weights == "phantoms" else Path(weights).expanduser()
    if not path.is_file():
        raise WeightsError(
            f'weights: must be "imagenet", "phantoms", "none" or the path of a file; got {weights!r}, which does not exist. '
            "Check the path, and the environment variable in it where there is one."
        )
    backbone = _efficientnet(image_size)
    load_weights(backbone, path)
    _square_keras_variance(backbone)
    return backbone


def _efficientnet(image_size: int, weights: str | None = None, *, drawn: bool = False) -> keras.Model:
    """Builds it with its kernels `drawn` at random, or else with whatever is quickest, since others are put into them."""
    pin_settings()
    with keras.saving.custom_object_scope({} if drawn else {"VarianceScaling": _Undrawn}):
        backbone = keras.applications.EfficientNetB0(
            include_top=False, weights=weights, input_shape=(image_size, image_size, 3), pooling="avg"
        )
    for layer in backbone.layers:
        for initializer in vars(layer).values():
            if isinstance(initializer, _Undrawn):
                initializer.__class__ = keras.initializers.VarianceScaling  # what a saved model says of it
    return backbone


class _Undrawn(keras.initializers.VarianceScaling):
    """Makes zeros: JAX compiles a program for each shape that is drawn, which takes ten times as long as all else here."""

    def __call__(self, shape: Sequence[int], dtype: str | None = None) -> NDArray[Any]:
        return np.zeros(shape, dtype)


def _calibrate(backbone: keras.Model, image_size: int) -> None:
    """Gives BatchNormalization statistics to random weights, so that activations do not fade away on their way to the top.

    One pass over fixed phantoms in training mode, after which each layer normalises what it gets from the one before
    (a data-dependent initialisation; Mishkin and Matas, All you need is a good init, ICLR 2016). Without it the features of a
    frozen random network are all but constant.
    """
    slices = [
        render(CLASSES[i % len(CLASSES)], np.random.default_rng([_RANDOM_WEIGHTS_SEED, i]), image_size) for i in range(64)
    ]
    images = np.repeat(np.stack(slices)[..., None], 3, axis=-1).astype(np.float32)
    layers = [layer for layer in backbone.layers if isinstance(layer, keras.layers.BatchNormalization)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
    _run_once(backbone, images)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum


def _run_once(model: keras.Model, images: NDArray[np.float32]) -> None:
    """Calls each layer once, in training mode.

    An output is kept until its last use: `model(images)` would keep all of them, 3 GiB for 64 images of 150 pixels, which
    TensorFlow's allocator never gives back.
    """
    layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    uses = Counter(id(tensor) for layer in layers for tensor in keras.tree.flatten(layer.input))
    outputs: dict[int, Any] = {id(model.inputs[0]): keras.ops.convert_to_tensor(images)}
    for layer in layers:
        inputs = [outputs[id(tensor)] for tensor in keras.tree.flatten(layer.input)]
        outputs[id(layer.output)] = layer(inputs if len(inputs) > 1 else inputs[0], training=True)
        for tensor in keras.tree.flatten(layer.input):
            uses[id(tensor)] -= 1
            if not uses[id(tensor)]:
                del outputs[id(tensor)]


def _square_keras_variance(backbone: keras.Model) -> None:
    """Makes Keras's own ImageNet file, loaded by path, normalise as it does when Keras loads it.

    That file stores the standard deviation where the layer expects the variance, and Keras adds a Rescaling layer by
    1/sqrt(std) only for `weights="imagenet"`. Both together are (x - mean) / std, which is what variance = std² gives.
    """
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.Normalization):
            for variable in layer.variables:
                value = np.asarray(keras.ops.convert_to_numpy(variable)).ravel()
                if variable.name == "variance" and value.shape == (3,) and np.allclose(value, _IMAGENET_STD, atol=2e-3):
                    variable.assign(np.square(np.asarray(keras.ops.convert_to_numpy(variable))))
    finalize_normalization(backbone)


def finalize_normalization(network: keras.Model) -> None:
    """Has a network normalise by the statistics that were put into it: its layer keeps what it worked out of those before."""
    for layer in network.layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()


def split_backbone(backbone: keras.Model, trainable_from: TrainableFrom) -> tuple[keras.Model | None, keras.Model]:
    """Returns a network's frozen part (None for `all`) and the part that is trained, which for `head` only passes its input on.

    They meet at the output of the last frozen block.
    """
    if trainable_from == "all":
        return None, backbone
    cut: KerasTensor = backbone.get_layer(FROZEN_OUTPUT[trainable_from]).output
    frozen = keras.Model(backbone.input, cut, name="frozen")
    frozen.trainable = False
    if trainable_from == "head":
        passed = keras.Input(cut.shape[1:], name="features")
        return frozen, keras.Model(passed, passed, name="trained")
    return frozen, keras.Model(cut, backbone.output, name="trained")


def set_batch_norm(model: keras.Model, mode: Literal["train", "freeze"]) -> None:
    """Decides what a model's BatchNormalization layers do in training.

    ``freeze`` keeps them in inference mode, as Keras's transfer-learning guide advises for small data. ``train`` lets them
    follow the data, with a momentum of `SHORT_RUN_MOMENTUM`.
    """
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = mode == "train"
            layer.momentum = SHORT_RUN_MOMENTUM


def batch_norm_statistics(model: keras.Model) -> list[keras.Variable]:
    """Returns the moving statistics that training changes: none where `set_batch_norm` froze them."""
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable]
    return [variable for layer in layers for variable in layer.non_trainable_variables]


def build_network(image_size: int, classes: int, *, imagenet: bool) -> keras.Model:
    """Builds the structure of a saved model for square images of `image_size` pixels; the weights of its file are given to it.

    With `imagenet` training began with `weights = "imagenet"`, for which Keras rescales once more after normalising.
    """
    backbone = _efficientnet(image_size)
    if imagenet:
        backbone = keras.models.clone_model(backbone, call_function=_rescaled)
    head = keras.layers.Dense(classes)
    head.build((None, backbone.output_shape[-1]))
    return build_classifier(backbone, head, dropout=0.0)


def _rescaled(layer: keras.layers.Layer, *args: Any, **kwargs: Any) -> Any:
    output = layer(*args, **kwargs)
    if not isinstance(layer, keras.layers.Normalization):
        return output
    return keras.layers.Rescaling([1.0 / math.sqrt(deviation) for deviation in _IMAGENET_STD])(output)


def build_classifier(backbone: keras.Model, head: keras.layers.Dense, dropout: float, temperature: float = 1.0) -> keras.Model:
    """Builds the model that is saved: plain Keras layers only, so that Keras alone can load it.

    It is made of what `build_backbone` gave, trained, and the trained dense layer from its features to logits, and goes from
    images in [0, 255] to probabilities (n, classes). The rate of dropout between them is in force only if it is trained
    further. The temperature divides the logits (see `tumorcls.model.calibration`); the dense layer's weights take it in.
    """
    features = keras.layers.Dropout(dropout, name="dropout")(backbone.output)
    dense = keras.layers.Dense(head.units, name="logits")
    logits = dense(features)
    dense.set_weights([weight / np.float32(temperature) for weight in head.get_weights()])
    return keras.Model(backbone.input, keras.layers.Softmax(name="probabilities")(logits), name="tumorcls")


def logits_of(network: keras.Model) -> keras.Model:
    """Returns what `build_classifier` made without its last layer: a model from images to calibrated logits."""
    return keras.Model(network.input, network.get_layer("logits").output)


def weights_sha256(model: keras.Model) -> str:
    """Returns a hash of all weights of a model, in order, the same on every backend, whose integers differ in width."""
    digest = hashlib.sha256()
    for value in model.get_weights():
        digest.update(str(value.shape).encode())
        digest.update(np.ascontiguousarray(value, np.int64 if value.dtype.kind in "iu" else None).tobytes())
    return digest.hexdigest()
