"""The objective of own-torch.toml: a PyTorch model on scikit-learn's handwritten digits, in place of your data and model.

It needs PyTorch: pip install torch.

Run as a program it trains the best config, exported as best.toml, once more, and saves the model.
"""

import tomllib
from pathlib import Path

import optuna
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Objective:
    """Built once in each worker process, so load data here; then called with each trial, and again to train it further."""

    def __init__(self) -> None:
        self.reports = {"epoch": ["epochs"]}  # how often a trial reports: once in each of its epochs
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        images, labels = load_digits(return_X_y=True)
        images = torch.tensor(images.reshape(-1, 1, 8, 8) / 16.0, dtype=torch.float32)
        # A test part is left to main(): what is searched on must not be what the winner is measured on.
        images, test, labels, test_labels = train_test_split(images, torch.tensor(labels), test_size=0.2, random_state=0)
        train, validation, train_labels, validation_labels = train_test_split(images, labels, test_size=0.25, random_state=0)
        self.train, self.test = TensorDataset(train, train_labels), TensorDataset(test, test_labels)
        self.validation = TensorDataset(validation, validation_labels)

    def check_fidelity(self, name: str) -> None:
        """Says of which parameter a trial can be trained to one value, and later to a higher one."""
        if name != "epochs":
            raise ValueError(f"space.{name}: only epochs can be the fidelity; got {name}. Remove fidelity = true.")

    def __call__(self, trial: optuna.Trial) -> float:
        """Returns the accuracy on validation images after the last epoch."""
        return self.train_model(trial)[1]

    def train_model(self, trial: optuna.trial.BaseTrial) -> tuple[nn.Module, float]:
        """Trains the model of a trial to its number of epochs, those before its checkpoint not again."""
        seed = trial.user_attrs["seed"]  # each trial has its own; with it the study can be repeated
        torch.manual_seed(seed)
        units, dropout = trial.suggest_int("units", 16, 128, log=True), trial.suggest_float("dropout", 0.0, 0.5, step=0.1)
        model = nn.Sequential(
            nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Flatten(),
            nn.Linear(16 * 6 * 6, units), nn.ReLU(), nn.Dropout(dropout), nn.Linear(units, 10),
        ).to(self.device)  # fmt: skip
        optimizer = torch.optim.AdamW(model.parameters(), trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True))
        loader = DataLoader(self.train, trial.suggest_categorical("batch_size", [16, 32, 64]), shuffle=True)
        # All epochs of the trial, not those to come. The first ones must not depend on how many: no schedule over all of them.
        epochs = trial.suggest_int("epochs", 2, 16)

        # A folder that the trial finds again after a kill, and when it is trained further. A trial of plain Optuna has none.
        folder = trial.checkpoint_folder() if hasattr(trial, "checkpoint_folder") else None
        checkpoint = folder / "last.pt" if folder is not None else None
        accuracies: list[float] = []
        if checkpoint is not None and checkpoint.exists():
            state = torch.load(checkpoint, map_location=self.device)
            model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
            accuracies = state["accuracies"]
        for epoch in range(epochs):
            if epoch >= len(accuracies):
                torch.manual_seed(seed + epoch)  # so that an epoch is the same after a checkpoint as without one
                self.train_epoch(model, optimizer, loader)
                accuracies.append(self.accuracy(model, self.validation))
                if checkpoint is not None:
                    part = checkpoint.with_suffix(".part")  # a kill while it is written leaves the one before
                    torch.save(
                        {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "accuracies": accuracies}, part
                    )
                    part.replace(checkpoint)
            trial.report(accuracies[epoch], epoch)
            if epoch + 1 < epochs and trial.should_prune():  # never while epochs is the fidelity
                raise optuna.TrialPruned
        return model, accuracies[-1]

    def train_epoch(self, model: nn.Module, optimizer: torch.optim.Optimizer, loader: DataLoader) -> None:
        """Trains a model on each image once."""
        model.train()
        for images, labels in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images.to(self.device)), labels.to(self.device)).backward()
            optimizer.step()

    @torch.no_grad()
    def accuracy(self, model: nn.Module, part: TensorDataset) -> float:
        """Returns which part of the images a model gets right."""
        model.eval()
        images, labels = (tensor.to(self.device) for tensor in part.tensors)
        return float((model(images).argmax(1) == labels).float().mean())


def main() -> None:
    """Trains the best config as its trial did, measures the model on the test part, and saves its weights."""
    best = tomllib.loads(Path("best.toml").read_text())
    trial = optuna.trial.FixedTrial(best["config"])
    trial.set_user_attr("seed", best["provenance"]["seed"])
    objective = Objective()
    model, accuracy = objective.train_model(trial)
    print(f"validation {accuracy:.4f}  test {objective.accuracy(model, objective.test):.4f}")
    torch.save(model.state_dict(), "best.pt")


if __name__ == "__main__":
    main()
