"""Does noise in training make a model robust, and what does tuning add? Several seeds, the same test images for all.

    search launch studies/brain-mri.toml
    search export studies/brain-mri.toml --trial 0 -o notebook.toml
    search export studies/brain-mri.toml -o tuned.toml
    python -m benchmarks.noise_finding notebook=notebook.toml tuned=tuned.toml

Each config is trained as it is and once more with `noise_intensity = 0`, all else equal, with every seed; then it is measured
on the test part, clean and under each noise at five severities. A value is the mean over the seeds. Its 95% interval comes from
a bootstrap that draws groups of near-duplicate test images *and* seeds; differences are paired in both. Prints Markdown tables
and writes `benchmarks/results/noise_finding.json`.
"""

import argparse
import json
import os
import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from numpy.typing import NDArray

from benchmarks.held_out import CLEAN, Condition, HeldOut
from tumorcls.cache.folder import cache_folder
from tumorcls.config.file import read_config
from tumorcls.config.train_config import TrainConfig
from tumorcls.data.dataset import ImageSet
from tumorcls.evaluation.bootstrap import Estimate, Resamples, draw_resamples, estimate
from tumorcls.evaluation.metrics import macro_f1
from tumorcls.model.backend import package_versions
from tumorcls.noise.severity import SEVERITY_LEVELS
from tumorcls.training.trainer import Trainer

RESULTS = Path(__file__).parent / "results" / "noise_finding.json"
RESAMPLES = 1000
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Runs:
    """Macro-F1 of one recipe: by condition, (seeds, 1 + resamples), measured first; and the same for accuracy when clean."""

    config: TrainConfig
    f1: dict[Condition, Floats]
    accuracy: Floats
    seconds: list[float]


class Bench:
    """The test images, and the resamples that all runs share."""

    def __init__(self, trainer: Trainer, config: TrainConfig) -> None:
        self.trainer = trainer
        self.held_out = HeldOut(trainer, config)
        self.test: ImageSet = self.held_out.images
        self.resamples: Resamples = draw_resamples(self.test.groups, RESAMPLES, seed=0)

    def run(self, config: TrainConfig, seeds: list[int], name: str) -> Runs:
        conditions = self.held_out.conditions
        f1: dict[Condition, list[Floats]] = {condition: [] for condition in conditions}
        accuracy, seconds = [], []
        for seed in seeds:
            start = time.perf_counter()
            fitted = self.trainer.fit(config, seed, lambda epoch: None)
            seconds.append(time.perf_counter() - start)
            for condition in conditions:
                confusion = self._confusions(self.held_out.predict(fitted, condition))
                f1[condition].append(np.asarray(macro_f1(confusion)))
                if condition == CLEAN:
                    accuracy.append(np.trace(confusion, axis1=1, axis2=2) / confusion.sum(axis=(1, 2)))
            clean, noisy = f1[CLEAN][-1][0], np.mean([f1[c][-1][0] for c in conditions[1:]])
            print(f"{name}, seed {seed}: clean {clean:.3f}, noisy {noisy:.3f}, {seconds[-1]:.0f} s", flush=True)
        return Runs(config, {c: np.stack(values) for c, values in f1.items()}, np.stack(accuracy), seconds)

    def _confusions(self, predicted: NDArray[np.int64]) -> Floats:
        """Returns confusion matrices (1 + resamples, classes, classes): of the test part, then of each resample."""
        return self.resamples.confusions(self.test.labels, predicted, len(self.test.classes))


def over_seeds(values: Floats, draws: NDArray[np.int64]) -> Floats:
    """Returns the mean over the seeds, (1 + resamples,); each resample also draws its seeds."""
    resampled = values[draws, np.arange(1, values.shape[1])[:, None]].mean(axis=1)
    return np.concatenate([[values[:, 0].mean()], resampled])


def measures(runs: Runs) -> dict[str, Floats]:
    """Returns what the tables show of a recipe, each (seeds, 1 + resamples)."""
    noises = dict.fromkeys(noise for noise, _ in runs.f1 if noise != "clean")
    by_noise = {noise: np.mean([v for (n, _), v in runs.f1.items() if n == noise], axis=0) for noise in noises}
    hardest = np.mean([v for (n, s), v in runs.f1.items() if s == max(SEVERITY_LEVELS)], axis=0)
    noisy = np.mean(list(by_noise.values()), axis=0)
    clean = runs.f1[CLEAN]
    return {
        "accuracy, clean": runs.accuracy,
        "macro-F1, clean": clean,
        "noisy": noisy,
        **by_noise,
        "severity 5": hardest,
        "robust": (clean + noisy) / 2,
    }


def table(title: str, rows: dict[str, dict[str, Estimate]], signed: bool = False) -> str:
    def cell(value: Estimate) -> str:
        form = "+.3f" if signed else ".3f"
        return f"{value.value:{form}} ({value.low:{form}} to {value.high:{form}})"

    names = list(next(iter(rows.values())))
    lines = [f"| {title} | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    lines += [f"| {name} | {' | '.join(cell(row[n]) for n in names)} |" for name, row in rows.items()]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("configs", nargs="+", metavar="NAME=FILE", help="configs that `search export` wrote")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    recipes: dict[str, TrainConfig] = {}
    for argument in arguments.configs:
        name, _, file = argument.partition("=")
        config = read_config(Path(file)).config
        recipes[f"{name}, no noise"] = config.model_copy(update={"noise_intensity": 0.0})
        recipes[name] = config
    first = next(iter(recipes.values()))
    bench = Bench(Trainer.open(first, cache_folder()), first)
    results = {name: measures(bench.run(config, arguments.seeds, name)) for name, config in recipes.items()}
    draws = np.random.default_rng(0).integers(0, len(arguments.seeds), (RESAMPLES, len(arguments.seeds)))

    def summarise(values: Floats) -> Estimate:
        return estimate(over_seeds(values, draws))

    scores = {name: {m: summarise(v) for m, v in result.items()} for name, result in results.items()}
    names = list(recipes)
    pairs = [(names[i + 1], names[i]) for i in range(0, len(names), 2)] + [(names[-1], name) for name in names[1:-2:2]]
    differences = {f"{a} minus {b}": {m: summarise(results[a][m] - results[b][m]) for m in results[a]} for a, b in pairs}
    spread = {name: {m: v[:, 0].round(4).tolist() for m, v in result.items()} for name, result in results.items()}
    print("\n" + table("test part", scores) + "\n\n" + table("difference", differences, signed=True))
    document = {
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}",
        "versions": package_versions(),
        "seeds": arguments.seeds,
        "test_images": len(bench.test.labels),
        "test_groups": len(np.unique(bench.test.groups)),
        "split_sha256": bench.trainer.prepared.split_sha256,
        "configs": {name: config.model_dump(mode="json", exclude={"data", "weights"}) for name, config in recipes.items()},
        "by_seed": spread,
        "scores": {name: {m: asdict(e) for m, e in row.items()} for name, row in scores.items()},
        "differences": {name: {m: asdict(e) for m, e in row.items()} for name, row in differences.items()},
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
