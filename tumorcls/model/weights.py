"""EfficientNetB0's weights from a file: read as numbers, checked, and only then put into the network.

A file from a stranger may name other files or ask for all memory (`tumorcls.data.hdf5`); a damaged one holds numbers that are
none, zeros where a page was lost, or a flipped exponent; and Keras takes layers in the order in which they come, whatever they
are.
"""

import hashlib
import io
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
from numpy.typing import NDArray

from tumorcls.data.hdf5 import UNREADABLE, Limits, open_hdf5
from tumorcls.errors import DataError, WeightsError, reason
from tumorcls.files import read_whole
from tumorcls.model.keras_internals import own_weights_md5

OWN_NAME = "efficientnetb0_notop.h5"
"""What Keras calls its own file of ImageNet's weights."""

_MAX_BYTES = 2**28
_LIMITS = Limits(total_bytes=2**28, objects=20_000)
_MEMBER = "model.weights.h5"  # of a `.keras` archive
_FORMER_NAMES = {"depthwise_kernel": "kernel"}  # Keras 2's
_LARGEST = {"moving_variance": 1e8, "moving_mean": 1e5, "count": np.inf}
_LARGEST_OTHER = 1e3  # ImageNet's largest is 14; a flipped exponent makes billions
_LONGEST_ZEROS = 512  # numbers; a lost page is 1,024


class _Array(NamedTuple):
    name: str
    value: NDArray[Any]


class _Unfit(Exception):
    """What a file must be and what it is."""


def load_weights(backbone: keras.Model, path: Path) -> None:
    """Puts the weights of an HDF5 file of Keras 2 or 3, or of a `.keras` archive, into EfficientNetB0 without top.

    Raises:
        WeightsError: They are not those of the network, are damaged, or the file is not safe to read.
    """
    layers = [layer for layer in backbone.layers if layer.weights]
    try:
        content = read_whole(path, _MAX_BYTES)
        if path.name == OWN_NAME and hashlib.md5(content, usedforsecurity=False).hexdigest() != own_weights_md5():
            raise _Unfit("a file of this name must be Keras's own; its checksum is another one. Get it again, or rename it")
        with open_hdf5(io.BytesIO(_inner(content)), str(path), _LIMITS) as file:
            legacy = "layer_names" in file.attrs or "model_weights" in file
            stored = dict(_legacy(file) if legacy else _current(file, backbone))  # a name that comes again is held once
        _check(layers, stored)
    except _Unfit as error:
        raise WeightsError(f"weights: must fit EfficientNetB0 without top; got {path}: {error}. Use a `notop` file.") from None
    except (DataError, *UNREADABLE, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        got = f"{path}: {reason(error).removeprefix(f'{path}: ')}"
        raise WeightsError(f"weights: must fit EfficientNetB0 without top; got {got}. Use a `notop` file.") from None
    for layer, arrays in zip(layers, stored.values(), strict=True):
        layer.set_weights([array.value for array in arrays])


def check_weights(backbone: keras.Model) -> None:
    """Sees to it that a network's weights are those of a network, wherever they come from.

    Raises:
        WeightsError: A number is none, is far too large, or stands where a page of zeros does.
    """
    try:
        for layer in backbone.layers:
            for variable in layer.weights:
                _check_values(f"{layer.name}/{variable.name}", np.asarray(keras.ops.convert_to_numpy(variable)))
    except _Unfit as error:
        raise WeightsError(f"weights: must be those of a network; {error}. Get the file again.") from None


def _inner(content: bytes) -> bytes:
    """Returns the HDF5 file of a `.keras` archive; any other content as it is."""
    if not content.startswith(b"PK"):
        return content
    with zipfile.ZipFile(io.BytesIO(content)) as archive, archive.open(_MEMBER) as member:
        inner = member.read(_MAX_BYTES + 1)
    if len(inner) > _MAX_BYTES:
        raise _Unfit(f"{_MEMBER} must have at most {_MAX_BYTES:,} bytes, and has more")
    return inner


def _legacy(file: Any) -> Iterator[tuple[str, list[_Array]]]:
    """Yields the layers of Keras 2's format in the file's order."""
    group = file if "layer_names" in file.attrs else file["model_weights"]
    for name in map(_text, group.attrs["layer_names"]):
        layer = group[name]
        names = [_text(weight) for weight in layer.attrs["weight_names"]]
        if names:
            yield name, [_Array(weight.rpartition("/")[2].partition(":")[0], _value(layer[weight])) for weight in names]


def stored_names(network: keras.Model) -> list[str]:
    """Returns the names that Keras 3 gives a network's layers in a file: by class, numbered in order."""
    names: list[str] = []
    used: Counter[str] = Counter()
    for kind in (_snake_case(type(layer).__name__) for layer in network.layers):
        names.append(f"{kind}_{used[kind]}" if used[kind] else kind)
        used[kind] += 1
    return names


def _snake_case(name: str) -> str:
    return re.sub("([a-z])([A-Z])", r"\1_\2", re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)).lower()


