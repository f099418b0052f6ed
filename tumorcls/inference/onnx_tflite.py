"""How does a model run without Keras? As ONNX or TFLite, checked against the original.

The file takes uint8 RGB images (n, size, size, 3) and gives probabilities (n, classes). The temperature of the calibration is
in its weights. What else its user has to know travels inside: in ONNX as `metadata_props`, in TFLite as `tumorcls.json` and
`labels.txt` of the zip archive at its end.
"""

import io
import json
import warnings
import zipfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import keras
import numpy as np
from numpy.typing import NDArray

from tumorcls import DISCLAIMER
from tumorcls.errors import DataError, ExportError, one_line, reason
from tumorcls.files import write_whole
from tumorcls.model.backbone import logits_of
from tumorcls.model.saved_model import SavedModel

Images = NDArray[np.uint8]
Probabilities = NDArray[np.float32]

TOLERANCE = 1e-3
"""Largest difference of a probability that is accepted: the last digit that `tumorcls predict` prints. Other kernels round
differently, by about 1e-6 in a trained network."""

_MODULES = {".onnx": ("tf2onnx", "onnx", "onnxruntime"), ".tflite": ("ai_edge_litert",)}
_TOGETHER = 32  # images of which a network holds the activations
_INPUT, _OUTPUT = "image", "probabilities"


def export(model: SavedModel, path: Path, images: Images) -> float:
    """Writes a model as its path's ending says, `.onnx` or `.tflite`, after it has answered as the original does.

    They are compared on images, uint8 (n, size, size, 3), n > 0; the largest absolute difference of a probability is returned.
    The file appears whole, or not at all.

    Raises:
        DataError: Another ending, or the path cannot be written.
        ExportError: A package is missing, Keras runs on another backend than TensorFlow, or the answers differ.
    """
    _check(path)
    convert, run = (_to_onnx, run_onnx) if path.suffix == ".onnx" else (_to_tflite, run_tflite)
    content = convert(_from_uint8(model), metadata(model))
    difference = float(np.abs(run(content, images) - model.predict(images)).max())
    if not difference <= TOLERANCE:
        raise ExportError(
            f"{path}: must answer as the model does, within {TOLERANCE:g}; got a difference of {difference:.2g}. "
            "Nothing was written; try other versions of the packages of the extra [export]."
        )
    write_whole(path, content)
    return difference


def metadata(model: SavedModel) -> dict[str, str]:
    """Returns what the user of an exported file has to know; all values are text, lists are JSON."""
    side = model.config.image_size
    return {
        "classes": json.dumps(model.classes),
        "threshold": f"{model.calibration.threshold:.6f}",
        "temperature": f"{model.calibration.temperature:.6f} (in the weights already)",
        "input": f"uint8 RGB, {side}x{side}, aspect kept, centred on black, shrunk by area",
        "answer": "the likeliest class; below the threshold: uncertain",
        "disclaimer": DISCLAIMER,
        "model_sha256": model.sha256,
        "manifest_sha256": str(model.provenance.get("manifest_sha256", "")),
        "split_sha256": str(model.provenance.get("split_sha256", "")),
    }


def run_onnx(content: bytes, images: Images) -> Probabilities:
    """Returns the probabilities that ONNX Runtime gets from an exported model."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run([_OUTPUT], {_INPUT: batch})[0] for batch in _batches(images)])


def run_tflite(content: bytes, images: Images) -> Probabilities:
    """Returns the probabilities that LiteRT gets from an exported model."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content)
    place, answer = (details[0]["index"] for details in (interpreter.get_input_details(), interpreter.get_output_details()))
    answers = []
    for batch in _batches(images):
        interpreter.resize_tensor_input(place, batch.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(place, batch)
        interpreter.invoke()
        answers.append(interpreter.get_tensor(answer))
    return np.concatenate(answers)


def _batches(images: Images) -> list[Images]:
    return [images[first : first + _TOGETHER] for first in range(0, len(images), _TOGETHER)]


def _check(path: Path) -> None:
    if path.suffix not in _MODULES:
        raise DataError(f"{path}: an exported model must end in {' or '.join(_MODULES)}; got {path.suffix!r}. Rename it.")
    missing = [name for name in _MODULES[path.suffix] if find_spec(name) is None]
    if missing:
        raise ExportError(
            f"{path}: {', '.join(missing)} must be installed to write it; not found. Run `pip install 'tumorcls[export]'`."
        )
    if keras.backend.backend() != "tensorflow":
        raise ExportError(
            f"{path}: Keras must run on TensorFlow to write it; got {keras.backend.backend()}. "
            "Install the extra [cpu] and set KERAS_BACKEND=tensorflow."
        )


def _from_uint8(model: SavedModel) -> keras.Model:
    for layer in model.network.layers:
        if isinstance(layer, keras.layers.Normalization):
            # As arrays of NumPy they become constants of the graph; tensors would become inputs of the ONNX file.
            layer.mean, layer.variance = np.asarray(layer.mean), np.asarray(layer.variance)
    size = model.config.image_size
    image = keras.Input((size, size, 3), dtype="uint8", name=_INPUT)
    seen = keras.ops.cast(image, "float32")
    answer = model.network(seen, training=False)
    if model.config.mirror_average:
        logits = logits_of(model.network)
        answer = keras.ops.softmax((logits(seen) + logits(keras.ops.flip(seen, axis=2))) / 2)
    network = keras.Model(image, answer, name="tumorcls_export")
    network(np.zeros((1, size, size, 3), np.uint8))  # the exporters want a model that was called
    return network


def _to_onnx(network: keras.Model, described: Mapping[str, str]) -> bytes:
    import onnx

    exported = onnx.load_from_string(_exported(network, "onnx", "model.onnx"))
    graph = exported.graph
    old = graph.output[0].name
    for node in graph.node:
        node.output[:] = [_OUTPUT if name == old else name for name in node.output]
    graph.output[0].name = _OUTPUT
    for value in (graph.input[0], graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    graph.name, exported.doc_string = "tumorcls", DISCLAIMER
    onnx.helper.set_model_props(exported, dict(described))
    onnx.checker.check_model(exported, full_check=True)
    return bytes(exported.SerializeToString())


def _to_tflite(network: keras.Model, described: Mapping[str, str]) -> bytes:
    """As TFLite's own metadata does, files that go with the model are a zip archive behind it, which interpreters pass over."""
    content = io.BytesIO(_exported(network, "litert", "model.tflite"))
    with zipfile.ZipFile(content, "a") as archive:
        archive.writestr("tumorcls.json", json.dumps(described, indent=1))
        archive.writestr("labels.txt", "\n".join(json.loads(described["classes"])) + "\n")
    return content.getvalue()


def _exported(network: keras.Model, form: str, name: str) -> bytes:
    import tensorflow as tf

    try:
        with TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Keras's patch of tf2onnx asks NumPy 2 for what it no longer has
            path = Path(folder) / name
            network.export(path, format=form, verbose=False)
            return path.read_bytes()
    except (OSError, tf.errors.ResourceExhaustedError) as error:
        got = reason(error) if isinstance(error, OSError) else one_line(error.message)
        raise ExportError(f"{form}: must have room for temporary files; got {got}. Set TMPDIR to a folder with room.") from None
