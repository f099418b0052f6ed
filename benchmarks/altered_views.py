"""Cached views whose images are altered by one layer more than the product has: pieces of `benchmarks.recipe`."""

from collections.abc import Callable
from dataclasses import asdict

import keras
import numpy as np
from keras import KerasTensor
from numpy.typing import NDArray

from benchmarks.random_filter import RandomFilter
from tumorcls.cache.arrays import Rows
from tumorcls.config.train_config import ViewRecipe
from tumorcls.data.dataset import ImageSet
from tumorcls.model.program import TrainingProgram, is_seed_state, predict, seed_state
from tumorcls.training.features import Features


def _random_filter() -> keras.layers.Layer:
    layer = RandomFilter(name="filter")
    layer.share.assign(0.5)
    return layer


def _augmix() -> keras.layers.Layer:
    """Without the operations that are among the unseen corruptions, as Hendrycks et al., ICLR 2020, leave theirs out.

    Keras draws chains and shares anew for each batch, and uses them for all of its images.
    """
    return keras.layers.AugMix(value_range=(0, 255), all_ops=False, name="augmix")


LAYERS: dict[str, Callable[[], keras.layers.Layer]] = {"random filter": _random_filter, "augmix": _augmix}
"""What may alter images, between augmentation and noise."""


class AlteredViews(keras.Model):
    """What a program draws of images for its cached views, with a layer between augmentation and noise."""

    def __init__(self, program: TrainingProgram, layer: keras.layers.Layer) -> None:
        """Takes a program's own layers, so that they have the ranges that it gives them."""
        super().__init__(name="altered_views")
        self.view: list[keras.layers.Layer] = [program._augment, layer, program._noise]
        self.frozen: keras.Model = program.folded

    def call(self, images: KerasTensor) -> KerasTensor:
        """Returns one view of each image."""
        for layer in self.view:
            images = layer(images, training=True)
        return images

    def draw(self, images: NDArray[np.uint8], seed: int) -> NDArray[np.float32]:
        """Returns activations of one view of each image, fixed by `seed`; see `TrainingProgram.draw_view`."""
        states = [variable for layer in self.view for variable in layer.variables if is_seed_state(variable)]
        seeds = np.random.SeedSequence(seed).generate_state(len(states)).tolist()
        for variable in states:
            variable.assign(seed_state(seeds.pop()))
        return predict(images, self.frozen, self)


def altered_view(features: Features, recipe: ViewRecipe, images: ImageSet, view: int, name: str) -> Rows:
    """Returns what `Features.training_view` does, with one of `LAYERS`."""
    extractor = AlteredViews(features.program, LAYERS[name]())

    def draw(rows: NDArray[np.uint8], first: int) -> NDArray[np.float32]:
        features.program.set_view_recipe(recipe)
        return extractor.draw(rows, seed=(view << 32) + first)

    content = {"content_of": images.key, "recipe": {**asdict(recipe), "altered": name}, "view": view}
    return features._activations(images.images, draw, f"cache, {name}, view {view + 1}", **content)
