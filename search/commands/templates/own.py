"""The objective of own.toml: scikit-learn on its handwritten digits, in place of your data and model."""

import optuna
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier


class Objective:
    """Built once in each worker process, so load data here; then called with each trial."""

    def __init__(self, *, epochs: int = 20) -> None:
        self.epochs = epochs
        images, labels = load_digits(return_X_y=True)
        # A test part is left alone: what is searched on must not be what the winner is measured on.
        images, self.test, labels, self.test_labels = train_test_split(images / 16.0, labels, test_size=0.2, random_state=0)
        parts = train_test_split(images, labels, test_size=0.25, random_state=0)
        self.train, self.validation, self.train_labels, self.validation_labels = parts

    def __call__(self, trial: optuna.Trial) -> float:
        """Returns the accuracy on validation images, and reports it after each epoch so that a bad trial can be given up."""
        model = MLPClassifier(
            hidden_layer_sizes=(trial.suggest_int("hidden", 8, 128, log=True),),
            alpha=trial.suggest_float("l2", 1e-6, 1.0, log=True),
            activation=trial.suggest_categorical("activation", ["relu", "tanh"]),
            random_state=trial.user_attrs["seed"] % 2**32,  # each trial has its own
        )
        accuracy = 0.0
        for epoch in range(self.epochs):
            model.partial_fit(self.train, self.train_labels, classes=range(10))
            accuracy = float(model.score(self.validation, self.validation_labels))
            trial.report(accuracy, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        return accuracy
