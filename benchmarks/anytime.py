"""Is a short run worth keeping? A constant rate with averaged weights against a cosine of each length, on the same images.

    python -m benchmarks.anytime --output /tmp/anytime.json         # head: 3 rates, 2 to 16 epochs, 5 seeds
    python -m benchmarks.anytime --start block7 --rates 1e-3 --lengths 16 --output /tmp/anytime_block7.json

Trains on SARTAJ (in the folder TUMORCLS_DATA). A cosine needs a run of its own for each number of epochs. With averaged weights
(`schedule = "ema"`), and with a constant rate alone, one run is paused at each of them, goes on from its checkpoint, and takes
as many epochs as the longest. All have the same seeds: same first weights of the head, same order of images. Prints, for each
length, the mean validation score of each schedule (`robust_f1`, the mean of clean and noisy macro-F1) and its difference to the
cosine's with a 95% interval (Student's t over the seeds, paired). Writes `--output` after each run, and goes on from there when
it is started again.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from benchmarks import kept
from tumorcls.cache.folder import cache_folder
from tumorcls.config.train_config import TrainConfig
from tumorcls.model.backend import select_backend

if TYPE_CHECKING:  # it imports Keras
    from tumorcls.training.trainer import Trainer

REFERENCE, OTHERS = "cosine", ("ema", "constant")
SCORES = ("clean_f1", "noisy_f1", "robust_f1")


@dataclass(frozen=True, order=True)
class Cell:
    """What a run is told apart by."""

    start: str
    rate: float
    epochs: int
    schedule: str
    seed: int


@dataclass(frozen=True)
class Run:
    """The end of a run, or a pause in it. `seconds` are of what was trained since the pause before."""

    cell: Cell
    scores: dict[str, float]
    seconds: float


def train(trainer: "Trainer", config: TrainConfig, seed: int, lengths: Sequence[int]) -> Iterator[Run]:
    """Gives the run at each length, paused where a longer one follows."""
    from tumorcls.training.checkpoint import Checkpoints

    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(Path(folder), each_epoch=False, paused=True)
        for epochs in lengths:
            started = time.perf_counter()
            changed = config.model_copy(update={"epochs": epochs})
            scores = trainer.fit(changed, seed, lambda epoch: None, checkpoints=checkpoints).scores
            cell = Cell(config.trainable_from, config.learning_rate, epochs, config.schedule, seed)
            yield Run(cell, {name: scores[name] for name in SCORES}, time.perf_counter() - started)


def paired(runs: Sequence[Run], start: str, rate: float, epochs: int, schedule: str) -> list[float]:
    """Returns robust F1 less the reference's, of each seed that has both, by seed."""
    scores = {run.cell: run.scores["robust_f1"] for run in runs}
    seeds = sorted({run.cell.seed for run in runs})
    pairs = [[scores.get(Cell(start, rate, epochs, name, seed)) for name in (schedule, REFERENCE)] for seed in seeds]
    return [ours - theirs for ours, theirs in pairs if ours is not None and theirs is not None]


def half_width(values: Sequence[float]) -> float:
    """Returns half the width of the 95% interval of a mean (Student's t); infinite for a single value."""
    return float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)) if len(values) > 1 else float("inf")


def table(runs: Sequence[Run]) -> str:
    """Returns a Markdown table: a line for each start, rate and length."""
    names = (REFERENCE, *(name for name in OTHERS if any(run.cell.schedule == name for run in runs)))
    heads = ["from", "rate", "epochs", "seeds", *names, *(f"{name} less {REFERENCE}" for name in names[1:])]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for start, rate, epochs in dict.fromkeys((run.cell.start, run.cell.rate, run.cell.epochs) for run in runs):
        columns = {
            name: [run.scores["robust_f1"] for run in runs if run.cell == Cell(start, rate, epochs, name, run.cell.seed)]
            for name in names
        }
        differences = [paired(runs, start, rate, epochs, name) for name in names[1:]]
        cells = [start, f"{rate:g}", str(epochs), str(max(map(len, columns.values())))]
        cells += [f"{np.mean(column):.4f}" if column else "-" for column in columns.values()]
        cells += [f"{np.mean(some):+.4f} ± {half_width(some):.4f}" if some else "-" for some in differences]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def asked_of(config: TrainConfig) -> dict[str, Any]:
    """Returns what all runs of a file have in common."""
    of_cells = {"trainable_from", "epochs", "schedule", "learning_rate"}
    return {"settings": kept.named(config.model_dump(mode="json", exclude=of_cells))}


def read(path: Path, config: TrainConfig) -> list[Run]:
    """Returns the runs that were written with the same settings; see `kept.read_runs`."""
    return [Run(Cell(**run["cell"]), run["scores"], run["seconds"]) for run in kept.read_runs(path, asked_of(config))]


def config_of(arguments: argparse.Namespace) -> TrainConfig:
    settings = {
        "data": arguments.data,
        "weights": arguments.weights,
        "batch_norm": "train" if arguments.weights == "none" else "freeze",
        "image_size": arguments.image_size,
        "trainable_from": arguments.start,
        "noise_intensity": 1.0,
        "dropout": 0.2,
    }
    return TrainConfig.parse(settings, where="benchmark")


def main() -> None:
    arguments = parse()
    config = config_of(arguments)
    runs = read(arguments.output, config)
    select_backend()
    from tumorcls.training.trainer import Trainer

    trainer = Trainer.open(config, cache_folder())
    for seed, rate, schedule in product(range(arguments.seeds), arguments.rates, arguments.schedules):
        cells = [Cell(arguments.start, rate, epochs, schedule, seed) for epochs in arguments.lengths]
        if set(cells) <= {run.cell for run in runs}:
            continue
        changed = config.model_copy(update={"learning_rate": rate, "schedule": schedule})
        for run in train(trainer, changed, seed, arguments.lengths):
            runs = sorted([*(other for other in runs if other.cell != run.cell), run], key=lambda run: run.cell)
            kept.write_runs(arguments.output, asked_of(config), runs)
            print(f"{run.cell}  {run.scores['robust_f1']:.4f}  {run.seconds:.1f} s", flush=True)
    print(table(runs))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--start", default="head", help="trainable_from")
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-3, 3e-3, 1e-2])
    parser.add_argument("--lengths", type=int, nargs="+", default=[2, 4, 8, 16])
    parser.add_argument("--schedules", nargs="+", choices=[REFERENCE, *OTHERS], default=[REFERENCE, *OTHERS])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--data", default=str(Path(os.environ.get("TUMORCLS_DATA", "data")) / "sartaj"))
    parser.add_argument("--weights", default=os.environ.get("TUMORCLS_WEIGHTS", "imagenet"))
    parser.add_argument("--image-size", type=int, default=150)
    parser.add_argument("--output", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
