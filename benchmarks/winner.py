"""Which trial should `search export` write? The one of the best value against the likely best one, on test images.

    python -m benchmarks.winner | tee benchmarks/results/winner.txt
    python -m benchmarks.winner --fidelity --trials 600 | tee benchmarks/results/winner_fidelity.txt

Studies of EfficientNetB0's head on SARTAJ (in the folder TUMORCLS_DATA), each with a seed of its own and the sampler and pruner
that a study file has where it names none. Both choices are trained again with the same new seeds and measured on the test part,
by the mean of clean and noisy macro-F1. The interval is Student's over studies; one in which both are one trial counts as 0.
The estimate itself was chosen on simulated studies of generated images (`benchmarks.search_defaults`).
"""

import argparse
import os
import platform
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import optuna
from optuna.trial import FrozenTrial

from benchmarks.search_quality import contenders
from benchmarks.search_quality.records import Finished, Task, add_arguments
from benchmarks.search_quality.runs import fill_cache, test_score
from search.results.likely_best import Winner, likely_best
from search.results.statistics import mean_interval
from tumorcls.model.backend import package_versions


def main() -> None:
    arguments = _parse()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    task = Task.of(arguments, 86_400.0, **({"schedule": "ema"} if arguments.fidelity else {}))
    fill_cache(task)
    differences = []
    for seed in range(arguments.studies):
        winner = search(task, seed, arguments.trials, contenders.FIDELITY if arguments.fidelity else contenders.SPACE)
        if winner is None:
            print(f"study {seed}: no estimate", flush=True)
            differences.append(0.0)
            continue
        likely = scores(task, winner.trial, arguments.seeds)
        luckiest = scores(task, winner.luckiest, arguments.seeds) if winner.differs else likely
        differences.append(fmean(likely) - fmean(luckiest))
        chosen = winner.describe() if winner.differs else f"trial {winner.trial.number} either way"
        print(f"study {seed}: {chosen}; test {fmean(likely):.4f} and {fmean(luckiest):.4f}", flush=True)
    print(f"\n{arguments.studies} studies of {arguments.trials} trials, {arguments.seeds} seeds for each choice")
    print(f"the likely best less that of the best value: {mean_interval(differences).signed()} robust F1 on test images, 95%")
    print(f"{platform.machine()}, Python {platform.python_version()}, {package_versions()}")


def search(task: Task, seed: int, trials: int, space: str) -> Winner | None:
    """Runs one study, and returns what would be exported of it."""
    with TemporaryDirectory() as folder:
        spec = contenders.write_study(Path(folder), task, seed, space)
        spec = replace(spec, policy=replace(spec.policy, trials=trials, timeout_s=None))
        contenders.search_ours(spec, Path(folder))
        return likely_best(optuna.load_study(study_name=spec.name, storage=f"sqlite:///{folder}/study.db"))


def scores(task: Task, trial: FrozenTrial, seeds: int) -> list[float]:
    """Returns the test score of a trial's config for each of so many new seeds, the same ones for every trial."""
    return [test_score(task, Finished(0.0, 0.0, trial.params, 1_000_000 + seed)) for seed in range(seeds)]


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.winner", description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=10)
    parser.add_argument("--trials", type=int, default=40, help="of each study")
    parser.add_argument("--fidelity", action="store_true", help="epochs are the fidelity, with averaged weights")
    parser.add_argument("--seeds", type=int, default=5, help="with which each choice is trained again")
    add_arguments(parser)
    return parser.parse_args()


if __name__ == "__main__":
    main()
