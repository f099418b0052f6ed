"""The one module that uses private names of Keras, whose version is capped for their sake (setup.cfg)."""

import contextlib
import sys
from typing import BinaryIO


def write_network(network: object, file: BinaryIO) -> None:
    """Writes a network as a `.keras` archive into a file that is open; Keras itself takes names only."""
    from keras.src.saving.saving_lib import save_model

    save_model(network, file)


def own_weights_md5() -> str:
    """Returns the checksum of Keras's own file of EfficientNetB0's weights, the one without a top."""
    from keras.src.applications.efficientnet import WEIGHTS_HASHES

    return str(WEIGHTS_HASHES["b0"][1])


def serialize_without_tensorflow() -> None:
    """Has Keras on JAX not import TensorFlow, where both are installed, to see whether what it serializes is of its types.

    That is asked for each layer that is copied or saved. A notebook keeps it: its user may have such types.
    """
    if "tensorflow" in sys.modules or hasattr(sys, "ps1"):
        return
    with contextlib.suppress(ImportError):  # a version that no longer asks so has nothing to be told
        from keras.src.utils.module_utils import tensorflow

        tensorflow._available = False
