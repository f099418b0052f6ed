"""What are the best trials of a study worth together? `search export --ensemble K` against the best of them, on test images.

    python -m benchmarks.soup | tee benchmarks/results/soup_head.txt
    python -m benchmarks.soup --trainable-from block7 --studies 3 --trials 10 --members 5 --image-size 64

Studies on SARTAJ (in the folder TUMORCLS_DATA), each with a seed of its own and the sampler and pruner that a study file has
where it names none. Of each, the best trials are trained again with their own seeds, once, and those are chosen that are better
together on validation images, as `tumorcls train` does it: by the average of their weights, and, unless the head alone is
trained, by the mean of their logits, with `--keep-members`. Scores are means of clean and noisy macro-F1; the interval is
Student's over studies. Speed is that of the networks that a file holds, in turn, batches of 64 images, in seconds of processor
time: their median on one core.
"""

import argparse
import os
import platform
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import optuna

from benchmarks.held_out import CLEAN, HeldOut
from benchmarks.search_quality import contenders
from benchmarks.search_quality.records import Task, add_arguments
from search.records.attributes import seed_of
from search.results.ranking import metrics_of, rank
from search.results.statistics import mean_interval
from tumorcls.config.file import Member
from tumorcls.config.train_config import TrainConfig
from tumorcls.evaluation.metrics import confusion_matrix, macro_f1
from tumorcls.model.backend import package_versions
from tumorcls.training.ensemble import choose, fit_members
from tumorcls.training.trainer import Fitted

NAMES = ("clean", "noisy", "robust")
BATCH = 64
WAYS = {"the average": False, "the ensemble": True}
"""Whether its members are kept."""


def main() -> None:
    arguments = _parse()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    task = Task.of(arguments, 86_400.0, trainable_from=arguments.trainable_from)
    trainer = contenders.build(task.settings)._trainer
    ways = {way: keep for way, keep in WAYS.items() if not keep or arguments.trainable_from != "head"}
    gains: dict[tuple[str, str], list[float]] = {}
    speeds: dict[str, list[float]] = {}
    for seed in range(arguments.studies):
        members = best_of(task, seed, arguments.trials, arguments.members)
        runs = fit_members(trainer, members[0].config, members, lambda line: None)
        held_out = HeldOut(trainer, members[0].config)
        chosen = {way: choose(trainer, runs, keep=keep) for way, keep in ways.items()}
        models = {"one": replace(runs[0].fitted, members=((runs[0].weights, 1),))}
        models |= {way: ensemble.fitted for way, ensemble in chosen.items()}
        scores = {way: on_test(held_out, fitted) for way, fitted in models.items()}
        for way, ensemble in chosen.items():
            for name in NAMES:
                gains.setdefault((way, name), []).append(scores[way][name] - scores["one"][name])
            shown = ", ".join(f"{name} {scores['one'][name]:.4f} to {scores[way][name]:.4f}" for name in NAMES)
            print(f"study {seed}: {ensemble.describe()} Test: {shown}", flush=True)
        for way, found in predictions_a_second(models, held_out).items():
            speeds.setdefault(way, []).append(found)
            print(f"study {seed}: {way}, of {max(1, len(models[way].members))}: {found:.1f} predictions a second", flush=True)
    asked = f"{arguments.studies} studies of {arguments.trials} trials from {arguments.trainable_from} on"
    print(f"\n{asked}, {arguments.image_size} pixels, {arguments.members} members")
    for (way, name), values in gains.items():
        shown = mean_interval(values).signed()
        print(f"{way} less the best of them alone, {name}: {shown} macro-F1 on test images, 95%")
    print("predictions a second: " + ", ".join(f"{way} {np.mean(found):.1f}" for way, found in speeds.items()))
    print(f"{platform.machine()}, Python {platform.python_version()}, {package_versions()}")


def predictions_a_second(models: Mapping[str, Fitted], held_out: HeldOut, repeats: int = 7) -> dict[str, float]:
    """Returns how many images the network of each model answers in a second of processor time."""
    networks = {way: fitted.classifier() for way, fitted in models.items()}
    images, seconds = held_out.images.images[:BATCH], {way: list[float]() for way in models}
    for _ in range(repeats + 1):
        for way, network in networks.items():
            begun = time.process_time()
            network.predict_on_batch(images)
            seconds[way].append(time.process_time() - begun)
    return {way: len(images) / float(np.median(found[1:])) for way, found in seconds.items()}  # the first one compiles


def best_of(task: Task, seed: int, trials: int, count: int) -> list[Member]:
    """Runs one study, and returns its best trials."""
    with TemporaryDirectory() as folder:
        spec = contenders.write_study(Path(folder), task, seed)
        spec = replace(spec, policy=replace(spec.policy, trials=trials, timeout_s=None))
        contenders.search_ours(spec, Path(folder))
        study = optuna.load_study(study_name=spec.name, storage=f"sqlite:///{folder}/study.db")
    ranked = rank(study.get_trials(deepcopy=False), metrics_of(study))[:count]
    return [
        Member(
            TrainConfig.parse({**task.settings, **trial.params}, where="benchmark"),
            seed_of(trial) or 0,
            f"trial {trial.number}",
        )
        for trial in ranked
    ]


def on_test(held_out: HeldOut, fitted: Fitted) -> dict[str, float]:
    """Returns a model's macro-F1 on clean test images, its mean over noises and severities, and the mean of the two."""
    labels, classes = held_out.images.labels, len(held_out.images.classes)
    f1 = {
        condition: float(macro_f1(confusion_matrix(labels, held_out.predict(fitted, condition), classes)))
        for condition in held_out.conditions
    }
    noisy = float(np.mean([value for condition, value in f1.items() if condition != CLEAN]))
    return {"clean": f1[CLEAN], "noisy": noisy, "robust": (f1[CLEAN] + noisy) / 2}


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soup", description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=10)
    parser.add_argument("--trials", type=int, default=40, help="of each study")
    parser.add_argument("--members", type=int, default=10, help="so many of the best trials are candidates")
    parser.add_argument("--trainable-from", default="head")
    add_arguments(parser)
    return parser.parse_args()


if __name__ == "__main__":
    main()
