"""A trained model on disk: Keras's own `.keras` file, with the label order and the provenance inside."""

import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tumorcls.calibration import Calibration
from tumorcls.config import TrainConfig
from tumorcls.errors import DataError, ModelError
from tumorcls.model import weights_sha256

_CARD = "tumorcls.json"  # a member of the .keras archive that Keras leaves alone
_FORMAT = 1


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
        """Returns probabilities of shape (n, len(classes)) for uint8 RGB images of shape (n, size, size, 3)."""
        batches = [images[i : i + batch_size] for i in range(0, len(images), batch_size)]
        return np.concatenate([np.asarray(self.network.predict_on_batch(batch)) for batch in batches])

    def save(self, path: Path) -> None:
        """Writes the model; Keras alone can load it too. The file appears whole or not at all.

        Raises:
            DataError: The path cannot be written or does not end in `.keras`.
        """
        if path.suffix != ".keras":
            raise DataError(f"{path}: a model's file must end in .keras; got {path.suffix!r}. Rename it.")
        card = {
            "format": _FORMAT,
            "classes": self.classes,
            "config": self.config.model_dump(mode="json"),
            "provenance": dict(self.provenance),
            "calibration": asdict(self.calibration),
        }
        partial = path.with_name(f".{path.stem}.{os.getpid()}.keras")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self.network.save(partial)
                with zipfile.ZipFile(partial, "a") as archive:
                    archive.writestr(_CARD, json.dumps(card, indent=1, default=str))
                partial.replace(path)
            finally:
                partial.unlink(missing_ok=True)
        except OSError as error:
            raise DataError(f"{path}: must be writable; {error.strerror or error}. Choose another path.") from None


def load_model(path: Path) -> SavedModel:
    """Loads a model that `SavedModel.save` wrote. Nothing in the file is executed: Keras's safe mode is on.

    Raises:
        ModelError: The file is missing or is not such a model.
    """
    if not path.is_file():
        raise ModelError(f"{path}: a model must be a .keras file; there is none. Make one with `tumorcls train`.")
    try:
        with zipfile.ZipFile(path) as archive:
            card = json.loads(archive.read(_CARD))
        network = keras.saving.load_model(path, compile=False, safe_mode=True)
        config = TrainConfig.parse(card["config"], where=str(path))
        return SavedModel(network, tuple(card["classes"]), config, card["provenance"], Calibration(**card["calibration"]))
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError, OSError) as error:
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise ModelError(f"{path}: must be a model saved by `tumorcls train`; {reason}. Train it again.") from None
