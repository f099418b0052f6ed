"""Weights are those of EfficientNetB0 without top, whole and in order, or are refused in one line."""

import hashlib
import os
import shutil
import time
import zipfile

import h5py
import keras
import numpy as np
import pytest

from tumorcls.errors import WeightsError
from tumorcls.model import weights
from tumorcls.model.backbone import build_backbone, weights_sha256

SIZE = 32


@pytest.fixture(scope="module")
def backbone():
    return build_backbone(SIZE, "none")


@pytest.fixture(scope="module")
def current(backbone, tmp_path_factory):
    """Returns a file of Keras 3."""
    path = tmp_path_factory.mktemp("weights") / "current.weights.h5"
    backbone.save_weights(path)
    return path


@pytest.fixture(scope="module")
def legacy(backbone, tmp_path_factory):
    """Returns a file of Keras 2, as its own ImageNet weights are."""
    path = tmp_path_factory.mktemp("weights") / "legacy.h5"
    write_legacy(path, [layer for layer in backbone.layers if layer.weights])
    return path


@pytest.fixture(scope="module")
def refused():
    """Returns the check that a file is refused, as `build_backbone` would, by a network that is built once."""
    network = keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=(SIZE, SIZE, 3), pooling="avg")

    def check(path, words):
        with pytest.raises(WeightsError, match="must fit EfficientNetB0") as caught:
            weights.load_weights(network, path)
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 600

    return check


def write_legacy(path, layers, names=None):
    with h5py.File(path, "w") as file:
        names = names or [layer.name for layer in layers]
        file.attrs["layer_names"] = [name.encode() for name in names]
        for name, layer in zip(names, layers, strict=True):
            group = file.create_group(name)
            group.attrs["weight_names"] = [f"{layer.name}/{v.name}:0".encode() for v in layer.weights]
            for v in layer.weights:
                group[f"{layer.name}/{v.name}:0"] = np.asarray(v)


def sample_of(path):
    with h5py.File(path, "r") as file:
        return sum(float(np.abs(item[()]).sum()) for item in file.values() if isinstance(item, h5py.Dataset))


@pytest.mark.parametrize("kind", ["current", "legacy", "archive", "renamed", "whole legacy model"])
def test_each_format_of_keras_is_read_by_its_content(backbone, current, legacy, tmp_path, kind, request):
    path = tmp_path / "own.keras"
    if kind == "archive":
        backbone.save(path)
    elif kind == "whole legacy model":
        with h5py.File(path, "w") as file, h5py.File(legacy) as source:
            source.copy(source, file, "model_weights")
    else:
        path = shutil.copy({"current": current, "legacy": legacy, "renamed": legacy}[kind], tmp_path / "any.name")
    assert weights_sha256(build_backbone(SIZE, str(path))) == weights_sha256(backbone)


def test_a_real_file_passes_quickly():
    real = os.environ.get("TUMORCLS_WEIGHTS")
    if real is None:
        pytest.skip("TUMORCLS_WEIGHTS names no file")
    network = keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=(SIZE, SIZE, 3), pooling="avg")
    started = time.process_time()
    weights.check_weights(network)
    assert time.process_time() - started < 2.0, "a few tenths of a second, and more on a busy machine"
    keras_own = keras.applications.EfficientNetB0(include_top=False, weights=real, input_shape=(SIZE, SIZE, 3), pooling="avg")
    assert weights_sha256(build_backbone(SIZE, real)) == weights_sha256(keras_own)


def edit(change):
    """Makes a harm of a function from the file's arrays, by name, to nothing."""

    def harm(path):
        with h5py.File(path, "r+") as file:
            arrays = {}
            file.visititems(lambda name, item: arrays.update({name: item}) if isinstance(item, h5py.Dataset) else None)
            change(file, arrays)

    return harm


def fill(file, name, index, value):
    array = file[name][()]
    array.ravel()[index] = value
    file[name][...] = array


def kernel(arrays):
    return max((name for name in arrays if arrays[name].ndim == 4), key=lambda name: arrays[name].size)


def flip_exponent(file, arrays):
    array = file[kernel(arrays)][()]
    array.view(np.uint32).ravel()[77] ^= 1 << 30
    file[kernel(arrays)][...] = array


def zero_everything(file, arrays):
    for item in arrays.values():
        item[...] = np.zeros_like(item[()])


def negative_variance(file, arrays):
    name = next(name for name in arrays if arrays[name].ndim == 1 and ("moving_variance" in name or name.endswith("vars/3")))
    fill(file, name, 3, -1.0)


