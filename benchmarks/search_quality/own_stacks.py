"""Each tool with its own stack, as its documentation shows it: what a user of it gets who does nothing of his own.

This project is launched with `search launch`: its command, its driver and a worker process, fidelity, and its cache, which at
first holds decoded images and no activations. The peers build, compile and fit a Keras model for each trial, on `tf.data` of
images in memory. Our clock starts with the command, the peers' when all is imported and the images are there. All are judged by
the clean macro-F1 on validation images that `fit` gives, as each takes it: KerasTuner the best epoch's, the others the last's.
"""

import contextlib
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import optuna
import tensorflow as tf

from benchmarks import keras_peer
from benchmarks.keras_peer import MONITOR
from benchmarks.search_quality import contenders
from benchmarks.search_quality.contenders import EPOCHS, OURS, TimeIsUp, end_in_time
from benchmarks.search_quality.launched import LOG
from search.keras_tuner.tuner import hyper_parameters, params_of
from search.study_file.load import StudySpec
from tumorcls.cache.folder import cache_folder
from tumorcls.config.train_config import TrainConfig
from tumorcls.training.trainer import Trainer

NOTEBOOK = {
    "epochs": 20,
    "learning_rate": 1e-3,
    "dropout": 0.5,
    "batch_size": 32,
    "noise_intensity": 0.5,
    "label_smoothing": 0.0,
}
"""What the notebook that this project grew from had settled on by hand."""


