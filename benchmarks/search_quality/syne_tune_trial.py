"""The script that Syne Tune starts for a trial: hyperparameters are arguments, and each epoch is reported."""

import argparse
import os

import keras
import tensorflow as tf
from syne_tune import Reporter

from benchmarks.keras_peer import MONITOR, build, images_of
from benchmarks.search_quality.contenders import EPOCHS
from benchmarks.search_quality.syne_tune_peer import STUDY
from search.keras_tuner.tuner import params_of
from search.study_file.load import load
from tumorcls.cache.folder import cache_folder
from tumorcls.config.train_config import TrainConfig
from tumorcls.training.trainer import Trainer


def main() -> None:
    spec = load(os.environ[STUDY])
    parser = argparse.ArgumentParser()
    for name in spec.space:
        parser.add_argument(f"--{name}", type=float, default=EPOCHS)
    arguments, _ = parser.parse_known_args()
    config = TrainConfig.parse({**spec.settings, **params_of(vars(arguments), spec.space)}, where="trial")
    train, validation = images_of(Trainer.open(config, cache_folder()), config)
    report = Reporter()

    def on_epoch_end(epoch: int, logs: dict[str, float]) -> None:
        report(epoch=epoch + 1, score=logs[MONITOR])

    build(config, train[1].shape[1]).fit(
        tf.data.Dataset.from_tensor_slices(train).shuffle(len(train[0])).batch(config.batch_size).prefetch(tf.data.AUTOTUNE),
        validation_data=tf.data.Dataset.from_tensor_slices(validation).batch(config.batch_size),
        epochs=EPOCHS,
        callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=on_epoch_end)],
        shuffle=False,
        verbose=0,
    )


if __name__ == "__main__":
    main()
