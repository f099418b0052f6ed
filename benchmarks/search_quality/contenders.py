"""The contenders: each runs one search of the same objective until its time is up."""

import contextlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import optuna
from rich.console import Console

from benchmarks.search_quality.records import Finished, Task
from search.driver.driver import Driver
from search.driver.ownership import Owner
from search.driver.progress import Progress
from search.driver.views import QuietView
from search.storage import open as storage
from search.study_file.load import StudySpec, load
from search.study_file.pruners import make as make_pruner
from search.workers.pool import WorkerPool
from search.workers.process import WorkerSetup
from tests.inline import InlineExecutor
from tumorcls.config.train_config import TrainConfig
from tumorcls.objective import BrainTumourObjective

OURS = "tumorcls"
LEVELS = (0.0, 0.5, 1.0)
EPOCHS = 16
SPACE = f"""
[space]
epochs = {{ type = "int", low = 2, high = {EPOCHS}, step = 2 }}
learning_rate = {{ type = "float", low = 1e-4, high = 1e-1, log = true }}
dropout = {{ type = "float", low = 0.0, high = 0.6, step = 0.1 }}
batch_size = {{ type = "categorical", choices = [16, 32, 64, 128] }}
noise_intensity = {{ type = "float", low = 0.0, high = 1.0, step = 0.5 }}
label_smoothing = {{ type = "float", low = 0.0, high = 0.3, step = 0.1 }}
"""
FIDELITY = SPACE.replace(f"high = {EPOCHS}, step = 2", f"high = {EPOCHS}, fidelity = true")
"""The same space as a study of this project has it by default, where epochs are its fidelity."""
CHEAPEST = {
    "epochs": 2,
    "learning_rate": 1e-3,
    "dropout": 0.0,
    "batch_size": 128,
    "noise_intensity": 0.0,
    "label_smoothing": 0.0,
}
"""A point of the space."""


class TimeIsUp(Exception):
    """Ends a search of KerasTuner, which knows no limit of time."""


@dataclass
class Record:
    """What the objective sees of the run that it is in, and what a contender chose that does not take the best value."""

    started: float = field(default_factory=time.perf_counter)
    seconds: float = float("inf")
    begun: int = 0
    finished: list[Finished] = field(default_factory=list)
    chosen: Finished | None = None

    def begin(self) -> None:
        """Starts the clock again: nothing before this counts."""
        self.started = time.perf_counter()

    def is_over(self) -> bool:
        return time.perf_counter() - self.started >= self.seconds

    def end(self, value: float, params: Mapping[str, Any], seed: int, ended: float | None = None) -> None:
        """Takes a trial that ended now, or when `time.perf_counter` said `ended` in any process, unless that is too late."""
        seconds = (time.perf_counter() if ended is None else ended) - self.started
        if seconds <= self.seconds:
            self.finished.append(Finished(seconds, value, dict(params), seed))

    def choose(self, seed: int) -> None:
        """Takes the trial of this seed, as it was last, as the winner; where it ended late, that is the best value."""
        self.chosen = next((trial for trial in reversed(self.finished) if trial.seed == seed), None)


record = Record()
"""Of the run that this process is in."""


@lru_cache(maxsize=1)
def _build(settings: str) -> BrainTumourObjective:
    built = BrainTumourObjective(artifacts=False, **json.loads(settings))
    built._trainer.fit(TrainConfig.parse(json.loads(settings) | CHEAPEST, where="benchmark"), 0, lambda epoch: None)
    return built


def build(settings: dict[str, Any]) -> BrainTumourObjective:
    """Returns the one objective of this process, its program traced and compiled by a trial that nobody counts."""
    return _build(json.dumps(settings, sort_keys=True))


