"""What is it worth to average the best trials of a study? `search export --ensemble K` against the best trial, on test images.

    python -m benchmarks.soup | tee benchmarks/results/soup_head.txt
    python -m benchmarks.soup --trainable-from block7 --studies 3 --trials 10 --members 5

Studies on SARTAJ (in the folder TUMORCLS_DATA), each with a seed of its own and the sampler and pruner that a study file has
where it names none. Of each, the best trials are trained again with their own seeds, and those are averaged that make the
average better on validation images, as `tumorcls train` does it. Scores are means of clean and noisy macro-F1; the interval is
Student's over studies. Both are one network, so that they predict at the same speed.
"""

import argparse
import os
import platform
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
from tumorcls.objective import package_versions
from tumorcls.training.soup import cook
from tumorcls.training.trainer import Fitted


def main() -> None:
    arguments = _parse()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    task = Task.of(arguments, 86_400.0, trainable_from=arguments.trainable_from)
    trainer = contenders.build(task.settings)._trainer
    gains: dict[str, list[float]] = {"clean": [], "noisy": [], "robust": []}
    for seed in range(arguments.studies):
        members = best_of(task, seed, arguments.trials, arguments.members)
        held_out = HeldOut(trainer, members[0].config)
        soup = cook(trainer, members, lambda line: None)
        averaged = on_test(held_out, soup.fitted)
        best = soup.counts[0][0]
        alone = on_test(held_out, trainer.fit(best.config, best.seed, lambda epoch: None))
        for name, found in gains.items():
            found.append(averaged[name] - alone[name])
        shown = ", ".join(f"{name} {alone[name]:.4f} to {averaged[name]:.4f}" for name in gains)
        print(f"study {seed}: {soup.describe()} Test: {shown}", flush=True)
    asked = f"{arguments.studies} studies of {arguments.trials} trials from {arguments.trainable_from} on"
    print(f"\n{asked}, {arguments.members} members")
    for name, found in gains.items():
        print(f"the average less the best of them alone, {name}: {mean_interval(found).signed()} macro-F1 on test images, 95%")
    print(f"{platform.machine()}, Python {platform.python_version()}, {package_versions()}")


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
    parser.add_argument("--members", type=int, default=10, help="so many of the best trials may be averaged")
    parser.add_argument("--trainable-from", default="head")
    add_arguments(parser)
    return parser.parse_args()


if __name__ == "__main__":
    main()
