"""Activations of the frozen part of the network, computed once and shared by all trials, workers and studies.

Most of a short fine-tuning run recomputes layers that never change. Here each augmented and noisy view of the training images,
and each clean or corrupted validation image, goes through the frozen part once; the result is kept as float16, keyed by all
that it depends on: the frozen weights, the images, and how the view was drawn.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tumorcls.array_cache import ArrayCache, content_key
from tumorcls.config import TrainConfig
from tumorcls.dataset import ImageSet
from tumorcls.program import PREDICT_BATCH, Program

# Raised when the same recipe gives other activations, so that old entries are not taken for new ones.
_VERSION = 1


@dataclass(frozen=True)
class Features:
    """The frozen part of one program and the cache of what comes out of it."""

    program: Program
    cache: ArrayCache

    def training_view(self, config: TrainConfig, images: ImageSet, view: int) -> NDArray[np.float16]:
        """Returns activations of one augmented and noisy view of each training image.

        Args:
            config: Gives the noise and the augmentation; its other fields do not matter.
            images: n training images.
            view: Which of the draws, in [0, `config.views`). A view does not depend on the trial's seed: trials share it.

        Returns:
            float16, shape (n, ...), a read-only memory map.
        """
        recipe = config.model_dump(include=_VIEW_FIELDS, mode="json")

        def draw(rows: NDArray[np.uint8], first: int) -> NDArray[np.float32]:
            return self.program.draw_view(rows, seed=(view << 32) + first)

        self.program.set_view_recipe(config)
        return self._activations(images.images, draw, content_of=images.key, recipe=recipe, view=view)

    def of_images(self, images: NDArray[np.uint8], key: str) -> NDArray[np.float16]:
        """Returns activations of images as they are, float16 of shape (n, ...); `key` names the images' content."""
        return self._activations(images, lambda rows, _: self.program.frozen_activations(rows), content_of=key)

    def _activations(
        self, images: NDArray[np.uint8], run: Callable[[NDArray[np.uint8], int], NDArray[np.float32]], **content: object
    ) -> NDArray[np.float16]:
        assert self.program.frozen is not None
        shape = (len(images), *self.program.frozen.output.shape[1:])

        def fill(array: NDArray[np.float16]) -> None:
            for first in range(0, len(images), _CHUNK):
                array[first : first + _CHUNK] = run(images[first : first + _CHUNK], first)

        key = content_key(version=_VERSION, weights=self.program.frozen_sha256, shape=shape, **content)
        return self.cache.get(key, shape, np.float16, fill)


_VIEW_FIELDS = {
    "noise_intensity",
    "noises",
    "clean_share",
    "rotation_degrees",
    "width_shift",
    "height_shift",
    "horizontal_flip",
}
_CHUNK = 8 * PREDICT_BATCH  # images whose float32 activations are in memory at once
