"""One run of one contender, and all runs side by side."""

import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from benchmarks.search_quality import contenders
from benchmarks.search_quality.records import Finished, Run, Task

WARM_UP_S = 3.0
"""Every contender searches for so long in a process before it counts, so that nobody pays for imports."""


def run_one(task: Task, contender: str, seed: int) -> Run:
    """Runs one search in this process, then measures its winner on the test part."""
    run = search_once(task, contender, seed)
    return replace(run, test_score=test_score(task, run.winner)) if run.winner is not None else run


def search_once(task: Task, contender: str, seed: int) -> Run:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    contenders.build(task.settings)
    with tempfile.TemporaryDirectory() as folder:
        space = contenders.FIDELITY if contender == contenders.OURS else contenders.SPACE
        spec = contenders.write_study(Path(folder), task, seed, space)
        contenders.record = record = contenders.Record(seconds=task.seconds)
        contenders.CONTENDERS[contender](spec, Path(folder))
        return Run.of(contender, seed, record.begun, record.finished)


def test_score(task: Task, winner: Finished) -> float:
    """Returns the robust F1 on the test part of a config trained again."""
    from benchmarks.held_out import CLEAN, HeldOut
    from tumorcls.config.train_config import TrainConfig
    from tumorcls.evaluation.metrics import confusion_matrix, macro_f1

    trainer = contenders.build(task.settings)._trainer
    config = TrainConfig.parse({**task.settings, **winner.params}, where="winner")
    held_out = HeldOut(trainer, config)
    fitted = trainer.fit(config, winner.seed, lambda epoch: None)
    classes = len(held_out.images.classes)
    f1 = {
        condition: float(macro_f1(confusion_matrix(held_out.images.labels, held_out.predict(fitted, condition), classes)))
        for condition in held_out.conditions
    }
    return float(f1[CLEAN] + np.mean([value for condition, value in f1.items() if condition != CLEAN])) / 2


def fill_cache(task: Task) -> None:
    """Trains once at each level of noise and measures it on the test part, so that no run computes activations."""
    for level in contenders.LEVELS:
        test_score(task, Finished(0.0, 0.0, {**contenders.CHEAPEST, "noise_intensity": level}, 0))


def _begin(cores: Any, task: Task) -> None:
    """Gives a process of the pool one core, before a backend counts them, and does what is only slow the first time."""
    os.sched_setaffinity(0, {cores.get()})
    for contender in contenders.CONTENDERS:
        search_once(replace(task, seconds=WARM_UP_S), contender, 0)


def search_all(task: Task, wanted: Sequence[tuple[str, int]], done: Callable[[Run], None]) -> None:
    """Runs searches in as many processes as there are cores, each with one core."""
    available = sorted(os.sched_getaffinity(0))
    context = get_context("spawn")
    cores = context.Queue()
    for core in available:
        cores.put(core)
    with ProcessPoolExecutor(len(available), context, initializer=_begin, initargs=(cores, task)) as pool:
        for future in as_completed([pool.submit(run_one, task, contender, seed) for contender, seed in wanted]):
            done(future.result())
