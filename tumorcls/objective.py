"""What a trial runs: samples become a config, the config is trained, its validation score comes back."""

import importlib.metadata
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from statistics import fmean, stdev
from typing import Any, Literal, Protocol

import numpy as np
import optuna

from tumorcls.cache.folder import cache_folder
from tumorcls.config.train_config import TrainConfig
from tumorcls.errors import ConfigError, TumorclsError
from tumorcls.model.backend import select_backend

_Part = Literal["train", "validation", "development"]

CONFIG_KEY, PROVENANCE_KEY = "search:config", "search:provenance"
"""User attributes that ``search export`` reads; see docs/study-files.md."""

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

    def __init__(
        self, *, artifacts: bool = True, checkpoints: bool = False, repeats: int = 1, folds: int = 1, **settings: Any
    ) -> None:
        """Checks the settings, prepares the data and loads a backend, so that what is wrong shows before the first trial.

        Args:
            artifacts: Whether a finished trial leaves pictures where its study keeps files, as one of `search` does.
            checkpoints: Whether the state after each epoch is kept while a trial runs, where its study keeps files, so that a
                trial that is lost goes on from there when it is tried again.
            repeats: So often a trial trains, each time with another seed; its value is the mean.
            folds: With 2 or more: so many parts that training and validation images are divided into. A trial trains once for
                each, which validates what it did not train on, and its value is the mean.
            **settings: Fields of `TrainConfig`; `data` at least.

        Raises:
            TumorclsError: A setting, the data, the weights or the backend is not what it must be.
        """
        for name, switch in (("artifacts", artifacts), ("checkpoints", checkpoints)):
            if not isinstance(switch, bool):
                raise ConfigError(f"[objective]: {name}: must be true or false; got {switch!r}. Write one of them.")
        self._artifacts = artifacts
        self._checkpoints = checkpoints
        self._repeats, self._folds = _check_runs(repeats, folds)
        self._settings = settings
        config = TrainConfig.parse(settings, where="[objective]")
        select_backend()
        from tumorcls.training.trainer import Trainer  # imports Keras

        self._trainer = Trainer.open(config, cache_folder())
        self.notes = self._trainer.prepared.manifest.notes()  # `search launch` says them
        self._parts: tuple[_Part, ...] = ("development",) if self._folds > 1 else ("train", "validation")
        for part in self._parts:
            self._trainer.images(part, config.image_size)
        if self._folds > 1:
            self._trainer.folds(config, self._folds)
        self._fingerprint = self._trainer.fingerprint(config)

    def fingerprint(self) -> dict[str, str]:
        """Returns what all values depend on besides the settings: data, split, weights, code and backend."""
        return self._fingerprint

    def describe_change(self, before: Mapping[str, str], now: Mapping[str, str]) -> str:
        """Returns in one line how two fingerprints differ."""
        from tumorcls.training.measured_with import describe_change

        return describe_change(before, now, self._trainer.prepared, self._trainer.cache)

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
        runs = self._runs(config, seed)
        folder = getattr(trial, "checkpoint_folder", None)  # a trial of plain Optuna is never tried again
        kept = folder() if self._checkpoints and folder is not None else None
        scores: list[Mapping[str, float]] = []
        seconds: Counter[str] = Counter()
        epochs: list[Any] = []

        def report(value: float, step: int, steps: int) -> None:
            if len(config.score) > 1:
                return  # Optuna keeps no intermediate values of several directions, and prunes nothing there
            trial.report(value, step=step)
            if step < steps - 1 and trial.should_prune():
                raise optuna.TrialPruned

        def on_epoch_end(epoch: Any) -> None:
            epochs.append(epoch)
            if not math.isfinite(epoch.loss):
                raise TrainingDivergedError(f"epoch {epoch.number}: the training loss must stay finite; got {epoch.loss}.")
            if len(runs) == 1:
                report(epoch.scores[config.score[0]], epoch.number, config.epochs)

        for number, (run_seed, fold) in enumerate(runs):
            epochs.clear()
            fitted = self._trainer.fit(config, run_seed, on_epoch_end, fold=fold, checkpoints=kept)
            scores.append(fitted.last.scores)
            seconds.update(asdict(fitted.seconds))
            if len(runs) > 1:
                report(fitted.last.scores[config.score[0]], number, len(runs))
        means = {name: fmean(score[name] for score in scores) for name in scores[0]}
        self._record(trial, config, means, scores, seconds)
        self._leave_pictures(trial, epochs, fitted.validation)
        values = tuple(means[name] for name in config.score)
        return values if len(values) > 1 else values[0]

    def _runs(self, config: TrainConfig, seed: int) -> list[tuple[int, Any]]:
        """Returns the seed and the fold of each run of a trial; None stands for the split's own train and validation."""
        if self._folds > 1:
            return [(seed, fold) for fold in self._trainer.folds(config, self._folds)]
        more = np.random.SeedSequence(seed).generate_state(self._repeats)[1:] >> 1
        return [(run_seed, None) for run_seed in (seed, *more.tolist())]

    def _record(
        self,
        trial: Trial,
        config: TrainConfig,
        means: Mapping[str, float],
        scores: Sequence[Mapping[str, float]],
        seconds: Mapping[str, float],
    ) -> None:
        for name, mean in means.items():
            trial.set_user_attr(name, round(mean, 6))
        if len(scores) > 1:
            for name in config.score:
                trial.set_user_attr(f"{name}_of_runs", [round(score[name], 6) for score in scores])
                trial.set_user_attr(f"{name}_stdev", round(stdev(score[name] for score in scores), 6))
        trial.set_user_attr("seconds", {part: round(taken, 3) for part, taken in seconds.items()})
        trial.set_user_attr("validation_share_of_time", round(seconds["validation"] / seconds["total"], 4))

    def _leave_pictures(self, trial: Trial, epochs: Sequence[Any], validation: Any) -> None:
        upload = getattr(trial, "upload_artifact", None)  # a trial of plain Optuna has nowhere to put them
        if not self._artifacts or upload is None:
            return
        from tumorcls.reports.trial_figures import pictures

        for name, content in pictures(epochs, validation).items():
            upload(name, content)

    def _describe(self, trial: Trial, config: TrainConfig, seed: int) -> None:
        prepared = self._trainer.prepared
        trial.set_user_attr(CONFIG_KEY, config.model_dump(mode="json"))
        trial.set_user_attr("training_seed", seed)
        for part in self._parts:
            trial.set_user_attr(f"{part}_images", self._trainer.images(part, config.image_size).class_counts())
        hashes = {"manifest_sha256": prepared.manifest.sha256, "split_sha256": prepared.split_sha256}
        provenance = {**hashes, **self._fingerprint, **package_versions()}
        trial.set_user_attr(PROVENANCE_KEY, provenance)
        if self.notes:
            trial.set_user_attr("data_notes", list(self.notes))


def _check_runs(repeats: int, folds: int) -> tuple[int, int]:
    for name, count in (("repeats", repeats), ("folds", folds)):
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise ConfigError(f"[objective]: {name}: must be a whole number >= 1; got {count!r}. Write 5, or leave it out.")
    if repeats > 1 and folds > 1:
        raise ConfigError(f"[objective]: repeats, folds: only one may be above 1; got {repeats} and {folds}. Remove one.")
    return repeats, folds


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
