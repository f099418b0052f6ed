"""Who finds the better model in the same time? This project, Optuna's TPE, random search and KerasTuner, ten seeds each.

    python -m benchmarks.search_quality --output /tmp/all    # over an hour on two cores
    python -m benchmarks.search_quality --data phantoms:400 --image-size 64 --seconds 20 --seeds 3 --output /tmp/try
    python -m benchmarks.search_quality --stacks own ...         # each tool with its own stack: see the top of own_stacks.py

Everybody searches the same space with the same objective, EfficientNetB0's head on cached activations, so that dozens of
trials fit into the time; scored by `robust_f1` on validation images of SARTAJ and Nickparvar, split by groups of copies
(in the folder TUMORCLS_DATA). Before a clock starts the cache is filled, the objective is built and compiled, and every
contender has searched for a moment in the process (none of this with `--stacks own`). Each run has a process with one core; the
runs of all contenders are mixed, so that whatever disturbs the machine disturbs everybody. A trial counts from when it ended,
one that is paused from when it reached its rung; one that was pruned counts for nothing but its time.

The area is the mean over the time of the best score so far, 0 before the first; "from 1/8 on", over the time without its first
eighth. The winner of each run is trained again with
its seed and measured on the test part. Differences in area are paired by seed: Wilcoxon's signed-rank test, two-sided, with
Holm's correction. Writes `search_quality.{txt,json}` at the end, the JSON after each run too, before the next one begins;
when it is started again it goes on from there.
"""

import argparse
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import product
from multiprocessing import get_context
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from benchmarks.search_quality.records import STACKS, Run, Task
from benchmarks.search_quality.report import Report, read_runs
from benchmarks.search_quality.runs import SYNE_TUNE_THERE, contenders_of, fill_cache, search_all


def task_of(arguments: argparse.Namespace) -> Task:
    folder = Path(os.environ.get("TUMORCLS_DATA", "data"))
    arguments.data = arguments.data or [str(folder / "sartaj"), str(folder / "nickparvar")]
    settings = {"schedule": "ema", "trainable_from": arguments.trainable_from}
    if arguments.stacks == "own":  # what `fit` of Keras measures
        settings |= {"score": "clean_f1", "measured_noises": []}
    return Task.of(arguments, arguments.seconds, arguments.stacks, **settings)


def main() -> None:
    arguments = parse()
    if not SYNE_TUNE_THERE:
        print("Syne Tune is left out, since it is not installed: see the top of syne_tune_peer.py", flush=True)
    task = task_of(arguments)
    names = arguments.contender or list(contenders_of(task.stacks))
    runs = read_runs(arguments.output / "search_quality.json", task)
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        pool.submit(fill_cache, task).result()
    report = Report(task, runs)
    there = {(run.contender, run.seed) for run in runs}
    wanted = [(name, seed) for seed, name in product(range(arguments.seeds), names)]

    def done(run: Run) -> None:
        nonlocal report
        report = replace(report, runs=(*report.runs, run))
        report.write_runs(arguments.output)
        print(f"{run.contender}, seed {run.seed}: {len(run.finished)} of {run.begun} trials finished", flush=True)

    search_all(task, [pair for pair in wanted if pair not in there], done)
    report.write(arguments.output)
    print(report.table())


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search_quality", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=120.0, help="of each run")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--contender", action="append", help="may be repeated; all of them otherwise")
    parser.add_argument("--stacks", choices=list(STACKS), default="same", help="what trains: see the top of own_stacks.py")
    parser.add_argument(
        "--data", action="append", help="a folder or phantoms:N; may be repeated; SARTAJ and Nickparvar otherwise"
    )
    parser.add_argument("--image-size", type=int, default=150)
    parser.add_argument("--trainable-from", default="head", help="the first part of the network that is trained")
    parser.add_argument("--weights", default=os.environ.get("TUMORCLS_WEIGHTS", "imagenet"), help="or `none`: random")
    parser.add_argument("--output", type=Path, required=True, help="a folder")
    arguments = parser.parse_args()
    known = contenders_of(arguments.stacks)
    if unknown := set(arguments.contender or ()) - known.keys():
        parser.error(f"--contender: must be one of {', '.join(known)}; got {', '.join(unknown)}")
    return arguments


if __name__ == "__main__":
    main()
