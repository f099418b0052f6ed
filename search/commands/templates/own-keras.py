"""The objective of own-keras.toml: a Keras model on scikit-learn's handwritten digits, in place of your data and model.

Run as a program it trains the best config, exported as best.toml, once more, and saves the model.
"""

import tomllib
from pathlib import Path

import keras
import optuna
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


class Report(keras.callbacks.Callback):
    """Reports a metric after each epoch, and ends a trial that is not worth going on with, if it has not ended."""

    def __init__(self, trial: optuna.trial.BaseTrial, monitor: str) -> None:
        super().__init__()
        self.trial = trial
        self.monitor = monitor

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Is called by Keras."""
        self.trial.report(logs[self.monitor], epoch)
        ended = self.model.stop_training or epoch + 1 == self.params["epochs"]
        if not ended and self.trial.should_prune():
            raise optuna.TrialPruned


class Objective:
    """Built once in each worker process, so load data here; then called with each trial."""

    def __init__(self, *, epochs: int = 8) -> None:
        self.epochs = epochs
        images, labels = load_digits(return_X_y=True)
        images = images.reshape(-1, 8, 8, 1) / 16.0
        # A test part is left to main(): what is searched on must not be what the winner is measured on.
        images, self.test, labels, self.test_labels = train_test_split(images, labels, test_size=0.2, random_state=0)
        parts = train_test_split(images, labels, test_size=0.25, random_state=0)
        self.train, self.validation, self.train_labels, self.validation_labels = parts

    def __call__(self, trial: optuna.Trial) -> float:
        """Returns the accuracy on validation images after the last epoch."""
        return float(self.train_model(trial).history.history["val_accuracy"][-1])

    def train_model(self, trial: optuna.trial.BaseTrial) -> keras.Model:
        """Builds and trains the model of a trial."""
        keras.backend.clear_session()
        # Each trial has its own; with it the study can be repeated.
        keras.utils.set_random_seed(trial.user_attrs["seed"] % 2**32)
        model = keras.Sequential(
            [
                keras.layers.Conv2D(16, 3, activation="relu"),
                keras.layers.Flatten(),
                keras.layers.Dense(trial.suggest_int("units", 16, 128, log=True), activation="relu"),
                keras.layers.Dropout(trial.suggest_float("dropout", 0.0, 0.5, step=0.1)),
                keras.layers.Dense(10, activation="softmax"),
            ]
        )
        optimizer = keras.optimizers.Adam(trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True))
        model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
        model.fit(
            self.train,
            self.train_labels,
            validation_data=(self.validation, self.validation_labels),
            batch_size=trial.suggest_categorical("batch_size", [16, 32, 64]),
            epochs=self.epochs,
            callbacks=[Report(trial, "val_accuracy")],
            verbose=0,
        )
        return model


def main() -> None:
    """Trains the best config as its trial did, measures the model on the test part, and saves it."""
    best = tomllib.loads(Path("best.toml").read_text())
    trial = optuna.trial.FixedTrial(best["config"])
    trial.set_user_attr("seed", best["provenance"]["seed"])
    objective = Objective(epochs=best["config"]["epochs"])
    model = objective.train_model(trial)
    _, accuracy = model.evaluate(objective.test, objective.test_labels, verbose=0)
    print(f"validation {model.history.history['val_accuracy'][-1]:.4f}  test {accuracy:.4f}")
    model.save("best.keras")


if __name__ == "__main__":
    main()
