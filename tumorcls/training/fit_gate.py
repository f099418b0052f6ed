"""Fits the gate of a trained network: where training images lie, clean and noisy, and how far off validation images do."""

import keras
import numpy as np
from numpy.typing import NDArray

from tumorcls import activity
from tumorcls.config.train_config import TrainConfig
from tumorcls.data.dataset import ImageSet, stratified_subset
from tumorcls.model.backend import compiled_as_steps_are
from tumorcls.model.gate import Gate, fit_gate, gate_features
from tumorcls.model.program import predict
from tumorcls.noise.severity import SEVERITY_LEVELS, corrupt

MOST_IMAGES = 500
"""Training images that are looked at: a stratified subset. With its noisy copies it takes 2.9 MB of the model's file."""

_SEED = 1  # another than that of the corruptions that test images are measured with


def fit_classifier_gate(network: keras.Model, config: TrainConfig, train: ImageSet, validation: ImageSet) -> Gate:
    """Returns the gate of a classifier from images to probabilities (see `Fitted.classifier`).

    `train` is what the classifier was trained on; `validation` chooses the limit. The config names the noises that slices may
    have.
    """
    extractor = gate_extractor(network)
    train = train.rows(stratified_subset(train.labels, MOST_IMAGES))
    copies = 2 if config.measured_noises else 1
    with activity.counting("gate", copies * (len(train.labels) + len(validation.labels))):
        return fit_gate(*(_clean_and_noisy(extractor, config, images) for images in (train, validation)))


def gate_extractor(network: keras.Model) -> keras.Model:
    """Returns the part of a classifier from images (n, size, size, 3) to what a gate judges of them, (n, features)."""
    return compiled_as_steps_are(keras.Model(network.input, gate_features(network)))


def _clean_and_noisy(extractor: keras.Model, config: TrainConfig, part: ImageSet) -> NDArray[np.float32]:
    clean = predict(part.images, extractor)
    kinds = config.measured_noises
    if not kinds:
        return clean
    which = np.arange(len(part.labels))
    noisy = np.empty_like(clean)
    for number, kind in enumerate(kinds):
        for level in SEVERITY_LEVELS:
            rows = which[(which % len(kinds) == number) & (which // len(kinds) % len(SEVERITY_LEVELS) == level - 1)]
            keys = [part.keys[row] for row in rows]
            if len(rows):
                noisy[rows] = predict(corrupt(part.images[rows], kind, level, _SEED, keys), extractor)
    return np.concatenate([clean, noisy])
