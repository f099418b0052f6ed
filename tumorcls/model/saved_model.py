"""A trained model on disk: Keras's own `.keras` file, with the label order and the provenance inside."""

import io
import os
import zipfile
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from tumorcls.errors import DataError, ModelError
from tumorcls.files import is_special, write_whole
from tumorcls.model.backbone import build_network, logits_of, weights_sha256
from tumorcls.model.calibration import check_probabilities, mean_answer
from tumorcls.model.device_memory import USED_ELSEWHERE, naming_what_must_fit
from tumorcls.model.ensemble import build_ensemble
from tumorcls.model.folding import fold_batch_norm
from tumorcls.model.keras_internals import write_network
from tumorcls.model.model_file import CARD, GATE, Card, check_members, load_weights, parse_card, read_model_file
from tumorcls.model.pieces import images_together
from tumorcls.model.tensorflow_internals import gradients_forgotten


@dataclass(frozen=True)
class SavedModel(Card):
    """A classifier and what it needs to be used right: all that its card says.

    Attributes:
        network: From images (n, size, size, 3) in [0, 255] to probabilities (n, len(classes)); with `config.mirror_average`
            of these images alone, see `predict`.
    """

    network: keras.Model = field(kw_only=True)

    @property
    def sha256(self) -> str:
        """Hash of all weights: names the model in an evaluation and on its card."""
        return weights_sha256(self.network)

    def predict(self, images: NDArray[np.uint8], batch_size: int | None = None) -> NDArray[np.float32]:
        """Returns probabilities of shape (n, len(classes)) for uint8 RGB images of shape (n, size, size, 3).

        `batch_size` of them go through the network together; without it as many as take the least time, see `images_together`.
        Results of another size differ in their last digits.

        Raises:
            ModelError: The images are others, or an answer is not a probability for each class.
        """
        side = self.config.image_size
        if images.dtype != np.uint8 or images.shape[1:] != (side, side, 3) or not len(images):
            raise ModelError(
                f"images: must be uint8 in [0, 255] of shape (n, {side}, {side}, 3), n > 0; "
                f"got {images.dtype} of shape {images.shape}. Do not divide by 255."
            )
        size = batch_size or images_together(self.config.image_size)
        batches = [images[first : first + size] for first in range(0, len(images), size)]
        return np.concatenate([self._answer(batch) for batch in batches])

    @naming_what_must_fit("images that go through the network together", USED_ELSEWHERE)
    @gradients_forgotten()
    def _answer(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        if not self.config.mirror_average:
            return check_probabilities(np.asarray(self._folded.predict_on_batch(images)))
        both = (np.asarray(self._logits.predict_on_batch(seen)) for seen in (images, images[:, :, ::-1]))
        return check_probabilities(mean_answer(*both))

    @cached_property
    def _folded(self) -> keras.Model:
        return fold_batch_norm(self.network)

    @cached_property
    def _logits(self) -> keras.Model:
        return fold_batch_norm(logits_of(self.network))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the model; Keras alone can load it too. The file appears whole or not at all.

        Raises:
            DataError: The path cannot be written or does not end in `.keras`.
        """
        path = Path(path)
        check_target(path)
        card, space = self.to_json(), None if self.gate is None else self.gate.space.astype("<f2").tobytes()
        parse_card(card, space, str(path))  # what could not be opened again is not written
        content = io.BytesIO()  # a network of some megabytes; Keras itself would write to its place bit by bit
        write_network(self.network, content)
        with zipfile.ZipFile(content, "a") as archive:
            archive.writestr(CARD, card)
            if space is not None:
                archive.writestr(GATE, space)
        write_whole(path, content.getvalue())


def check_target(path: Path) -> None:
    """Refuses a name that no model can be saved under: before the training rather than after it.

    Raises:
        DataError: The path does not end in `.keras`.
    """
    if path.suffix != ".keras" and not is_special(path):
        raise DataError(f"{path}: a model's file must end in .keras; got {path.suffix!r}. Rename it.")


def load_model(path: str | os.PathLike[str]) -> SavedModel:
    """Loads a model that `SavedModel.save` wrote. Nothing in the file is executed: its graph is built here, see `model_file`.

    Raises:
        ModelError: The file is missing or is not such a model.
    """
    path = Path(path)
    card, weights = read_model_file(path)
    network = build_network(card.config.image_size, len(card.classes), imagenet=card.config.weights == "imagenet")
    check_members(card, network, weights, str(path))
    if card.members > 1:
        network = build_ensemble(network, card.config.trainable_from, card.members)
    load_weights(network, weights, str(path))
    return SavedModel(**vars(card), network=network)
