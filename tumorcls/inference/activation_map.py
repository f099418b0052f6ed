"""Where a model looks: class activation maps, laid over the image.

Between the last convolution and the logits there are only global average pooling and one dense layer. For such a network
Grad-CAM (Selvaraju et al. 2017, "Grad-CAM", sec. 3) is class activation mapping (Zhou et al. 2016, "Learning Deep Features for
Discriminative Localization") up to a constant: the gradient of a logit is the dense layer's weight. So no gradient is needed,
and the maps are the same on every backend.

A map shows what spoke for a class. It does not outline a tumour.
"""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import keras
import numpy as np
from numpy.typing import NDArray

from tumorcls.model.backend import compiled_as_steps_are
from tumorcls.model.calibration import check_probabilities, mean_answer
from tumorcls.model.device_memory import USED_ELSEWHERE, naming_what_must_fit
from tumorcls.model.gate import gate_features
from tumorcls.model.tensorflow_internals import gradients_forgotten

_OPACITY = 0.45  # of the warmest colour


@dataclass(frozen=True)
class Explained:
    """What one pass through the network gives for n images.

    Attributes:
        probabilities: (n, k).
        maps: For each image the map of its likeliest class, (n, h, w) in [0, 1] at the size of the grid.
        gate_features: (n, features), what a gate judges, see `tumorcls.model.gate`.
    """

    probabilities: NDArray[np.float32]
    maps: NDArray[np.float32]
    gate_features: NDArray[np.float32]


class Explainer:
    """Answers and class activation maps in one pass through a saved network."""

    def __init__(self, network: keras.Model, *, mirror_average: bool = False) -> None:
        """Finds the features that the network pools: those of its last convolution, or of all its members'.

        The network is one of a `SavedModel`. With `mirror_average` an answer is that of the mean of an image's logits and its
        mirror image's.
        """
        self._dense = network.get_layer("logits")
        outputs = [network.get_layer("avg_pool").input, gate_features(network), self._dense.output, network.output]
        self._network = compiled_as_steps_are(keras.Model(network.input, outputs))
        self._mirror_average = mirror_average

    def explain(self, images: NDArray[np.uint8]) -> Explained:
        """Answers for uint8 RGB images (n, size, size, 3) in [0, 255].

        Raises:
            ModelError: An answer is not a probability for each class.
        """
        features, judged, logits, probabilities = self._outputs(images)
        if self._mirror_average:
            mirrored, _, others, _ = self._outputs(images[:, :, ::-1])
            features = (features + mirrored[:, :, ::-1]) / np.float32(2)
            probabilities = mean_answer(logits, others)
        check_probabilities(probabilities)
        kernel = np.asarray(keras.ops.convert_to_numpy(self._dense.kernel))
        weights = kernel[:, probabilities.argmax(axis=1)]  # (channels, n)
        maps = np.maximum(np.einsum("nhwc,cn->nhw", features, weights), 0)
        peaks = maps.max(axis=(1, 2), keepdims=True)
        return Explained(probabilities, (maps / np.where(peaks > 0, peaks, 1)).astype(np.float32), judged)

    @naming_what_must_fit("images that go through the network together", USED_ELSEWHERE)
    @gradients_forgotten()
    def _outputs(self, images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        return [np.asarray(output) for output in self._network.predict_on_batch(images)]


@lru_cache(maxsize=1)
def explainer_of(network: keras.Model, mirror_average: bool) -> Explainer:
    """Returns the `Explainer` of a network, and keeps the last one: a new one traces the network anew, which takes seconds."""
    return Explainer(network, mirror_average=mirror_average)


def overlay(image: NDArray[np.uint8], activation: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Lays a map, (h, w) in [0, 1], over its image, uint8 RGB (size, size, 3), and returns such an image.

    The warmer the colour, the more spoke for the class.
    """
    large = cv2.resize(activation, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    colours = cv2.applyColorMap((255 * large).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    share = (_OPACITY * large)[..., None]
    return ((1 - share) * image + share * colours).round().astype(np.uint8)