class Objective:
    """The objective of all contenders, built once in a process; what ends after the time is up does not count."""

    def __init__(self, **settings: Any) -> None:
        self._trained = build(settings)

    def check_fidelity(self, name: str) -> None:
        self._trained.check_fidelity(name)

    def __call__(self, trial: Any) -> float:
        record.begun += 1
        value = self._trained(trial)
        assert isinstance(value, float)
        seed = int(trial.user_attrs.get("seed", trial.number))
        record.end(value, trial.params, seed)
        return value


def search_ours(spec: StudySpec, folder: Path) -> None:
    """A launch of this project: its storage, and the sampler and the pruner that a study file has where it names none."""
    study = storage.create_study(f"sqlite:///{folder}/study.db", spec.name, spec.directions, spec.metrics)
    study.pruner = make_pruner(spec.pruner.name, spec.pruner.options)
    fidelity = spec.fidelity.name if spec.fidelity is not None else None
    executor = InlineExecutor(lambda worker: WorkerSetup(spec.target, spec.settings, fidelity=fidelity))
    view = QuietView(Progress.of(study, 1), Console())
    pool = WorkerPool(executor, 1, spec.policy)
    Driver(study, spec, pool, Owner.current(), view, checkpoints=folder / "checkpoints").run()


def search_optuna(
    sampler: Callable[[int], optuna.samplers.BaseSampler], pruner: optuna.pruners.BasePruner | None = None
) -> Callable[[StudySpec, Path], None]:
    def run(spec: StudySpec, folder: Path) -> None:
        study = optuna.create_study(
            storage=f"sqlite:///{folder}/study.db",
            direction="maximize",
            sampler=sampler(spec.seed),
            pruner=pruner or optuna.pruners.NopPruner(),
        )
        trained = Objective(**spec.settings)

        def ask(trial: optuna.Trial) -> float:
            for name, distribution in spec.space.items():
                trial._suggest(name, distribution)
            return trained(trial)

        study.optimize(ask, timeout=spec.policy.timeout_s)

    return run


def end_in_time(_trial: Any) -> None:
    if record.is_over():
        raise TimeIsUp


def search_keras_tuner(oracle: str, **options: Any) -> Callable[[StudySpec, Path], None]:
    def run(spec: StudySpec, folder: Path) -> None:
        import keras_tuner

        from search.keras_tuner import study_tuner

        made = getattr(keras_tuner.oracles, f"{oracle}Oracle")
        tuner = study_tuner(spec, made, folder / "project", overwrite=True, **options)
        tuner.on_trial_begin = end_in_time
        with contextlib.suppress(TimeIsUp):
            tuner.search(verbose=0)

    return run


CONTENDERS: dict[str, Callable[[StudySpec, Path], None]] = {
    OURS: search_ours,
    "optuna_tpe": search_optuna(lambda seed: optuna.samplers.TPESampler(seed=seed)),
    "optuna_asha": search_optuna(
        lambda seed: optuna.samplers.TPESampler(seed=seed), optuna.pruners.SuccessiveHalvingPruner(min_resource=2)
    ),
    "optuna_random": search_optuna(lambda seed: optuna.samplers.RandomSampler(seed=seed)),
    "keras_tuner_random": search_keras_tuner("RandomSearch", max_trials=100_000),
    "keras_tuner_bayesian": search_keras_tuner("BayesianOptimization", max_trials=100_000),
    "keras_tuner_hyperband": search_keras_tuner(
        "Hyperband", max_epochs=EPOCHS, factor=3, hyperband_iterations=10_000, epochs="epochs"
    ),
}


def write_study(folder: Path, task: Task, seed: int, space: str = SPACE, objective: str = f"{__name__}:Objective") -> StudySpec:
    path = folder / "study.toml"
    settings = "\n".join(f"{key} = {json.dumps(value)}" for key, value in task.settings.items())
    path.write_text(
        f'[study]\nname = "quality"\nobjective = "{objective}"\ndirection = "maximize"\nmetric = "{task.metric}"\n'
        f"trials = 100000\ntimeout = {task.seconds}\nseed = {seed}\n{space}\n[objective]\n{settings}\n"
    )
    return load(path)
