"""Two tasks whose random configs are trained, so that searches of them can be simulated."""

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, IntDistribution
from sklearn.datasets import load_digits
from sklearn.metrics import f1_score
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from benchmarks.search_quality.contenders import EPOCHS, FIDELITY, SPACE, build
from search.study_file.load import load
from tumorcls.cache.folder import cache_folder


@dataclass(frozen=True)
class Curve:
    """A config, what it reported after each epoch, and the seconds that it took."""

    params: dict[str, Any]
    values: list[float]
    seconds: float


@dataclass(frozen=True)
class Task:
    """A space and what its configs report.

    Attributes:
        title: What a table is called.
        space: As a study file writes it.
        record: Trains so many configs.
        curves: The name under which these are kept.
    """

    title: str
    space: str
    record: Callable[[int], list[Curve]]
    curves: str


def spec_of(space: str, tables: str = "", seed: int = 0) -> Any:
    """Returns a study file's spec, of as many trials as there is time for."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "study.toml"
        study = f'[study]\nname = "defaults"\nobjective = "none:none"\ndirection = "maximize"\ntrials = 100000\nseed = {seed}\n'
        path.write_text(f"{study}{space}{tables}")
        return load(path)


def random_configs(space: dict[str, BaseDistribution], count: int) -> list[optuna.Trial]:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=1))
    return [study.ask(space) for _ in range(count)]


def first_weights() -> str:
    return os.environ.get("TUMORCLS_WEIGHTS", "imagenet")


def record_phantoms(count: int, data: str = "phantoms:2000", *, to_the_end: bool = False) -> list[Curve]:
    """The classifier's head on generated images: annealed learning rates, values of trials that a few images decide.

    Args:
        count: Of configs.
        data: The images.
        to_the_end: Every config is trained for all epochs, by a schedule whose beginning is that of a shorter run.
    """
    settings = {"data": [data], "weights": first_weights(), "image_size": 64, "trainable_from": "head", "views": 2}
    objective = build({**settings, "batch_norm": "freeze", "schedule": "ema" if to_the_end else "cosine"})
    space = spec_of(SPACE).space
    if to_the_end:
        space = {**space, "epochs": IntDistribution(EPOCHS, EPOCHS)}
    curves = []
    for at, trial in enumerate(random_configs(space, count)):
        trial.set_user_attr("seed", int(np.random.SeedSequence([1, at]).generate_state(1)[0]) >> 1)
        started = time.perf_counter()
        objective(trial)
        seconds = time.perf_counter() - started
        values = trial.study.trials[trial.number].intermediate_values
        curves.append(Curve(trial.params, [values[step] for step in sorted(values)], seconds))
    return curves


DIGITS_SPACE = """
[space]
epochs = { type = "int", low = 2, high = 24, step = 2 }
learning_rate = { type = "float", low = 1e-5, high = 1e-1, log = true }
batch_size = { type = "categorical", choices = [8, 16, 32, 64, 128] }
hidden = { type = "int", low = 8, high = 256, log = true }
activation = { type = "categorical", choices = ["relu", "tanh"] }
weight_decay = { type = "float", low = 1e-6, high = 1.0, log = true }
noise = { type = "float", low = 0.0, high = 1.0 }
"""


def record_digits(count: int) -> list[Curve]:
    """A small network on scikit-learn's digits, clean and noisy: constant learning rates, ranges that are far too wide."""
    images, labels = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    seen, unseen, targets, truth = train_test_split(images / 16, labels, train_size=900, random_state=0, stratify=labels)
    noisy = unseen + rng.normal(0.0, 0.35, unseen.shape)
    curves = []
    for at, trial in enumerate(random_configs(spec_of(DIGITS_SPACE).space, count)):
        params = trial.params
        network = MLPClassifier(
            params["hidden"],
            activation=params["activation"],
            alpha=params["weight_decay"],
            batch_size=params["batch_size"],
            learning_rate_init=params["learning_rate"],
            random_state=at,
        )
        values, started = [], time.perf_counter()
        for _ in range(params["epochs"]):
            network.partial_fit(seen + rng.normal(0.0, 0.6 * params["noise"], seen.shape), targets, classes=range(10))
            scores = [f1_score(truth, network.predict(inputs), average="macro") for inputs in (unseen, noisy)]
            values.append(float(np.mean(scores)))
        curves.append(Curve(params, values, time.perf_counter() - started))
    return curves


def shipped_space() -> str:
    """Returns the table with priors that a study of the head is shipped with."""
    study = (Path(__file__).parents[2] / "studies" / "brain-mri-head.toml").read_text()
    return f"\n[space]{study.partition('[space]')[2].partition('[objective]')[0]}"


_UNSEEN = "phantoms:800:7"
"""Generated images that nothing was chosen on."""

TASKS = {
    "phantoms": Task("phantoms:2000 at 64 pixels, EfficientNetB0's head", SPACE, record_phantoms, "phantoms"),
    "unseen": Task(f"{_UNSEEN} at 64 pixels, EfficientNetB0's head", SPACE, partial(record_phantoms, data=_UNSEEN), "unseen"),
    "unseen, priors": Task(f"{_UNSEEN}, priors of studies/", shipped_space(), partial(record_phantoms, data=_UNSEEN), "unseen"),
    "rungs": Task("phantoms:2000, epochs as a fidelity", FIDELITY, partial(record_phantoms, to_the_end=True), "rungs"),
    "unseen, rungs": Task(
        f"{_UNSEEN}, epochs as a fidelity",
        FIDELITY,
        partial(record_phantoms, data=_UNSEEN, to_the_end=True),
        "unseen-rungs",
    ),
    "digits": Task("scikit-learn's digits, one hidden layer", DIGITS_SPACE, record_digits, "digits"),
}


def read_curves(task: str, configs: int) -> list[Curve]:
    """Returns the curves of a task, trained where they are not there yet from these first weights."""
    path = cache_folder() / "curves" / f"{TASKS[task].curves}-{Path(first_weights()).stem}-{configs}.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps([asdict(curve) for curve in TASKS[task].record(configs)]))
    return [Curve(**row) for row in json.loads(path.read_text())]
