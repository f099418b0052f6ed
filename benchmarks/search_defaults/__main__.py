"""What should a study do whose file names no sampler and no pruner? Candidates, on two small tasks, simulated.

    python -m benchmarks.search_defaults | tee benchmarks/results/search_defaults.txt

Random configs of two tasks, generated images and digits, are trained once, and what they report is kept. A forest then predicts
the learning curve of any config, with the noise that a trial has, so that a search of minutes is simulated in a second, by the
real sampling and pruning of `search`, against a clock that counts what the trials would have taken. Neither task is the one on
which `benchmarks.search_quality` compares this project with others: nothing is tuned there.

Further generated images are there to check the priors of studies/brain-mri-head.toml, which the first ones gave:

    python -m benchmarks.search_defaults --task unseen --task "unseen, priors" --candidate "the defaults" --configs 150

`rungs` and `unseen, rungs` are the same with epochs as a fidelity: trials are paused and promoted by the real rule.

The area is the mean over the time of the best score so far, 0 before the first; a pruned trial counts for nothing but its time.
The last column is what the best config of each run would score on average over many seeds, which luck has no part in.
"""

import argparse
import os
import platform
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from statistics import mean, stdev

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from benchmarks.search_defaults.curves import TASKS, read_curves
from benchmarks.search_defaults.simulation import CANDIDATES, Landscape, begin, goes_with, search
from tumorcls.model.backend import package_versions


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search_defaults", description=__doc__.splitlines()[0])
    parser.add_argument("--configs", type=int, default=800, help="trained for each task")
    parser.add_argument("--seeds", type=int, default=24)
    parser.add_argument("--task", action="append", choices=list(TASKS), help="may be repeated; all of them otherwise")
    parser.add_argument("--candidate", action="append", choices=list(CANDIDATES), help="likewise")
    arguments = parser.parse_args()
    for task in arguments.task or TASKS:
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:  # a backend in this process would not survive the forks
            landscape = Landscape.of(pool.submit(read_curves, task, arguments.configs).result())
        print(f"{TASKS[task].title}; {landscape.told(arguments.seeds)}")
        print(f"{'':30}{'area':>16}{'best seen':>16}{'best config':>16}{'trials':>8}{'pruned':>8}")
        with ProcessPoolExecutor(mp_context=get_context("fork"), initializer=begin, initargs=(landscape,)) as pool:
            for name in arguments.candidate or CANDIDATES:
                if not goes_with(TASKS[task].space, CANDIDATES[name]):
                    continue
                runs = list(pool.map(partial(search, TASKS[task].space, CANDIDATES[name]), range(arguments.seeds)))
                columns = [[getattr(run, key) for run in runs] for key in ("area", "best", "expected")]
                spread = "".join(f"{f'{mean(column):.4f} ± {stdev(column):.4f}':>16}" for column in columns)
                counts = f"{mean(run.trials for run in runs):8.1f}{mean(run.pruned for run in runs):8.1f}"
                print(f"{name:30}{spread}{counts}", flush=True)
        print()
    print("mean ± standard deviation over the seeds")
    print(f"{platform.machine()}, Python {platform.python_version()}, {package_versions()}")


if __name__ == "__main__":
    main()
