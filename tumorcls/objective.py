"""The objective of a study: samples become a config, the config is trained, its validation score comes back."""

import json
import os
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from statistics import fmean, stdev
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from tumorcls import DISCLAIMER, activity
from tumorcls.cache.folder import cache_folder
from tumorcls.config.space_check import check_opened
from tumorcls.config.train_config import TrainConfig
from tumorcls.config.variables import lasting
from tumorcls.errors import ConfigError
from tumorcls.model.backend import device_notes, package_versions, select_backend
from tumorcls.training.trial import KeepsArtifacts, KeepsCheckpoints, Trial, check_directions, report

if TYPE_CHECKING:  # they import OpenCV and Keras
    from tumorcls.data.dataset import Fold, Part
    from tumorcls.training.checkpoint import Checkpoints
    from tumorcls.training.trainer import Fitted
    from tumorcls.training.validation import Epoch

CONFIG_KEY, PROVENANCE_KEY = "search:config", "search:provenance"
"""User attributes that ``search export`` reads; see docs/search-your-own-model.md."""


class BrainTumourObjective:
    """Trains EfficientNetB0 on brain MRI with a trial's hyperparameters and returns the validation score.

    Works in a study of `search`, which samples the `[space]` of the study file, and with plain Optuna::

        study.optimize(BrainTumourObjective(data="data/sartaj", trainable_from="head"), n_trials=20)

    where each trial is asked for the five hyperparameters of `suggest`. No part of it opens a test image.

    Attributes:
        on_activity: Takes what is told of all that takes a while; without it a terminal or a notebook shows one line.
        reports: What `search` asks for how often a trial reports: once for each run where there are several, else each epoch.
    """

    reports: Mapping[str, Sequence[str]] = MappingProxyType({"run": ("folds", "repeats"), "epoch": ("epochs",)})
    on_activity = staticmethod(activity.listen)

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
        self._checkpoints, self._pauses = checkpoints, False
        self._repeats, self._folds = _check_runs(repeats, folds)
        self._settings = settings
        self._turn = threading.Lock()
        config = TrainConfig.parse(settings, where="[objective]")
        self._opened_with = config
        activity.tell("loading the backend")
        select_backend()
        from tumorcls.training.trainer import Trainer  # imports Keras

        self._trainer = Trainer.open(config, cache_folder())
        self.notes = (*config.notes, *self._trainer.prepared.manifest.notes(), *device_notes())  # `search launch` says them
        self._parts: tuple[Part, ...] = ("development",) if self._folds > 1 else ("train", "validation")
        for part in self._parts:
            self._trainer.images(part, config.image_size)
        if self._folds > 1:
            self._trainer.folds(config, self._folds)
        self._fingerprint = self._trainer.fingerprint(config)

    @classmethod
    def check_space(
        cls, space: Mapping[str, Mapping[str, Any]], enqueue: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]
    ) -> list[str]:
        """Returns a line for each name, range or setting of a study file that cannot be; asked before data is prepared."""
        from tumorcls.config.space_check import check_space

        return check_space(space, enqueue, _config_settings(settings))

    @classmethod
    def directions(cls, settings: Mapping[str, Any]) -> list[str]:
        """Returns those that a study must have: one for each score, and all scores are the better the higher they are."""
        return ["maximize"] * len(TrainConfig.parse(_config_settings(settings), where="[objective]").score)

    @classmethod
    def defaults(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Returns what a trial is trained with where it has no parameter of a name: the setting, or else the default."""
        return TrainConfig.parse(_config_settings(settings), where="[objective]").model_dump()

    def fingerprint(self) -> dict[str, str]:
        """Returns what all values depend on besides the settings: data, split, weights, code and backend."""
        return self._fingerprint

    def describe_change(self, before: Mapping[str, str], now: Mapping[str, str]) -> str:
        """Returns in one line how two fingerprints differ."""
        from tumorcls.training.measured_with import describe_change

        return describe_change(before, now, self._trainer.prepared, self._trainer.cache)

    def references(self) -> dict[str, tuple[float, ...]]:
        """Returns what no search is needed for, a value for each score: a logistic regression on frozen features, and guessing.

        Both are measured on the split's own validation part, as the end of a trial is; see `tumorcls.training.linear_probe`.
        """
        from tumorcls.evaluation.metrics import guessing_f1
        from tumorcls.training.linear_probe import fit_linear_probe

        config = self._opened_with
        scores = fit_linear_probe(self._trainer, config).scores
        guessing = guessing_f1(self._trainer.images("validation", config.image_size).labels, len(config.classes))
        return {
            "logistic regression on standardised frozen features": tuple(scores[name] for name in config.score),
            "guessing": (guessing,) * len(config.score),
        }

    def check_fidelity(self, name: str) -> None:
        """Makes sure that trials can be paused and taken up again with more of a parameter, and has them keep what that needs.

        A trial that comes again with more epochs goes on after those that it had, and reports the new ones. Its value is what
        it would be without the pause.

        Raises:
            ConfigError: They cannot go on by that parameter.
        """
        if name != "epochs":
            raise ConfigError(f"space.{name}: fidelity: must be of epochs for this objective; got {name}. Remove it there.")
        for key, count in (("repeats", self._repeats), ("folds", self._folds)):
            if count > 1:
                raise ConfigError(
                    f"[objective]: {key}: must be 1 where epochs is a fidelity, since a trial of several runs reports runs; "
                    f"got {count}. Remove one of them."
                )
        _check_can_go_on(self._opened_with, "[objective]")
        self._pauses = True

    def __call__(self, trial: Trial) -> float | tuple[float, ...]:
        """Trains one model and returns its validation score, in [0, 1]; of several scores one value each.

        Threads take turns, since they share the network: Optuna's `n_jobs` gains nothing here, and costs nothing either.

        Raises:
            ConfigError: The study has other directions than to maximize each score.
            optuna.TrialPruned: The pruner gave this trial up.
            TrainingDivergedError: Its loss, a weight or an answer of the network is not finite.
            TumorclsError: A hyperparameter is out of range, or the data or the cache cannot be read any more.
        """
        params = dict(trial.params) or suggest(trial)
        config = TrainConfig.parse({**self._settings, **params}, where=f"trial {trial.number}")
        check_opened(config, self._opened_with, f"trial {trial.number}")
        check_directions(trial, config)
        if self._pauses:  # the schedule may be sampled
            _check_can_go_on(config, f"trial {trial.number}")
        seed = int(trial.user_attrs.get("seed", trial.number))
        self._describe(trial, config, seed)
        with self._turn, activity.titled(f"trial {trial.number}"):
            fitted = self._train_runs(trial, config, self._runs(config, seed))
        means = {name: fmean(run.scores[name] for run in fitted) for name in fitted[0].scores}
        self._record(trial, config, means, fitted)
        self._leave_files(trial, fitted[-1])
        values = tuple(means[name] for name in config.score)
        return values if len(values) > 1 else values[0]

    def _runs(self, config: TrainConfig, seed: int) -> "list[tuple[int, Fold | None]]":
        """Returns the seed of each training of a trial, and its fold, or None for the split's own train and validation."""
        if self._folds > 1:
            return [(seed, fold) for fold in self._trainer.folds(config, self._folds)]
        more = np.random.SeedSequence(seed).generate_state(self._repeats)[1:] >> 1
        return [(run_seed, None) for run_seed in (seed, *more.tolist())]

    def _train_runs(self, trial: Trial, config: TrainConfig, runs: "Sequence[tuple[int, Fold | None]]") -> "list[Fitted]":
        """Trains a model for each run. The only one is reported after each epoch, several each at its end."""
        checkpoints = self._checkpoints_of(trial)

        def on_epoch_end(epoch: "Epoch") -> None:
            score = config.score[0]
            activity.retitle(f"trial {trial.number}, {score} {epoch.scores[score]:.3f}")
            if len(runs) == 1:
                report(trial, config, epoch.scores, epoch.number, steps=config.epochs)

        fitted = []
        for number, (seed, fold) in enumerate(runs):
            fitted.append(self._trainer.fit(config, seed, on_epoch_end, fold=fold, checkpoints=checkpoints))
            if len(runs) > 1:
                report(trial, config, fitted[-1].scores, number, steps=len(runs))
        return fitted

    def _checkpoints_of(self, trial: Trial) -> "Checkpoints | None":
        from tumorcls.training.checkpoint import Checkpoints

        if not (self._checkpoints or self._pauses) or not isinstance(trial, KeepsCheckpoints):
            return None
        folder = trial.checkpoint_folder()
        return Checkpoints(folder, each_epoch=self._checkpoints, paused=self._pauses) if folder is not None else None

    def _record(self, trial: Trial, config: TrainConfig, means: Mapping[str, float], fitted: "Sequence[Fitted]") -> None:
        for name, mean in means.items():
            trial.set_user_attr(name, round(mean, 6))
        if 1 < len(fitted) <= _FEW_RUNS:  # of more, there are the reports: one for each
            for name in config.score:
                scores = [run.scores[name] for run in fitted]
                trial.set_user_attr(f"{name}_of_runs", [round(score, 6) for score in scores])
                trial.set_user_attr(f"{name}_stdev", round(stdev(scores), 6))
        seconds: Counter[str] = Counter()
        for run in fitted:
            seconds.update(asdict(run.seconds))
        trial.set_user_attr("seconds", {part: round(taken, 3) for part, taken in seconds.items()})
        trial.set_user_attr("validation_share_of_time", round(seconds["validation"] / seconds["total"], 4))

    def _leave_files(self, trial: Trial, fitted: "Fitted") -> None:
        """Leaves a trial's config and provenance, to be read, and pictures of its last run."""
        if not self._artifacts or not isinstance(trial, KeepsArtifacts):
            return
        from tumorcls.reports.trial_figures import pictures

        assert fitted.validation is not None, "a trial is no final run"
        for name, content in pictures(fitted.epochs, fitted.validation).items():
            trial.upload_artifact(name, content)
        recorded = {"config": trial.user_attrs[CONFIG_KEY], "provenance": trial.user_attrs[PROVENANCE_KEY]}
        trial.upload_artifact("config.json", json.dumps(recorded, indent=1).encode())

    def _describe(self, trial: Trial, config: TrainConfig, seed: int) -> None:
        from tumorcls.training.measured_with import computed_with

        prepared = self._trainer.prepared
        paths = {"data": [lasting(path, os.environ) for path in config.data], "weights": lasting(config.weights, os.environ)}
        trial.set_user_attr(CONFIG_KEY, {**config.model_dump(mode="json"), **paths})
        trial.set_user_attr("training_seed", seed)
        for part in self._parts:
            trial.set_user_attr(f"{part}_images", self._trainer.images(part, config.image_size).class_counts())
        hashes = {"manifest_sha256": prepared.manifest.sha256, "split_sha256": prepared.split_sha256}
        made_with = {**self._fingerprint, **computed_with(config), **package_versions()}
        several = {name: count for name, count in (("repeats", self._repeats), ("folds", self._folds)) if count > 1}
        provenance: dict[str, Any] = {**hashes, **made_with, **several, "notice": DISCLAIMER}
        if notes := prepared.manifest.notes():
            provenance["data_notes"] = list(notes)
        trial.set_user_attr(PROVENANCE_KEY, provenance)


def _config_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns those of the settings of `[objective]` that are fields of a config."""
    return {name: value for name, value in settings.items() if name not in ("artifacts", "checkpoints", "repeats", "folds")}


def _check_runs(repeats: int, folds: int) -> tuple[int, int]:
    for name, count in (("repeats", repeats), ("folds", folds)):
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise ConfigError(f"[objective]: {name}: must be a whole number >= 1; got {count!r}. Write 5, or leave it out.")
    if repeats > 1 and folds > 1:
        raise ConfigError(f"[objective]: repeats, folds: only one may be above 1; got {repeats} and {folds}. Remove one.")
    return repeats, folds


def _check_can_go_on(config: TrainConfig, where: str) -> None:
    if not config.can_go_on:
        raise ConfigError(
            f"{where}: schedule: a short run must be the beginning of a longer one where epochs is a fidelity; "
            f'got "{config.schedule}". Write schedule = "ema".'
        )


_FEW_RUNS = 16
"""Runs of a trial whose scores fit in a line."""


def suggest(trial: Trial) -> dict[str, Any]:
    """Samples the five hyperparameters of the project for a trial that brings none, as in `studies/brain-mri.toml`."""
    return {
        "epochs": trial.suggest_int("epochs", 4, 20, step=4),
        "learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True),
        "dropout": trial.suggest_float("dropout", 0.0, 0.6, step=0.1),
        "batch_size": trial.suggest_categorical("batch_size", [16, 32, 64]),
        "noise_intensity": trial.suggest_float("noise_intensity", 0.0, 1.0, step=0.25),
    }
