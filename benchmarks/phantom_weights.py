"""Trains EfficientNetB0 on generated images from random weights, and writes the file behind `weights = "phantoms"`.

    python -m benchmarks.phantom_weights tumorcls/model/phantom_weights.h5

It is for a demo: its features know phantoms and nothing else. Takes a quarter of an hour on two cores. A seed fixes images,
first weights and order; the last bits of the result depend on the machine, so a test pins the hash of the file that is shipped.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import h5py
import keras
import numpy as np
from numpy.typing import NDArray

from tumorcls.data.images import fit_square
from tumorcls.data.labels import CLASSES
from tumorcls.data.phantom import render
from tumorcls.data.slices import Pixels
from tumorcls.files import replacing
from tumorcls.model.weights import load_weights, stored_names
from tumorcls.noise.layer import RandomNoise

SEED = 7919
"""Of the images, weights and order; no study here uses it."""

PROVENANCE = {
    "license": "MIT, as the package",
    "made_by": "benchmarks/phantom_weights.py",
    "trained_on": "images that tumorcls.data.phantom draws, from random weights",
}


@dataclass(frozen=True)
class Stage:
    """A part of the training, with a classifier and an optimizer of its own.

    Attributes:
        size: Side of its images in pixels.
        images: So many, as many of each class.
        epochs: Over all of them.
        rate: First learning rate of Adam; it falls to 0 along a half cosine.
        noise: Largest intensity of the noise that half of the images get.
    """

    size: int
    images: int
    epochs: int
    rate: float
    noise: float


STAGES = (Stage(32, 8_000, 6, 3e-3, noise=0.3), Stage(64, 4_000, 2, 1e-3, noise=0.0))
"""Small images first: an epoch of them takes a sixth of the time. Then large ones without noise, so that features are not used
to it: what noise in training is worth is for a study to find."""

BATCH_SIZE = 32


@click.command()
@click.argument("target", type=click.Path(path_type=Path))
@click.option(
    "--from-stage", type=click.IntRange(1, len(STAGES)), default=1, show_default=True, help="TARGET has those before."
)
@click.option("--seed", default=SEED, show_default=True)
def main(target: Path, from_stage: int, seed: int) -> None:
    """Trains and writes the weights without top to TARGET, anew after each epoch."""
    train(target, STAGES, from_stage - 1, seed)


def train(target: Path, stages: Sequence[Stage], first: int, seed: int) -> None:
    """Trains stage by stage, each from the weights that the one before has written.

    Args:
        target: The file; read where `first` is not 0.
        stages: What to do.
        first: Index of the stage to begin with.
        seed: Of images, weights and order.
    """
    pictures, labels = draw(max(stage.images for stage in stages), max(stage.size for stage in stages), seed)
    for number, stage in enumerate(stages[first:], first):
        keras.utils.set_random_seed(seed + number)
        backbone, model = build(stage, seed + number)
        if number > 0:
            load_weights(backbone, target)
        steps = stage.epochs * -(-stage.images // BATCH_SIZE)
        optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(stage.rate, steps))
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(optimizer, loss, metrics=["accuracy"], jit_compile=False)
        small = np.stack([fit_square(picture, stage.size) for picture in pictures[: stage.images]])
        written = WriteEachEpoch(backbone, target)
        model.fit(small, labels[: stage.images], BATCH_SIZE, stage.epochs, verbose=2, callbacks=[written])


def draw(images: int, size: int, seed: int) -> tuple[Pixels, NDArray[np.int32]]:
    """Draws phantoms as a study sees them: uint8 (images, size, size, 3) in [0, 255], and their class indices."""
    labels = np.arange(images, dtype=np.int32) % len(CLASSES)
    pictures = np.empty((images, size, size, 3), np.uint8)
    for number, label in enumerate(labels):
        picture = render(CLASSES[label], np.random.default_rng([seed, number]))
        pictures[number] = fit_square(np.repeat(picture[..., None], 3, axis=-1), size)
    return pictures, labels


def build(stage: Stage, seed: int) -> tuple[keras.Model, keras.Model]:
    """Builds the network with random weights, and the same with flips and noise before it and a classifier behind.

    Its stochastic depth is off: so few steps from random weights get further without it.
    """
    shape = (stage.size, stage.size, 3)
    backbone = keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=shape, pooling="avg")
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0
    noise = RandomNoise(clean_share=0.5, seed=seed)
    images = keras.Input(shape)
    features = backbone(noise(keras.layers.RandomFlip("horizontal", seed=seed)(images)))
    noise.max_intensity.assign(stage.noise)
    return backbone, keras.Model(images, keras.layers.Dense(len(CLASSES))(keras.layers.Dropout(0.2, seed=seed)(features)))


class WriteEachEpoch(keras.callbacks.Callback):
    """Lets a run that is ended early leave what it had."""

    def __init__(self, backbone: keras.Model, target: Path) -> None:
        """Takes what `write` does."""
        super().__init__()
        self._backbone, self._target = backbone, target

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:
        """Writes the weights."""
        write(self._backbone, self._target)


def write(backbone: keras.Model, target: Path) -> None:
    """Writes kernels in half precision, and what BatchNormalization learned, whose range is wider, in single."""
    with replacing(target) as stream, h5py.File(stream, "w") as file:
        file.attrs.update(PROVENANCE)
        for layer, name in zip(backbone.layers, stored_names(backbone), strict=True):
            for index, variable in enumerate(layer.weights):
                value = np.asarray(keras.ops.convert_to_numpy(variable))
                kept = value.astype(np.float16) if variable.name.endswith("kernel") else value
                file.create_dataset(f"layers/{name}/vars/{index}", data=kept)


if __name__ == "__main__":
    main()
