"""Do cached views cost accuracy? The same configs with views from the cache and with noise drawn anew each epoch.

    python benchmarks/cached_views.py        # half an hour on two quiet cores, nearly all of it for the fresh noise

Trains on SARTAJ (in the folder TUMORCLS_DATA) from `head` and from `block7` on, once with the cached views that the trials of a
study share and once with `views = 0`, with the same seeds: same first weights of the head, same order of images. Prints the
validation macro-F1 of each run, clean and under noise, and the mean difference with its 95% interval (Student's t over the
seeds, paired). Writes `benchmarks/results/cached_views.json` after each run, and goes on from there when it is started again.
"""

import argparse
import json
import os
import platform
import time
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from scipy import stats

from tumorcls.cache.folder import cache_folder
from tumorcls.config.train_config import TrainConfig
from tumorcls.objective import package_versions
from tumorcls.training.trainer import Trainer

RESULTS = Path(__file__).parent / "results" / "cached_views.json"
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


def train(trainer: Trainer, config: TrainConfig, seed: int) -> Run:
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


def write(path: Path, runs: list[Run], config: TrainConfig) -> None:
    document = {
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores",
        "versions": package_versions(),
        "config": {**config.model_dump(mode="json"), "data": None, "weights": Path(config.weights).name},
        "differences_points": {
            start: {name: difference(runs, start, name) for name in SCORES}
            for start in STARTS
            if len({run.views for run in runs if run.start == start}) == 2
        },
        "runs": [asdict(run) for run in runs],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")


def main() -> None:
    arguments = _parse()
    settings = {
        "data": arguments.data,
        "weights": arguments.weights,
        "batch_norm": "train" if arguments.weights == "none" else "freeze",
        "image_size": arguments.image_size,
        "epochs": arguments.epochs,
        "noisy_images": 16,  # after each epoch, where nobody looks; at the end all are measured
    }
    config = TrainConfig.parse(settings, where="benchmark")
    trainer = Trainer.open(config, cache_folder())
    runs = [Run(**run) for run in json.loads(arguments.output.read_text())["runs"]] if arguments.output.exists() else []
    done = {(run.start, run.views, run.seed) for run in runs}
    for seed, start, views in product(range(arguments.seeds), STARTS, (config.views, 0)):
        if (start, views, seed) in done:
            continue
        changed = config.model_copy(update={"trainable_from": start, "views": views})
        runs.append(train(trainer, changed, seed))
        write(arguments.output, runs, config)
        print(runs[-1], flush=True)
    print(table(runs))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=str(Path(os.environ.get("TUMORCLS_DATA", "data")) / "sartaj"))
    parser.add_argument("--weights", default=os.environ.get("TUMORCLS_WEIGHTS", "imagenet"))
    parser.add_argument("--image-size", type=int, default=150)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
