"""What a trial runs: samples become a config, the config is trained, its validation score comes back."""

import importlib.metadata
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Protocol

import optuna

from tumorcls.backend import select_backend
from tumorcls.config import TrainConfig, cache_folder
from tumorcls.errors import ConfigError, TumorclsError

PACKAGES = ("tumorcls", "keras", "tensorflow-cpu", "tensorflow", "jax", "numpy", "optuna")


class Trial(Protocol):
    """The part of `optuna.Trial` that the objective uses; `search` and Optuna both give one."""

    @property
    def number(self) -> int: ...

    @property
    def params(self) -> dict[str, Any]: ...

    @property
    def user_attrs(self) -> dict[str, Any]: ...

    def suggest_float(self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False) -> float: ...

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int: ...

    def suggest_categorical(self, name: str, choices: Any) -> Any: ...

    def report(self, value: float, step: int) -> None: ...

    def should_prune(self) -> bool: ...

    def set_user_attr(self, key: str, value: Any) -> None: ...


class BrainTumourObjective:
    """Trains EfficientNetB0 on brain MRI with a trial's hyperparameters and returns the validation score.

    Works in a study of `search`, which samples the `[space]` of the study file, and with plain Optuna::

        study.optimize(BrainTumourObjective(data="data/sartaj", trainable_from="head"), n_trials=20)

    where each trial is asked for the five hyperparameters of `suggest`. No part of it opens a test image.
    """

    def __init__(self, *, artifacts: bool = True, **settings: Any) -> None:
        """Checks the settings, prepares the data and loads a backend, so that what is wrong shows before the first trial.

        Args:
            artifacts: Whether a finished trial leaves pictures where its study keeps files, as one of `search` does.
            **settings: Fields of `TrainConfig`; `data` at least.

        Raises:
            TumorclsError: A setting, the data, the weights or the backend is not what it must be.
        """
        if not isinstance(artifacts, bool):
            raise ConfigError(f"[objective]: artifacts: must be true or false; got {artifacts!r}. Write one of them.")
        self._artifacts = artifacts
        self._settings = settings
        config = TrainConfig.parse(settings, where="[objective]")
        select_backend()
        from tumorcls.train import Trainer  # imports Keras

        self._trainer = Trainer.open(config, cache_folder())
        for part in ("train", "validation"):
            self._trainer.images(part, config.image_size)
        self._trainer.programs.get(config)

    def __call__(self, trial: Trial) -> float | tuple[float, ...]:
        """Trains one model and returns its validation score, in [0, 1]; of several scores one value each.

        Raises:
            ConfigError: There are more or fewer scores than the study has directions.
            optuna.TrialPruned: The pruner gave this trial up.
            TumorclsError: A hyperparameter is out of range, or the data or the cache cannot be read any more.
        """
        params = dict(trial.params) or suggest(trial)
        config = TrainConfig.parse({**self._settings, **params}, where=f"trial {trial.number}")
        _check_directions(trial, config)
        seed = int(trial.user_attrs.get("seed", trial.number))
        self._describe(trial, config, seed)
        epochs: list[Any] = []

        def on_epoch_end(epoch: Any) -> None:
            epochs.append(epoch)
            if not math.isfinite(epoch.loss):
                raise TrainingDivergedError(f"epoch {epoch.number}: the training loss must stay finite; got {epoch.loss}.")
            if len(config.score) > 1:
                return  # Optuna keeps no intermediate values of several directions, and prunes nothing there
            trial.report(epoch.scores[config.score[0]], step=epoch.number)
            if epoch.number < config.epochs - 1 and trial.should_prune():
                raise optuna.TrialPruned

        fitted = self._trainer.fit(config, seed, on_epoch_end)
        for name, score in fitted.last.scores.items():
            trial.set_user_attr(name, round(score, 6))
        trial.set_user_attr("seconds", {part: round(seconds, 3) for part, seconds in asdict(fitted.seconds).items()})
        trial.set_user_attr("validation_share_of_time", round(fitted.seconds.validation / fitted.seconds.total, 4))
        self._leave_pictures(trial, epochs, config)
        values = tuple(fitted.last.scores[name] for name in config.score)
        return values if len(values) > 1 else values[0]

    def _leave_pictures(self, trial: Trial, epochs: Sequence[Any], config: TrainConfig) -> None:
        upload = getattr(trial, "upload_artifact", None)  # a trial of plain Optuna has nowhere to put them
        if not self._artifacts or upload is None:
            return
        from tumorcls.trial_pictures import pictures

        for name, content in pictures(epochs, config.classes).items():
            upload(name, content)

    def _describe(self, trial: Trial, config: TrainConfig, seed: int) -> None:
        prepared = self._trainer.prepared
        trial.set_user_attr("config", config.model_dump(mode="json"))
        trial.set_user_attr("training_seed", seed)
        for part in ("train", "validation"):
            trial.set_user_attr(f"{part}_images", self._trainer.images(part, config.image_size).class_counts())
        provenance = {"manifest_sha256": prepared.manifest.sha256, "split_sha256": prepared.split_sha256, **package_versions()}
        trial.set_user_attr("provenance", provenance)


def _check_directions(trial: Trial, config: TrainConfig) -> None:
    """Tells before the training what Optuna would tell after it; a trial that does not know its study passes."""
    study = getattr(trial, "study", None)
    wanted = len(study.directions) if study is not None else getattr(trial, "directions", len(config.score))
    if wanted != len(config.score):
        raise ConfigError(
            f"[objective]: score: must name one score for each of the study's {wanted} directions; "
            f"got {', '.join(config.score)}. Change score, or directions in [study]."
        )


class TrainingDivergedError(TumorclsError):
    """The training loss became infinite or not a number."""


def suggest(trial: Trial) -> dict[str, Any]:
    """Samples the five hyperparameters of the project for a trial that brings none, as in `studies/brain-mri.toml`."""
    return {
        "epochs": trial.suggest_int("epochs", 4, 20, step=4),
        "learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True),
        "dropout": trial.suggest_float("dropout", 0.0, 0.6, step=0.1),
        "batch_size": trial.suggest_categorical("batch_size", [16, 32, 64]),
        "noise_intensity": trial.suggest_float("noise_intensity", 0.0, 1.0, step=0.25),
    }


def package_versions() -> dict[str, str]:
    """Returns the versions of the packages that decide a result, where they are installed."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
