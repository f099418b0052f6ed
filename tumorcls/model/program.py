"""One compiled training program that serves many trials.

Tracing and compiling EfficientNetB0 costs more than a short trial's arithmetic. So what differs between trials (learning rate,
dropout, noise, augmentation) is a variable of the program, and a new trial only resets its state.
"""

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any

import keras
import numpy as np
from keras import KerasTensor, ops
from numpy.typing import NDArray

from tumorcls import activity
from tumorcls.cache.arrays import Rows
from tumorcls.config.train_config import OptimizerName, TrainConfig, ViewRecipe
from tumorcls.model.backbone import (
    batch_norm_statistics,
    build_backbone,
    build_classifier,
    set_batch_norm,
    split_backbone,
    weights_sha256,
)
from tumorcls.model.backend import compiled_as_steps_are, gains_by_bfloat16, keras_runs_on_jax, placed_bytes
from tumorcls.model.device_memory import FOR_A_STEP, naming_what_must_fit
from tumorcls.model.divergence import check_finite
from tumorcls.model.folding import fold_batch_norm
from tumorcls.model.layers import RandomAugment, VariableDropout, assign_recipe, mixed_precision, view_layers
from tumorcls.model.loop import Loop
from tumorcls.model.moving_average import MovingAverage
from tumorcls.model.pieces import (
    PREDICT_BATCH,
    Placed,
    PlacedParts,
    bytes_of,
    filled,
    images_together,
    prediction_pieces,
    training_pieces,
    whole_batches,
)
from tumorcls.model.tensorflow_internals import gradients_forgotten
from tumorcls.noise.layer import RandomNoise

_OPTIMIZERS: dict[OptimizerName, Callable[[], keras.optimizers.Optimizer]] = {
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "sgd": lambda: keras.optimizers.SGD(momentum=0.9, nesterov=True),
}


