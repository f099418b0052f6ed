"""One run of one contender, and all runs side by side."""

import importlib.util
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import replace
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from benchmarks.search_quality import contenders
from benchmarks.search_quality.records import Finished, Run, Task
from search.study_file.load import StudySpec

WARM_UP_S = 3.0
"""Every contender searches for so long in a process before it counts, so that nobody pays for imports."""

SYNE_TUNE_THERE = importlib.util.find_spec("syne_tune") is not None
"""Whether it takes part; the top of syne_tune_peer.py says how it is installed."""


def contenders_of(stacks: str) -> Mapping[str, Callable[[StudySpec, Path], None]]:
    """Returns the contenders, each with what it calls to search; those with their own stacks import Keras."""
    found = contenders.CONTENDERS
    if stacks == "own":
        from benchmarks.search_quality.own_stacks import OWN as found
    if not SYNE_TUNE_THERE:
        return found
    from benchmarks.search_quality import syne_tune_peer

    return {**found, "syne_tune_bohb": syne_tune_peer.tune if stacks == "own" else syne_tune_peer.search_same}


def run_one(task: Task, contender: str, seed: int) -> Run:
    """Runs one search, then measures its winner on the test part in this process."""
    if task.stacks == "same":
        run = search_once(task, contender, seed)
    else:  # a process of its own, since Keras gives no memory back after its trials
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            run = pool.submit(search_once, task, contender, seed).result()
    return replace(run, test_score=test_score(task, run.winner)) if run.winner is not None else run


def search_once(task: Task, contender: str, seed: int) -> Run:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    objective = "contenders:Objective" if task.stacks == "same" else "launched:Launched"
    if task.stacks == "same":
        contenders.build(task.settings)
    with tempfile.TemporaryDirectory() as folder:
        space = contenders.FIDELITY if contender == contenders.OURS else contenders.SPACE
        spec = contenders.write_study(Path(folder), task, seed, space, f"{__package__}.{objective}")
        contenders.record = record = contenders.Record(seconds=task.seconds)
        contenders_of(task.stacks)[contender](spec, Path(folder))
        return Run.of(contender, seed, record.begun, record.finished, record.chosen)


def test_score(task: Task, winner: Finished) -> float:
    """Returns the score on the test part of a config trained again: robust F1, or clean F1 where no noise is measured."""
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
    noisy = [value for condition, value in f1.items() if condition != CLEAN]
    return float(f1[CLEAN] + np.mean(noisy)) / 2 if noisy else f1[CLEAN]


def fill_cache(task: Task) -> None:
    """Trains once at each level of noise and measures it on the test part, so that no run computes activations."""
    for level in contenders.LEVELS:
        test_score(task, Finished(0.0, 0.0, {**contenders.CHEAPEST, "noise_intensity": level}, 0))


def _begin(cores: Any, task: Task, names: Sequence[str]) -> None:
    """Gives a process of the pool one core, before a backend counts them, and does what is only slow the first time."""
    os.sched_setaffinity(0, {cores.get()})
    for contender in names if task.stacks == "same" else ():
        search_once(replace(task, seconds=WARM_UP_S), contender, 0)


def search_all(task: Task, wanted: Sequence[tuple[str, int]], done: Callable[[Run], None]) -> None:
    """Runs searches in as many processes as there are cores, each with one core; the next begins when `done` has returned."""
    available = sorted(os.sched_getaffinity(0))
    context = get_context("spawn")
    cores = context.Queue()
    for core in available:
        cores.put(core)
    names = list(dict.fromkeys(contender for contender, _ in wanted))
    with ProcessPoolExecutor(len(available), context, initializer=_begin, initargs=(cores, task, names)) as pool:
        pairs = iter(wanted)
        running = {pool.submit(run_one, task, *pair) for pair in islice(pairs, len(available))}
        while running:
            ended, running = wait(running, return_when=FIRST_COMPLETED)
            for future in ended:
                done(future.result())
                running |= {pool.submit(run_one, task, *pair) for pair in islice(pairs, 1)}