def launch_ours(spec: StudySpec, folder: Path) -> None:
    """Runs `search launch` on the study file, with a cache of its own; the winner is what `search export` writes then."""
    record, log, cache = contenders.record, folder / "values.jsonl", folder / "cache"
    _images(spec, cache)
    environ = {LOG: str(log), "TUMORCLS_CACHE": str(cache), "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "search", "launch", "--quiet", str(spec.path)]
    record.begin()
    subprocess.run(command, cwd=folder, env={**os.environ, **environ}, check=True)
    for line in log.read_text().splitlines() if log.exists() else ():
        record.begun += 1
        record.end(**json.loads(line))
    if record.finished:
        exported = subprocess.run(
            [*command[:3], "export", str(spec.path)], cwd=folder, check=True, capture_output=True, text=True
        )
        record.choose(seed=tomllib.loads(exported.stdout)["provenance"]["seed"])


def _images(spec: StudySpec, cache: Path) -> keras_peer.Images:
    config = TrainConfig.parse(spec.settings, where="benchmark")
    return keras_peer.images_of(Trainer.open(config, cache), config)


class KerasTrials:
    """Builds and fits the models of a peer's trials."""

    def __init__(self, spec: StudySpec) -> None:
        self._settings = spec.settings
        self._train, self._validation = _images(spec, cache_folder())
        keras.utils.set_random_seed(spec.seed)

    def build(self, params: Mapping[str, Any]) -> keras.Model:
        config = TrainConfig.parse({**self._settings, **params}, where="benchmark")
        return keras_peer.build(config, self._train[1].shape[1])

    def fit(self, model: keras.Model, batch_size: int, callbacks: Sequence[Any], **options: Any) -> keras.callbacks.History:
        train, validation = (tf.data.Dataset.from_tensor_slices(part) for part in (self._train, self._validation))
        return model.fit(
            train.shuffle(len(self._train[0])).batch(batch_size).prefetch(tf.data.AUTOTUNE),
            validation_data=validation.batch(batch_size).prefetch(tf.data.AUTOTUNE),
            callbacks=[*callbacks, _StopLate()],
            **{**options, "shuffle": False, "verbose": 0},  # the data set is
        )

    def last_score(self, params: Mapping[str, Any], *callbacks: Any) -> float:
        """Returns the score after the last epoch of a model that is built, compiled and fitted."""
        keras.backend.clear_session()
        history = self.fit(self.build(params), params["batch_size"], callbacks, epochs=params["epochs"])
        return float(history.history[MONITOR][-1])


class _StopLate(keras.callbacks.Callback):
    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.model.stop_training = self.model.stop_training or contenders.record.is_over()


def repeat_by_hand(spec: StudySpec, _folder: Path) -> None:
    """Trains the notebook's config again and again."""
    trials, record = KerasTrials(spec), contenders.record
    record.begin()
    while not record.is_over():
        record.begun += 1
        record.end(trials.last_score(NOTEBOOK), NOTEBOOK, record.begun)


def optimize(pruner: optuna.pruners.BasePruner) -> Callable[[StudySpec, Path], None]:
    """Optuna's example for Keras: TPE, and a callback that reports each epoch and asks a pruner."""

    def run(spec: StudySpec, folder: Path) -> None:
        trials, record = KerasTrials(spec), contenders.record

        def objective(trial: optuna.Trial) -> float:
            record.begun += 1
            params = {name: trial._suggest(name, distribution) for name, distribution in spec.space.items()}
            score = trials.last_score(params, keras_peer.PruningCallback(trial))
            record.end(score, params, trial.number)
            return score

        study = optuna.create_study(
            storage=f"sqlite:///{folder}/study.db",
            direction="maximize",
            sampler=optuna.samplers.TPESampler(seed=spec.seed),
            pruner=pruner,
        )
        record.begin()
        study.optimize(objective, timeout=spec.policy.timeout_s)

    return run


class _HyperModel(keras_tuner.HyperModel):
    """As KerasTuner's guide has it where batch size and epochs are searched too; Hyperband says the epochs itself."""

    def __init__(self, trials: KerasTrials, spec: StudySpec) -> None:
        super().__init__()
        self._trials = trials
        self._space = spec.space

    def params(self, hp: keras_tuner.HyperParameters) -> dict[str, Any]:
        params = params_of(hp.values, self._space)
        return {**params, "epochs": hp.values["tuner/epochs"]} if "tuner/epochs" in hp.values else params

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        return self._trials.build(self.params(hp))

    def fit(self, hp: keras_tuner.HyperParameters, model: keras.Model, **options: Any) -> keras.callbacks.History:
        params = self.params(hp)
        return self._trials.fit(model, params["batch_size"], **{"epochs": params["epochs"], **options})


def search_hypermodel(make: Callable[..., keras_tuner.Tuner], **options: Any) -> Callable[[StudySpec, Path], None]:
    def run(spec: StudySpec, folder: Path) -> None:
        record, hypermodel = contenders.record, _HyperModel(KerasTrials(spec), spec)
        searched = {name: dist for name, dist in spec.space.items() if name != "epochs" or "max_epochs" not in options}
        tuner = make(
            hypermodel,
            objective=keras_tuner.Objective(MONITOR, "max"),
            hyperparameters=hyper_parameters(searched),
            seed=spec.seed + 1,  # it takes 0 for none
            directory=folder,
            project_name="keras_tuner",
            **options,
        )
        finish = tuner.on_trial_end

        def on_trial_end(trial: Any) -> None:
            finish(trial)
            assert trial.score is not None, trial.message  # KerasTuner swallows what a trial raises
            record.begun += 1
            record.end(trial.score, hypermodel.params(trial.hyperparameters), record.begun)

        tuner.on_trial_begin, tuner.on_trial_end = end_in_time, on_trial_end
        record.begin()
        with contextlib.suppress(TimeIsUp):
            tuner.search(verbose=0)

    return run


OWN: dict[str, Callable[[StudySpec, Path], None]] = {
    OURS: launch_ours,
    "by_hand": repeat_by_hand,
    "optuna_median": optimize(optuna.pruners.MedianPruner()),
    "optuna_asha": optimize(optuna.pruners.SuccessiveHalvingPruner()),
    "keras_tuner_random": search_hypermodel(keras_tuner.RandomSearch, max_trials=100_000),
    "keras_tuner_bayesian": search_hypermodel(keras_tuner.BayesianOptimization, max_trials=100_000),
    "keras_tuner_hyperband": search_hypermodel(keras_tuner.Hyperband, max_epochs=EPOCHS, factor=3, hyperband_iterations=10_000),
}