class TrainingProgram:
    """A network, its optimizer and its compiled steps, and the state that they begin each trial with."""

    def __init__(self, config: TrainConfig) -> None:
        """Builds the network that a config needs.

        Raises:
            WeightsError: The weights cannot be had.
        """
        self.backbone = build_backbone(config.image_size, config.weights)
        # Random ones are calibrated by arithmetic that differs between machines in the last digit.
        self.weights_sha256 = "random" if config.weights == "none" else weights_sha256(self.backbone)
        self.frozen, self._trained = split_backbone(self.backbone, config.trainable_from)
        set_batch_norm(self._trained, config.batch_norm)
        self.takes_activations = config.cached_views > 0
        self._augment, self._noise = view_layers(config.view_recipe)
        self._dropout = VariableDropout(name="dropout")
        self._head = keras.layers.Dense(len(config.classes), name="logits")
        self._view = compiled_as_steps_are(_View(self._augment, self._noise))
        self._model = self._build_model(config.image_size)
        self._optimizer = _OPTIMIZERS[config.optimizer]()
        self._optimizer.build(self._model.trainable_variables)
        convolves = config.trainable_from != "head" or not self.takes_activations
        halved = self._trained.layers if is_mixed(config) else []
        averaged = [*self._model.trainable_variables, *batch_norm_statistics(self._trained)] if config.schedule == "ema" else []
        self._average = MovingAverage(averaged, self._optimizer.iterations)
        make_loop = loop_of_backend()
        self._loop = make_loop(self._model, self._optimizer, self._average, convolves, lambda: mixed_precision(halved))
        self._compiled_for: set[int] = set()
        self._variables: list[Any] = [*self._model.variables, *self._optimizer.variables, *self._average.variables]
        self._initial = [ops.convert_to_numpy(v).copy() for v in self._variables]
        self.frozen_sha256 = None if self.frozen is None else weights_sha256(self.frozen)
        self.activations_key = f"{self.frozen_sha256} {config.trainable_from}" if self.takes_activations else "images"

    def _build_model(self, image_size: int) -> keras.Model:
        if self.takes_activations:
            assert self.frozen is not None
            inputs = keras.Input(self.frozen.output.shape[1:], dtype="float16", name="activations")
            x = ops.cast(inputs, "float32")
        else:
            inputs = keras.Input((image_size, image_size, 3), dtype="uint8", name="images")
            x = self._noise(self._augment(ops.cast(inputs, "float32")))
            if self.frozen is not None:
                x = self.folded(x, training=False)
        return keras.Model(inputs, self._head(self._dropout(self._trained(x))), name="program")

    @cached_property
    def folded(self) -> keras.Model:
        """The frozen part as it is run: made when that is first done, and not where all its activations are in the cache."""
        assert self.frozen is not None
        return fold_batch_norm(self.frozen)

    def reset(self, config: TrainConfig, seed: int) -> None:
        """Puts the program in the state in which a fresh process would begin the trial.

        Weights, BatchNormalization statistics and the optimizer's state return to their first values; the head is drawn from
        `seed`, and so is the state of every random layer, EfficientNet's drop-connect layers among them.
        """
        children = iter(np.random.SeedSequence(seed).generate_state(2 + len(self._variables)).tolist())
        for variable, value in zip(self._variables, self._initial, strict=True):
            variable.assign(seed_state(next(children)) if is_seed_state(variable) else value)
        kernel = keras.initializers.GlorotUniform(seed=next(children) >> 1)(self._head.kernel.shape)
        self._head.kernel.assign(kernel)
        self._average.begin()
        self._dropout.rate.assign(config.dropout)
        self.set_view_recipe(config.view_recipe)

    def state(self) -> list[NDArray[Any]]:
        """Returns all that training changes: weights, statistics, their averages, optimizer, random states."""
        return [ops.convert_to_numpy(variable) for variable in self._variables]

    def set_state(self, state: Sequence[NDArray[Any]]) -> None:
        """Puts the program in a state that it, or another process's with the same structure, was in.

        Raises:
            ValueError: It is a state of another structure; nothing has changed then.
        """
        if [np.shape(value) for value in state] != [tuple(variable.shape) for variable in self._variables]:
            raise ValueError("the state must be that of a program of the same structure")
        for variable, value in zip(self._variables, state, strict=True):
            variable.assign(value)

    def set_head(self, kernel: NDArray[np.float32], bias: NDArray[np.float32]) -> None:
        """Puts weights of shape (features, classes) and (classes,) into the last layer."""
        self._head.kernel.assign(kernel)
        self._head.bias.assign(bias)

    def weights(self) -> list[NDArray[Any]]:
        """Returns what a prediction is made with: the weights of the network, averages of them where it keeps some."""
        return [ops.convert_to_numpy(variable) for variable in self._predicts_with]

    def set_weights(self, weights: Sequence[NDArray[Any]]) -> None:
        """Has predictions made with other weights, of a program of the same network; to train on from there makes no sense."""
        for variable, value in zip(self._predicts_with, weights, strict=True):
            variable.assign(value)

    @property
    def _predicts_with(self) -> list[Any]:
        return [variable for variable in self._model.variables if np.issubdtype(variable.dtype, np.floating)]

    def set_learning_rate(self, learning_rate: float) -> None:
        """Sets the optimizer's learning rate for the steps that follow."""
        self._optimizer.learning_rate = learning_rate

    def set_view_recipe(self, recipe: ViewRecipe) -> None:
        """Sets how training images are augmented and how much noise they get; the noises are part of the program."""
        assign_recipe(recipe, self._augment, self._noise)

    @naming_what_must_fit("what is trained on")
    def place(self, inputs: Rows) -> Placed | None:
        """Returns rows in the memory of the device, to train on; None where they take too much of it, or nothing is gained."""
        if not self._loop.whole or bytes_of(inputs) > placed_bytes():
            return None
        return Placed(self._loop.place(filled(inputs[:], whole_batches(len(inputs)))), bytes_of(inputs))

    def train_epoch(
        self, inputs: Rows | Placed, targets: NDArray[np.float32], order: NDArray[np.int64], batch_size: int
    ) -> float:
        """Trains on rows once, in the order given, which names each at most once; returns the mean training loss.

        Images or activations (n, ...) that are not on the device go there in pieces. Targets (n, classes) are rows that add up
        to 1. Rows that do not fill the last batch are left for a later epoch.

        Raises:
            DeviceMemoryError: A step takes more memory than there is.
        """
        size = min(batch_size, len(order))
        batches = order[: len(order) // size * size].reshape(-1, size).astype(np.int32)
        self._compiled_for.add(batch_size)
        with naming_what_must_fit(f"a training step with batch_size = {batch_size}", FOR_A_STEP):
            return self._loop.train(training_pieces(inputs, targets, batches, self._loop.whole)) / len(batches)

    def is_compiled(self, batch_size: int) -> bool:
        """Whether an epoch of such batches has been trained on before, and needs not be compiled first."""
        return batch_size in self._compiled_for

    @naming_what_must_fit("what is measured on")
    def place_parts(self, parts: Sequence[Rows]) -> PlacedParts | None:
        """Returns rows in the memory of the device, to predict; None where they take too much of it, or nothing is gained."""
        nbytes = sum(bytes_of(part) for part in parts)
        if not self._loop.whole or nbytes > placed_bytes():
            return None
        pieces = [(self._loop.place(rows), batches) for rows, batches in prediction_pieces(parts, whole=True)]
        return PlacedParts(pieces, sum(map(len, parts)), nbytes)

    @naming_what_must_fit(f"{PREDICT_BATCH} images in a prediction")
    def predict_logits(self, *inputs: Rows | PlacedParts) -> NDArray[np.float32]:
        """Returns logits of shape (n, classes) for images or activations, with all that is random switched off.

        Several inputs are predicted as if they were one array; what `place_parts` made of them stands for all.

        Raises:
            TrainingDivergedError: One of them is not finite: finite weights, too, may overflow on the way through the network.
        """
        if isinstance(inputs[0], PlacedParts):
            pieces, count = iter(inputs[0].pieces), inputs[0].count
        else:
            rows = [part for part in inputs if not isinstance(part, PlacedParts)]
            pieces, count = prediction_pieces(rows, self._loop.whole), sum(map(len, rows))
        logits: list[Any] = []
        for piece, batches in pieces:
            if len(logits) > 1:
                logits[-2] = np.asarray(logits[-2])  # no more than two pieces are on the device
            logits.append(self._loop.predict(piece, batches)[: batches * PREDICT_BATCH])
        answers: NDArray[np.float32] = np.concatenate([np.asarray(some) for some in logits])[:count]
        check_finite("the network's answers", answers)
        return answers

    def draw_view(self, images: NDArray[np.uint8], seed: int) -> NDArray[np.float32]:
        """Returns the frozen part's activations of one augmented and noisy view of each image, uint8 (n, size, size, 3).

        The same seed, recipe and images give the same activations.
        """
        seeds = np.random.SeedSequence(seed).generate_state(2).tolist()
        for variable in [v for v in [*self._augment.variables, *self._noise.variables] if is_seed_state(v)]:
            variable.assign(seed_state(seeds.pop()))
        return predict(images, self.folded, self._view)

    def frozen_activations(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Returns the frozen part's activations of images as they are."""
        return predict(images, self.folded)

    def classifier(self, dropout: float, temperature: float) -> keras.Model:
        """Returns the trained network as a plain Keras model from images to probabilities."""
        return build_classifier(self.backbone, self._head, dropout, temperature)


def loop_of_backend() -> type[Loop]:
    """Returns the loop of the backend that runs."""
    if keras_runs_on_jax():
        from tumorcls.model.loop_jax import JaxLoop

        return JaxLoop
    from tumorcls.model.loop_tensorflow import TensorFlowLoop

    return TensorFlowLoop


class _View(keras.Model):
    """Augmentation and noise as in training."""

    def __init__(self, augment: RandomAugment, noise: RandomNoise) -> None:
        super().__init__(name="view")
        self.augment, self.noise = augment, noise

    def call(self, images: KerasTensor) -> KerasTensor:
        return self.noise(self.augment(images, training=True), training=True)


def predict(images: Rows, network: keras.Model, view: keras.Model | None = None) -> NDArray[np.float32]:
    """Runs images through a network, through what draws a view of them first where there is one.

    A view is drawn of `PREDICT_BATCH` at a time, as float32, and the network takes as many as go through it together, images as
    they are like views: there is one program of each to compile. Not `model.predict`: on TensorFlow each call keeps its input
    for ever.
    """
    outputs = []
    for start in range(0, len(images), PREDICT_BATCH):
        rows = images[start : start + PREDICT_BATCH]
        run = partial(_predict_batch, filled(rows, PREDICT_BATCH).astype(np.float32), len(rows), network, view)
        outputs.append(activity.await_call(run))
        activity.advance(len(rows))
    return np.concatenate(outputs)


@naming_what_must_fit("images that go through the network together")
@gradients_forgotten()
def _predict_batch(
    batch: NDArray[np.float32], count: int, network: keras.Model, view: keras.Model | None
) -> NDArray[np.float32]:
    """Returns what a network gives for the first `count` images of a batch."""
    if view is not None:
        batch = np.asarray(view.predict_on_batch(batch))
    together = images_together(batch.shape[1])
    parts = [np.asarray(network.predict_on_batch(batch[first : first + together])) for first in range(0, count, together)]
    return np.concatenate(parts)[:count]


def is_mixed(config: TrainConfig) -> bool:
    """Whether a config's training steps are made with rounded numbers, as it says or as the device gains by it.

    Those of the head alone never are: it has no layers that would be.
    """
    wanted = config.precision == "mixed" or (config.precision == "auto" and gains_by_bfloat16())
    return wanted and config.trainable_from != "head"


def is_seed_state(variable: Any) -> bool:
    """Whether a variable is that of a `keras.random.SeedGenerator`."""
    return bool(variable.name == "seed_generator_state")


def seed_state(seed: int) -> NDArray[np.uint32]:
    """Returns the state of a `keras.random.SeedGenerator` made with `seed`: the seed itself and a counter."""
    return np.array([seed, 0], dtype=np.uint32)
