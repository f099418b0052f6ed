"""The peers: the usual Optuna example with Keras, and KerasTuner. Each builds, compiles and fits a model for each trial.

    python -m benchmarks.trial_speed.peers NAME WORK OUTPUT

They augment with Keras's own layers, get noise from this project's layer, since Keras has no such one, and freeze as Keras's
guide to fine-tuning EfficientNet does: up to a block's output, and BatchNormalization everywhere.
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
import optuna

from benchmarks.trial_speed.records import TrialRecord
from benchmarks.trial_speed.scenarios import BATCH_SIZE, SPACE, Work
from tumorcls.cache.folder import cache_folder
from tumorcls.config.train_config import TrainConfig
from tumorcls.model.backbone import FROZEN_OUTPUT, build_backbone
from tumorcls.noise.layer import RandomNoise
from tumorcls.training.trainer import Trainer

MONITOR = "val_macro_f1"


@dataclass(frozen=True)
class Peer:
    """What the peers share: the work, the data in memory, and the list that their trials go to."""

    work: Work
    train: tuple[Any, Any]
    validation: tuple[Any, Any]
    trials: list[TrialRecord]

    @classmethod
    def of(cls, work: Work) -> "Peer":
        trainer = Trainer.open(_config(work), cache_folder())
        train, validation = (trainer.images(part, work.scenario.image_size) for part in ("train", "validation"))
        return cls(work, (train.images[:], train.targets()), (validation.images[:], validation.targets()), [])

    def build(self, params: dict[str, float]) -> keras.Model:
        """Builds and compiles the model of one trial."""
        config = _config(self.work)
        images = keras.Input((config.image_size, config.image_size, 3))
        x = keras.layers.RandomFlip("horizontal")(images)
        x = keras.layers.RandomRotation(config.rotation_degrees / 360, fill_mode="constant")(x)
        x = keras.layers.RandomTranslation(config.height_shift, config.width_shift, fill_mode="constant")(x)
        noise = RandomNoise(config.noises, config.clean_share)
        noise.max_intensity.assign(params["noise_intensity"])
        backbone = build_backbone(config.image_size, config.weights)
        _freeze(backbone, config)
        features = keras.layers.Dropout(params["dropout"])(backbone(noise(x)))
        outputs = keras.layers.Dense(self.train[1].shape[1], activation="softmax")(features)
        model = keras.Model(images, outputs)
        model.compile(
            optimizer=keras.optimizers.Adam(params["learning_rate"]),
            loss="categorical_crossentropy",
            metrics=[keras.metrics.F1Score(average="macro", name="macro_f1")],
        )
        return model

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


def _config(work: Work) -> TrainConfig:
    return TrainConfig.parse(work.settings(), where="benchmark")


def _freeze(backbone: keras.Model, config: TrainConfig) -> None:
    if config.trainable_from == "head":
        backbone.trainable = False
        return
    names = [layer.name for layer in backbone.layers]
    first = 0 if config.trainable_from == "all" else names.index(FROZEN_OUTPUT[config.trainable_from]) + 1
    for index, layer in enumerate(backbone.layers):
        frozen_statistics = config.batch_norm == "freeze" and isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = index >= first and not frozen_statistics


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


class _PruningCallback(keras.callbacks.Callback):
    """What `KerasPruningCallback` of optuna-integration does."""

    def __init__(self, trial: optuna.Trial, monitor: str) -> None:
        super().__init__()
        self._trial = trial
        self._monitor = monitor

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        self._trial.report(logs[self._monitor], step=epoch)
        if self._trial.should_prune():
            raise optuna.TrialPruned


def run_optuna(peer: Peer, folder: Path) -> float:
    """The usual example: `study.optimize` of a function that builds, compiles and fits."""
    work = peer.work

    def objective(trial: optuna.Trial) -> float:
        keras.backend.clear_session()
        keras.utils.set_random_seed(work.seed + trial.number)
        model = peer.build({name: trial.suggest_float(name, **options) for name, options in SPACE.items()})
        history = peer.fit(model, [_PruningCallback(trial, MONITOR)])
        return float(history.history[MONITOR][-1])

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