HARMS = {
    "NaN": (edit(lambda file, arrays: fill(file, kernel(arrays), 5, np.nan)), "must be finite"),
    "infinity": (edit(lambda file, arrays: fill(file, kernel(arrays), 5, -np.inf)), "must be finite"),
    "a flipped exponent": (edit(flip_exponent), "must be at most"),
    "all zeros": (edit(zero_everything), "zeros in their place"),
    "a layer of zeros": (edit(lambda file, arrays: fill(file, kernel(arrays), slice(None), 0)), "zeros in their place"),
    "a page of zeros": (edit(lambda file, arrays: fill(file, kernel(arrays), slice(2000, 3024), 0)), "zeros in their place"),
    "a negative variance": (edit(negative_variance), "must not be negative"),
    "cut short": (lambda path: os.truncate(path, path.stat().st_size // 2), ""),
    "empty": (lambda path: os.truncate(path, 0), ""),
    "text": (lambda path: path.write_text("no weights"), ""),
    "a zip archive of something else": (lambda path: zipfile.ZipFile(path, "w").writestr("a", "b"), ""),
    "half a zip archive": (lambda path: path.write_bytes(b"PK\3\4" + bytes(99)), ""),
}


@pytest.mark.parametrize(("harm", "words"), HARMS.values(), ids=HARMS)
@pytest.mark.parametrize("kind", ["current", "legacy"])
def test_damaged_weights_are_refused_in_one_line(refused, current, legacy, tmp_path, kind, harm, words):
    path = tmp_path / "bad.weights.h5"
    shutil.copy({"current": current, "legacy": legacy}[kind], path)
    harm(path)
    refused(path, words)


def test_layers_in_another_order_are_refused(refused, backbone, tmp_path):
    layers = [layer for layer in backbone.layers if layer.weights]
    at = [layer.name for layer in layers].index("block6b_dwconv")
    other = [layer.name for layer in layers].index("block6c_dwconv")
    layers[at], layers[other] = layers[other], layers[at]
    write_legacy(tmp_path / "order.h5", layers)
    refused(tmp_path / "order.h5", "where block6b_dwconv must be there is block6c_dwconv")
    write_legacy(tmp_path / "sorted.h5", sorted(layers, key=lambda layer: layer.name))
    refused(tmp_path / "sorted.h5", "in the network's order")


def test_layers_of_other_names_are_refused(refused, backbone, tmp_path):
    layers = [layer for layer in backbone.layers if layer.weights]
    write_legacy(tmp_path / "names.h5", layers, [f"layer_{at}" for at in range(len(layers))])
    refused(tmp_path / "names.h5", "those of the network; where normalization must be there is layer_0")


def test_a_normalization_with_a_number_is_the_same_layer(backbone, tmp_path):
    layers = [layer for layer in backbone.layers if layer.weights]
    write_legacy(tmp_path / "n.h5", layers, ["normalization_3", *(layer.name for layer in layers[1:])])
    assert weights_sha256(build_backbone(SIZE, str(tmp_path / "n.h5"))) == weights_sha256(backbone)


@pytest.mark.parametrize("kind", ["current", "legacy", "archive"])
def test_weights_with_a_top_are_refused(refused, backbone, tmp_path, kind):
    whole = keras.Model(backbone.input, keras.layers.Dense(10, name="predictions")(backbone.output))
    path = tmp_path / ("top.keras" if kind == "archive" else "top.weights.h5")
    if kind == "legacy":
        write_legacy(path, [layer for layer in whole.layers if layer.weights])
    elif kind == "archive":
        whole.save(path)
    else:
        whole.save_weights(path)
    refused(path, "it has a top")


def test_layers_that_are_missing_are_told(refused, backbone, tmp_path):
    write_legacy(tmp_path / "short.h5", [layer for layer in backbone.layers if layer.weights][:-1])
    refused(tmp_path / "short.h5", "some are missing")


def test_other_shapes_are_refused(refused, tmp_path):
    other = keras.applications.EfficientNetB1(include_top=False, weights=None, input_shape=(SIZE, SIZE, 3), pooling="avg")
    other.save_weights(tmp_path / "b1.weights.h5")
    refused(tmp_path / "b1.weights.h5", "")


def test_a_file_that_is_called_as_kerass_own_must_be_it(refused, legacy, tmp_path, monkeypatch):
    path = shutil.copy(legacy, tmp_path / weights.OWN_NAME)
    refused(path, "must be Keras's own; its checksum is another one")
    monkeypatch.setattr(weights, "own_weights_md5", lambda: hashlib.md5(path.read_bytes()).hexdigest())
    build_backbone(SIZE, str(path))


def test_a_file_that_names_another_is_refused(refused, legacy, tmp_path):
    path = shutil.copy(legacy, tmp_path / "link.h5")
    with h5py.File(path, "r+") as file:
        del file["top_bn"]
        file["top_bn"] = h5py.ExternalLink("/etc/passwd", "/")
    refused(path, "no link to elsewhere")
