"""A trained model on disk: Keras's own `.keras` file, with the label order and the provenance inside."""

import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tumorcls.activation_map import check_probabilities
from tumorcls.calibration import Calibration
from tumorcls.config import TrainConfig
from tumorcls.errors import DataError
from tumorcls.model import build_network, weights_sha256
from tumorcls.model_file import CARD, Card, load_weights, read_model_file


@dataclass(frozen=True)
class SavedModel:
    """A classifier and what it needs to be used right.

    Attributes:
        network: From images (n, size, size, 3) in [0, 255] to probabilities (n, len(classes)).
        classes: Class names in the order of the probabilities.
        config: What it was trained with.
        provenance: Data and split hashes, seed, versions, scores.
        calibration: How sure it may say it is; its temperature is already in the network's last weights.
    """

    network: keras.Model
    classes: tuple[str, ...]
    config: TrainConfig
    provenance: Mapping[str, Any]
    calibration: Calibration

    @property
    def sha256(self) -> str:
        """Hash of all weights: names the model in an evaluation and on its card."""
        return weights_sha256(self.network)

    def predict(self, images: NDArray[np.uint8], batch_size: int = 64) -> NDArray[np.float32]:
        """Returns probabilities of shape (n, len(classes)) for uint8 RGB images of shape (n, size, size, 3).

        Raises:
            ModelError: An answer is not a probability for each class.
        """
        batches = [images[i : i + batch_size] for i in range(0, len(images), batch_size)]
        return np.concatenate([check_probabilities(np.asarray(self.network.predict_on_batch(batch))) for batch in batches])

    def save(self, path: Path) -> None:
        """Writes the model; Keras alone can load it too. The file appears whole or not at all.

        Raises:
            DataError: The path cannot be written or does not end in `.keras`.
        """
        if path.suffix != ".keras":
            raise DataError(f"{path}: a model's file must end in .keras; got {path.suffix!r}. Rename it.")
        card = Card(
            classes=self.classes, config=self.config, provenance=self.provenance, calibration=self.calibration
        ).to_json()
        Card.parse(card, str(path))  # what could not be opened again is not written
        partial = path.with_name(f".{path.stem}.{os.getpid()}.keras")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self.network.save(partial)
                with zipfile.ZipFile(partial, "a") as archive:
                    archive.writestr(CARD, card)
                partial.replace(path)
            finally:
                partial.unlink(missing_ok=True)
        except OSError as error:
            raise DataError(f"{path}: must be writable; {error.strerror or error}. Choose another path.") from None


def load_model(path: Path) -> SavedModel:
    """Loads a model that `SavedModel.save` wrote. Nothing in the file is executed: its graph is built here, see `model_file`.

    Raises:
        ModelError: The file is missing or is not such a model.
    """
    card, weights = read_model_file(path)
    network = build_network(card.config.image_size, len(card.classes), imagenet=card.config.weights == "imagenet")
    load_weights(network, weights, str(path))
    return SavedModel(network, card.classes, card.config, card.provenance, card.calibration)
