"""A network that holds several: what all share once, what each was trained to be beside each other, the mean of their logits.

Members that were trained from the same layer on are the same before it, so that part is computed once. The features of all
lie beside each other, and one dense layer over them gives the mean of the members' logits. So temperature, activation maps and
exported files work as for one network. The softmax of mean logits is the members' geometric mean (a logarithmic opinion pool).
"""

from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np

from tumorcls.config.train_config import TrainableFrom
from tumorcls.model.backbone import FROZEN_OUTPUT, build_classifier, finalize_normalization

_NUMBER = 4  # bytes of a float32


def most_members(network: keras.Model, trainable_from: TrainableFrom, room: int) -> int:
    """Returns how many members fit in so many bytes of weights, at least 1; the network is of one, with its head or without."""
    if trainable_from == "head":
        return 1  # their average is the same, see `tumorcls.training.ensemble`
    each: int = _NUMBER * _trained(network, trainable_from).count_params()
    return max(1, 1 + (room - _NUMBER * int(network.count_params())) // each)


def build_ensemble(network: keras.Model, trainable_from: TrainableFrom, members: int) -> keras.Model:
    """Builds the structure for two or more members around that of one, whose layers become the first member's.

    The network is from `tumorcls.model.backbone.build_classifier`, and training did not begin at `head`. What comes out is such
    a network too; all weights but the first member's are random.
    """
    trained = _trained(network, trainable_from)
    start, end = _cut(network, trainable_from), network.get_layer("top_activation").output
    maps = keras.layers.Concatenate(name="members")([end, *(_copy(trained, start, number) for number in range(1, members))])
    features = keras.layers.GlobalAveragePooling2D(name="avg_pool")(maps)
    head = keras.layers.Dense(network.output_shape[-1])
    head.build(features.shape)
    return build_classifier(keras.Model(network.input, features), head, network.get_layer("dropout").rate)


def join(networks: Iterable[keras.Model], counts: Sequence[int], trainable_from: TrainableFrom) -> keras.Model:
    """Builds one network of two or more, from `build_classifier`, of which each counts so often.

    Each is looked at before the next is asked for, so that they may share their layers. Training did not begin at `head`.
    """
    ensemble: keras.Model | None = None
    kernels, biases = [], []
    for number, (network, count) in enumerate(zip(networks, counts, strict=True)):
        if ensemble is None:
            ensemble = build_ensemble(keras.models.clone_model(network), trainable_from, len(counts))
            held = {layer.name: layer for layer in ensemble.layers}
        *layers, logits = [layer for layer in network.layers if layer.weights]
        for layer in layers:
            if (name := _name(layer, number)) in held:  # what all share is there once
                held[name].set_weights(layer.get_weights())
        kernel, bias = logits.get_weights()
        kernels.append(kernel * np.float32(count / sum(counts)))
        biases.append(bias * np.float32(count / sum(counts)))
    assert ensemble is not None
    ensemble.get_layer("logits").set_weights([np.concatenate(kernels), np.sum(biases, axis=0)])
    finalize_normalization(ensemble)
    return ensemble


def _cut(network: keras.Model, trainable_from: TrainableFrom) -> keras.KerasTensor:
    return network.input if trainable_from == "all" else network.get_layer(FROZEN_OUTPUT[trainable_from]).output


def _trained(network: keras.Model, trainable_from: TrainableFrom) -> keras.Model:
    return keras.Model(_cut(network, trainable_from), network.get_layer("top_activation").output)


def _copy(trained: keras.Model, start: keras.KerasTensor, number: int) -> keras.KerasTensor:
    """Returns the end of a copy with weights of its own, all of whose layers lie in the same network."""
    outputs: list[Any] = []

    def renamed(layer: keras.layers.Layer) -> keras.layers.Layer:
        return type(layer).from_config({**layer.get_config(), "name": _name(layer, number)})

    def call(layer: keras.layers.Layer, *args: Any, **kwargs: Any) -> Any:
        outputs.append(layer(*args, **kwargs))
        return outputs[-1]

    keras.models.clone_model(trained, input_tensors=start, clone_function=renamed, call_function=call)
    return outputs[-1]


def _name(layer: keras.layers.Layer, number: int) -> str:
    """Returns what a layer is called in the member of a number, counted from 0."""
    return f"member{number + 1}_{layer.name}" if number else str(layer.name)
