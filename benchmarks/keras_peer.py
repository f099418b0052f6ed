"""The network as a user of Keras builds it, for benchmarks against tools that build, compile and fit a model for each trial.

It augments with Keras's own layers, gets noise from this project's layer, since Keras has no such one, and freezes as Keras's
guide to fine-tuning EfficientNet does: up to a block's output, and BatchNormalization everywhere.
"""

from typing import Any

import keras
import optuna

from tumorcls.config.train_config import TrainConfig
from tumorcls.model.backbone import FROZEN_OUTPUT, build_backbone
from tumorcls.noise.layer import RandomNoise
from tumorcls.training.trainer import Trainer

MONITOR = "val_macro_f1"

Images = tuple[tuple[Any, Any], tuple[Any, Any]]
"""Of training and validation: images in memory, uint8, and their one-hot targets."""


def build(config: TrainConfig, classes: int) -> keras.Model:
    """Builds and compiles the model of one trial, which takes images and one-hot targets."""
    images = keras.Input((config.image_size, config.image_size, 3))
    x = keras.layers.RandomFlip("horizontal")(images)
    x = keras.layers.RandomRotation(config.rotation_degrees / 360, fill_mode="constant")(x)
    x = keras.layers.RandomTranslation(config.height_shift, config.width_shift, fill_mode="constant")(x)
    noise = RandomNoise(config.noises, config.clean_share)
    noise.max_intensity.assign(config.noise_intensity)
    backbone = build_backbone(config.image_size, config.weights)
    _freeze(backbone, config)
    features = keras.layers.Dropout(config.dropout)(backbone(noise(x)))
    return compiled(keras.Model(images, keras.layers.Dense(classes, activation="softmax")(features)), config)


def build_head(config: TrainConfig, features: int, classes: int) -> keras.Model:
    """Builds and compiles the head alone, which takes what the frozen network gives: the other way of Keras's guide."""
    layers = [keras.layers.Dropout(config.dropout), keras.layers.Dense(classes, activation="softmax")]
    return compiled(keras.Sequential([keras.Input((features,)), *layers]), config)


def compiled(model: keras.Model, config: TrainConfig) -> keras.Model:
    """Compiles a model from something to probabilities."""
    model.compile(
        optimizer=keras.optimizers.Adam(config.learning_rate),
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=config.label_smoothing),
        metrics=[keras.metrics.F1Score(average="macro", name=MONITOR.removeprefix("val_"))],
    )
    return model


def _freeze(backbone: keras.Model, config: TrainConfig) -> None:
    if config.trainable_from == "head":
        backbone.trainable = False
        return
    names = [layer.name for layer in backbone.layers]
    first = 0 if config.trainable_from == "all" else names.index(FROZEN_OUTPUT[config.trainable_from]) + 1
    for index, layer in enumerate(backbone.layers):
        frozen_statistics = config.batch_norm == "freeze" and isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = index >= first and not frozen_statistics


class PruningCallback(keras.callbacks.Callback):
    """What `KerasPruningCallback` of optuna-integration does."""

    def __init__(self, trial: optuna.Trial) -> None:
        super().__init__()
        self._trial = trial

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        self._trial.report(logs[MONITOR], step=epoch)
        if self._trial.should_prune():
            raise optuna.TrialPruned


def images_of(trainer: Trainer, config: TrainConfig) -> Images:
    """Reads training and validation images, which decodes those that the trainer's cache lacks."""
    train, validation = (trainer.images(part, config.image_size) for part in ("train", "validation"))
    return (train.images[:], train.targets()), (validation.images[:], validation.targets())