def _current(file: Any, backbone: keras.Model) -> Iterator[tuple[str, list[_Array]]]:
    """Yields the layers of Keras 3's format, which names them by class and number: the network's order is the file's."""
    layers, names = file["layers"], stored_names(backbone)
    for layer, name in zip(backbone.layers, names, strict=True):
        stored = layers[name]["vars"] if name in layers and "vars" in layers[name] else {}
        if len(stored) != len(layer.weights):
            raise _Unfit(f"layers/{name} must have {len(layer.weights)} arrays, and has {len(stored)}")
        if layer.weights:
            yield layer.name, [_Array(v.name, _value(stored[str(index)])) for index, v in enumerate(layer.weights)]
    for name in layers:
        if len(layers[name].get("vars", {})) and name not in names:
            raise _Unfit(f"it must have no layer beside the network's; {name} is one{_top(name)}")


def _check(layers: list[keras.layers.Layer], stored: dict[str, list[_Array]]) -> None:
    for want, name in zip_longest((_plain(layer.name) for layer in layers), map(_plain, stored)):
        if want != name:
            found = "none: some are missing" if name is None else f"{name[:80]}{_top(name)}"
            rule = "its layers must be in the network's order, and those of the network"
            raise _Unfit(f"{rule}; where {want or 'no other'} must be there is {found}")
    for layer, held in zip(layers, stored.values(), strict=True):
        expected = [(variable.name, tuple(variable.shape)) for variable in layer.weights]
        got = [(_FORMER_NAMES.get(array.name, array.name), array.value.shape) for array in held]
        if expected != got:
            raise _Unfit(f"{layer.name} must have {_shown(expected)}, and has {_shown(got)}")
        for array in held:
            _check_values(f"{layer.name}/{array.name}", array.value)


def _check_values(name: str, value: NDArray[Any]) -> None:
    kind = name.rpartition("/")[2]
    if not np.isfinite(value).all():
        raise _Unfit(f"{name} must be finite, and has {np.count_nonzero(~np.isfinite(value)):,} numbers that are not")
    if not value.size:
        raise _Unfit(f"{name} must have numbers, and has none")
    largest, most = float(np.abs(value).max()), _LARGEST.get(kind, _LARGEST_OTHER)
    if largest > most:
        raise _Unfit(f"{name} must be at most {most:,.0f}, and has {largest:.3g}")
    if kind.endswith("variance") and value.min() < 0:
        raise _Unfit(f"{name} must not be negative, and has {value.min():.3g}")
    if kind.endswith(("kernel", "gamma", "variance")) and _has_holes(value):
        raise _Unfit(f"{name} must be learned numbers, and has zeros in their place")


def _has_holes(value: NDArray[Any]) -> bool:
    """Returns whether zeros stand where numbers were: in half of the places, or in a long row that is no dead channel."""
    zeros, width = (value == 0).ravel(), value.shape[-1] if value.ndim else 1
    if zeros.mean() > 0.5:
        return True
    edges = np.flatnonzero(np.diff(np.concatenate([[0], zeros.view(np.int8), [0]])))
    starts, lengths = edges[::2], edges[1::2] - edges[::2]
    dead = (lengths == width) & (starts % width == 0)
    return bool((lengths[~dead] >= _LONGEST_ZEROS).any())


def _value(array: Any) -> NDArray[Any]:
    value = np.asarray(array[()])
    return value if value.dtype.kind in "iu" else value.astype(np.float32)


def _text(name: object) -> str:
    return name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else str(name)


def _plain(name: str) -> str:
    """Returns a layer's name without the number that Keras adds where a process has built several networks."""
    return re.sub(r"^(normalization)_\d{1,4}$", r"\1", name)


def _top(name: str) -> str:
    return ": it has a top" if name.startswith(("predictions", "logits", "dense", "probabilities")) else ""


def _shown(arrays: list[tuple[str, tuple[int, ...]]]) -> str:
    return ", ".join(f"{name[:40]} {shape}" for name, shape in arrays)[:200]
