"""The peers: the usual Optuna example with Keras, the same on cached features, and KerasTuner.

Each builds, compiles and fits a model for each trial.

python -m benchmarks.trial_speed.peers NAME WORK OUTPUT
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import keras
import keras_tuner
import numpy as np
import optuna

from benchmarks import keras_peer
from benchmarks.keras_peer import MONITOR
from benchmarks.trial_speed.ours import cached_rows
from benchmarks.trial_speed.records import TrialRecord
from benchmarks.trial_speed.scenarios import BATCH_SIZE, SPACE, Work
from tumorcls.cache.folder import cache_folder
from tumorcls.config.train_config import TrainConfig
from tumorcls.training.trainer import Trainer


@dataclass(frozen=True)
class Peer:
    """What the peers share: the work, the data in memory, and the list that their trials go to."""

    work: Work
    train: tuple[Any, Any]
    validation: tuple[Any, Any]
    trials: list[TrialRecord]

    @classmethod
    def of(cls, work: Work) -> "Peer":
        config = TrainConfig.parse(work.settings(), where="benchmark")
        return cls(work, *keras_peer.images_of(Trainer.open(config, cache_folder()), config), [])

    def build(self, params: dict[str, float]) -> keras.Model:
        """Builds and compiles the model of one trial."""
        config = TrainConfig.parse({**self.work.settings(), **params}, where="benchmark")
        return keras_peer.build(config, self.train[1].shape[1])

    def fit(self, model: keras.Model, callbacks: list[Any], **options: Any) -> keras.callbacks.History:
        """Fits the model of one trial and writes the trial down."""
        clock = _StepClock()
        history = model.fit(
            *self.train,
            batch_size=BATCH_SIZE,
            validation_data=self.validation,
            callbacks=[*callbacks, clock],
            **{"epochs": self.work.scenario.epochs, **options, "verbose": 0},
        )
        scores = history.history[MONITOR]
        self.trials.append(TrialRecord(time.time(), len(scores), clock.steps_s(), scores[-1]))
        return history


class _StepClock(keras.callbacks.Callback):
    """Times training and validation steps. The first ones, which trace and compile, count as much as the median."""

    def __init__(self) -> None:
        super().__init__()
        self._begun = 0.0
        self._training: list[float] = []
        self._validation: list[float] = []

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._begun = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._training.append(time.perf_counter() - self._begun)

    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._begun = time.perf_counter()

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        self._validation.append(time.perf_counter() - self._begun)

    def steps_s(self) -> float:
        return sum(len(steps) * median(steps) for steps in (self._training, self._validation))


def run_optuna(peer: Peer, folder: Path) -> float:
    """The usual example: `study.optimize` of a function that builds, compiles and fits."""

    def objective(trial: optuna.Trial, params: dict[str, float]) -> float:
        history = peer.fit(peer.build(params), [keras_peer.PruningCallback(trial)])
        return float(history.history[MONITOR][-1])

    return _optimize(peer.work, folder, objective)


def run_optuna_cached(peer: Peer, folder: Path) -> float:
    """The same with the frozen network run beforehand, as Keras's guide to transfer learning has it: `fit` has the head alone.

    It gets the views that this project caches, in memory before its clock starts.
    """
    cached, validation = cached_rows(peer.work)
    views = {level: [np.asarray(view, np.float32) for view in seen] for level, seen in cached.items()}
    measured = (np.asarray(validation, np.float32), peer.validation[1])

    def objective(trial: optuna.Trial, params: dict[str, float]) -> float:
        config = TrainConfig.parse({**peer.work.settings(), **params}, where="benchmark")
        seen, targets = views[config.noise_intensity], peer.train[1]
        model = keras_peer.build_head(config, measured[0].shape[1], targets.shape[1])
        clock, callback = _StepClock(), keras_peer.PruningCallback(trial)
        for epoch in range(config.epochs):
            history = model.fit(
                seen[epoch % len(seen)],
                targets,
                batch_size=BATCH_SIZE,
                validation_data=measured,
                callbacks=[callback, clock],
                initial_epoch=epoch,
                epochs=epoch + 1,
                verbose=0,
            )
        score = float(history.history[MONITOR][-1])
        peer.trials.append(TrialRecord(time.time(), config.epochs, clock.steps_s(), score))
        return score

    return _optimize(peer.work, folder, objective)


def _optimize(work: Work, folder: Path, train: Callable[[optuna.Trial, dict[str, float]], float]) -> float:
    def objective(trial: optuna.Trial) -> float:
        keras.backend.clear_session()
        keras.utils.set_random_seed(work.seed + trial.number)
        return train(trial, {name: trial.suggest_float(name, **options) for name, options in SPACE.items()})

    study = optuna.create_study(
        storage=f"sqlite:///{folder}/optuna.db",
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=work.seed, multivariate=True, group=True),
        pruner=optuna.pruners.NopPruner(),
    )
    started = time.time()
    study.optimize(objective, n_trials=work.trials, timeout=work.minutes and 60 * work.minutes)
    return started


class _HyperModel(keras_tuner.HyperModel):
    def __init__(self, peer: Peer) -> None:
        super().__init__()
        self._peer = peer

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        return self._peer.build({name: _ask_keras_tuner(hp, name, **options) for name, options in SPACE.items()})

    def fit(self, hp: keras_tuner.HyperParameters, model: keras.Model, **options: Any) -> keras.callbacks.History:
        return self._peer.fit(model, options.pop("callbacks"), **options)


def _ask_keras_tuner(
    hp: keras_tuner.HyperParameters, name: str, *, low: float, high: float, step: float | None = None, log: bool = False
) -> float:
    return float(hp.Float(name, low, high, step=step, sampling="log" if log else "linear"))


def run_keras_tuner(peer: Peer, folder: Path, make: Callable[..., keras_tuner.Tuner], **options: Any) -> float:
    """`tuner.search`, ended by the budget of trials or of time."""
    work = peer.work
    started = time.time()
    tuner = make(
        _HyperModel(peer),
        objective=keras_tuner.Objective(MONITOR, "max"),
        seed=work.seed,
        directory=folder,
        project_name="keras_tuner",
        **options,
    )
    tuner.oracle.max_trials = work.trials
    on_trial_end = tuner.on_trial_end

    def end_in_time(trial: Any) -> None:
        on_trial_end(trial)
        if work.minutes is not None and time.time() - started > 60 * work.minutes:
            tuner.oracle.max_trials = len(tuner.oracle.trials)

    tuner.on_trial_end = end_in_time
    keras.utils.set_random_seed(work.seed)
    tuner.search()
    return started


RUNS: dict[str, Callable[[Peer, Path], float]] = {
    "optuna_keras": run_optuna,
    "optuna_keras_cached": run_optuna_cached,
    "keras_tuner_random": lambda peer, folder: run_keras_tuner(
        peer, folder, keras_tuner.RandomSearch, max_trials=peer.work.trials
    ),
    "keras_tuner_hyperband": lambda peer, folder: run_keras_tuner(
        peer, folder, keras_tuner.Hyperband, max_epochs=peer.work.scenario.epochs
    ),
}


def main() -> None:
    name, work, output = sys.argv[1:]
    peer = Peer.of(Work.read(Path(work)))
    with tempfile.TemporaryDirectory() as folder:
        started = RUNS[name](peer, Path(folder))
    assert peer.trials, "KerasTuner swallows what a trial raises; see the log above"
    Path(output).write_text(json.dumps({"started": started, "trials": [asdict(trial) for trial in peer.trials]}))


if __name__ == "__main__":
    main()
