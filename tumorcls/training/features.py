"""Activations of the frozen part of the network, computed once and shared by all trials, workers and studies.

Most of a short fine-tuning run recomputes layers that never change. Here each augmented and noisy view of the training images,
and each clean or corrupted validation image, goes through the frozen part once; the result is kept as float16, keyed by all
that it depends on: the frozen weights, the backend, a GPU, the images, and how the view was drawn.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from tumorcls import activity
from tumorcls.cache.arrays import ArrayCache, Rows, content_key
from tumorcls.config.train_config import ViewRecipe
from tumorcls.data.dataset import ImageSet
from tumorcls.errors import WeightsError
from tumorcls.model.backend import gpu_name, keras_runs_on_jax
from tumorcls.model.pieces import PREDICT_BATCH
from tumorcls.model.program import TrainingProgram

VIEWS_VERSION = 5
"""Raised when the same recipe gives other activations, so that old entries are not taken for new ones."""


@dataclass(frozen=True)
class Features:
    """The frozen part of one program and the cache of what comes out of it."""

    program: TrainingProgram
    cache: ArrayCache

    def training_view(self, recipe: ViewRecipe, images: ImageSet, view: int, views: int = 0) -> Rows:
        """Returns activations of one augmented and noisy view of n training images, float16 of shape (n, ...), read-only.

        A view, counted from 0, does not depend on the trial's seed: trials share it. `views` is how many there are, where that
        is to be told.

        Raises:
            DataError: The cache cannot be written.
            WeightsError: An activation is not finite.
        """

        def draw(rows: NDArray[np.uint8], first: int) -> NDArray[np.float32]:
            self.program.set_view_recipe(recipe)
            return self.program.draw_view(rows, seed=(view << 32) + first)

        what = f"cache, view {view + 1}{f' of {views}' if views else ''}"
        return self._activations(images.images, draw, what, content_of=images.key, recipe=asdict(recipe), view=view)

    def of_images(self, images: Rows, key: str) -> Rows:
        """Returns activations of images as they are, float16 of shape (n, ...); `key` names the images' content."""
        run = self.program.frozen_activations
        return self._activations(images, lambda rows, _: run(rows), "cache, validation images", content_of=key)

    def _activations(
        self, images: Rows, run: Callable[[NDArray[np.uint8], int], NDArray[np.float32]], what: str, **content: object
    ) -> Rows:
        assert self.program.frozen is not None
        shape = (len(images), *self.program.frozen.output.shape[1:])

        def make() -> Iterator[NDArray[np.float16]]:
            with activity.counting(what, len(images)):
                for start in range(0, len(images), _CHUNK):
                    with np.errstate(over="ignore"):  # infinity is told below
                        activations = run(images[start : start + _CHUNK], start).astype(np.float16)
                    if not np.isfinite(activations).all():
                        raise WeightsError(
                            "weights: activations of the frozen part must be finite numbers of at most 65,504; got others. "
                            "The weights are damaged, or not those of EfficientNetB0: get the file again."
                        )
                    yield activations

        content |= {"backend": "jax"} if keras_runs_on_jax() else {}  # whose last digits are others than TensorFlow's
        content |= {"device": gpu} if (gpu := gpu_name()) else {}  # rounds what it multiplies to TF32, or adds in its own order
        key = content_key(version=VIEWS_VERSION, weights=self.program.frozen_sha256, shape=shape, **content)
        return self.cache.get(key, shape, np.float16, make)


_CHUNK = 8 * PREDICT_BATCH  # images whose float32 activations are in memory at once; what is drawn depends on where it begins
