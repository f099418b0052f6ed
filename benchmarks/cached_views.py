"""Do cached views cost accuracy? The same configs with views from the cache and with noise drawn anew each epoch.

    python -m benchmarks.cached_views --output /tmp/cached_views.json    # half an hour on two quiet cores, most for fresh noise

Trains on SARTAJ (in the folder TUMORCLS_DATA) from `head` and from `block7` on, once with the cached views that the trials of a
study share and once with `views = 0`, with the same seeds: same first weights of the head, same order of images. Prints the
validation macro-F1 of each run, clean and under noise, and the mean difference with its 95% interval (Student's t over the
seeds, paired). Writes `--output` after each run, and goes on from there when it is started again.
"""

import argparse
import os
import time
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from scipy import stats

from benchmarks import kept
from tumorcls.cache.folder import cache_folder
from tumorcls.config.train_config import TrainConfig
from tumorcls.model.backend import select_backend

if TYPE_CHECKING:  # it imports Keras
    from tumorcls.training.trainer import Trainer

STARTS = ("head", "block7")
SCORES = ("clean_f1", "noisy_f1", "robust_f1")


@dataclass(frozen=True)
class Run:
    """One trained model and its scores on all validation images, at all severities where they are noisy."""

    start: str
    views: int
    seed: int
    seconds: float
    scores: dict[str, float]


def train(trainer: "Trainer", config: TrainConfig, seed: int) -> Run:
    started = time.perf_counter()
    fitted = trainer.fit(config, seed, lambda epoch: None)
    scores = {name: fitted.scores[name] for name in SCORES}
    return Run(config.trainable_from, config.views, seed, time.perf_counter() - started, scores)


def difference(runs: list[Run], start: str, score: str) -> tuple[float, float]:
    """Mean over the seeds of cached less fresh, in points, and half the width of its 95% interval (0 for a single seed)."""
    by_seed = {(run.views > 0, run.seed): run.scores[score] for run in runs if run.start == start}
    seeds = sorted(seed for cached, seed in by_seed if cached and (False, seed) in by_seed)
    paired = 100 * np.array([by_seed[True, seed] - by_seed[False, seed] for seed in seeds])
    if len(paired) < 2:
        return float(paired.mean()), 0.0
    return float(paired.mean()), float(stats.t.ppf(0.975, len(paired) - 1) * stats.sem(paired))


def table(runs: list[Run]) -> str:
    """Returns a Markdown table: a line for each run, then the differences."""
    lines = ["| from | views | seed | clean F1 | noisy F1 | robust F1 | s |", "|---|---|---|---|---|---|---|"]
    for run in sorted(runs, key=lambda run: (run.start, run.views == 0, run.seed)):
        scores = " | ".join(f"{run.scores[name]:.3f}" for name in SCORES)
        lines.append(f"| {run.start} | {run.views or 'fresh'} | {run.seed} | {scores} | {run.seconds:.0f} |")
    for start in dict.fromkeys(run.start for run in runs):
        if len({run.views for run in runs if run.start == start}) == 2:
            points = [difference(runs, start, name) for name in SCORES]
            told = " | ".join(f"{mean:+.1f} ± {half:.1f}" for mean, half in points)
            lines.append(f"| {start} | cached less fresh, points | | {told} | |")
    return "\n".join(lines)


def asked_of(config: TrainConfig) -> dict[str, Any]:
    """Returns what all runs of a file have in common."""
    return {"settings": kept.named(config.model_dump(mode="json"))}


def write(path: Path, runs: list[Run], config: TrainConfig) -> None:
    differences = {
        start: {name: difference(runs, start, name) for name in SCORES}
        for start in STARTS
        if len({run.views for run in runs if run.start == start}) == 2
    }
    kept.write_runs(path, asked_of(config), runs, differences_points=differences)


def read(path: Path, config: TrainConfig) -> list[Run]:
    """Returns the runs that were written with the same settings; see `kept.read_runs`."""
    return [Run(**run) for run in kept.read_runs(path, asked_of(config))]


def config_of(arguments: argparse.Namespace) -> TrainConfig:
    settings = {
        "data": arguments.data,
        "weights": arguments.weights,
        "batch_norm": "train" if arguments.weights == "none" else "freeze",
        "image_size": arguments.image_size,
        "epochs": arguments.epochs,
        "noisy_images": 16,  # after each epoch, where nobody looks; at the end all are measured
    }
    return TrainConfig.parse(settings, where="benchmark")


def main() -> None:
    arguments = parse()
    config = config_of(arguments)
    runs = read(arguments.output, config)
    select_backend()
    from tumorcls.training.trainer import Trainer

    trainer = Trainer.open(config, cache_folder())
    done = {(run.start, run.views, run.seed) for run in runs}
    for seed, start, views in product(range(arguments.seeds), STARTS, (config.views, 0)):
        if (start, views, seed) in done:
            continue
        changed = config.model_copy(update={"trainable_from": start, "views": views})
        runs.append(train(trainer, changed, seed))
        write(arguments.output, runs, config)
        print(runs[-1], flush=True)
    print(table(runs))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=str(Path(os.environ.get("TUMORCLS_DATA", "data")) / "sartaj"))
    parser.add_argument("--weights", default=os.environ.get("TUMORCLS_WEIGHTS", "imagenet"))
    parser.add_argument("--image-size", type=int, default=150)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--output", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
