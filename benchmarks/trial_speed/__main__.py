"""How many trials an hour? This project, the usual Optuna + Keras example and KerasTuner, side by side on this machine.

    python -m benchmarks.trial_speed                         # all scenarios: hours on two cores, nearly all of them the peers'
    python -m benchmarks.trial_speed --scenario head --peer-trials 3

Every contender runs in a process of its own, one after another. They get the same space, images, split, first weights, epochs,
batch size and seed; the same noise and ranges of augmentation, drawn anew for each image (this project uses cached views in
turn where it freezes a part, and `optuna_keras_cached` trains the head on these views); and measure clean validation images
after each epoch. No pruner prunes, so that all trials are whole, but every epoch is reported and the question asked.
Hyperband's trials are shorter, and count as the share that they are of a whole one. The clock of this project starts with its
command, the peers' when all is imported and the data in memory.

Needs the extra `tuner`, and for `block7` and `head` SARTAJ in the folder TUMORCLS_DATA and weights (TUMORCLS_WEIGHTS names
a file where Keras cannot download them). Results go to `benchmarks/results/trial_speed_SCENARIO.{txt,json}`.
"""

import argparse
import dataclasses
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.trial_speed import ours, report
from benchmarks.trial_speed.meter import run_measured
from benchmarks.trial_speed.records import Contender, Sample, TrialRecord
from benchmarks.trial_speed.scenarios import SCENARIOS, Scenario, Work

RESULTS = Path(__file__).parents[1] / "results"
PEERS = ("optuna_keras", "optuna_keras_cached", "keras_tuner_random", "keras_tuner_hyperband")
OF_THE_HEAD = ("optuna_keras_cached",)
"""Peers that train nothing else."""


@dataclasses.dataclass(frozen=True)
class Bench:
    """Runs contenders in processes of their own, with a folder for what they leave.

    Attributes:
        folder: For this scenario alone; the cache in it is empty at first.
    """

    folder: Path

    def run(self, module: str, arguments: list[str]) -> list[Sample]:
        environ = {"TUMORCLS_CACHE": str(self.folder / "cache"), "TF_CPP_MIN_LOG_LEVEL": "2"}
        return run_measured([sys.executable, "-m", module, *arguments], environ, self.folder / "log")

    def ours(self, command: str, work: Work) -> dict[str, Any]:
        return self._run_on(f"{__package__}.ours", command, work)[0]

    def search(self, work: Work) -> Contender:
        study, url = ours.write_study(work, self.folder)
        started = time.time()
        memory = self.run("search", ["launch", "--quiet", str(study)])
        return Contender(report.OURS, started, ours.read_trials(url), memory)

    def peer(self, name: str, work: Work) -> Contender:
        result, memory = self._run_on(f"{__package__}.peers", name, work)
        return Contender(name, result["started"], [TrialRecord(**trial) for trial in result["trials"]], memory)

    def _run_on(self, module: str, command: str, work: Work) -> tuple[dict[str, Any], list[Sample]]:
        given, output = self.folder / "work.json", self.folder / "output.json"
        work.write(given)
        memory = self.run(module, [command, str(given), str(output)])
        return json.loads(output.read_text()), memory


def compare(scenario: Scenario, arguments: argparse.Namespace, bench: Bench) -> Iterator[report.Comparison]:
    """Runs all contenders of a scenario, one after another; yields what is known after each."""
    load_before = os.getloadavg()[0]
    frozen_batch_norm = arguments.weights != "none"
    work = Work(scenario, arguments.weights, frozen_batch_norm, arguments.trials, None, arguments.seed)
    prepared = bench.ours("prepare", work)
    work = dataclasses.replace(work, weights=prepared["weights"])
    fill_s = None if scenario.trainable_from == "all" else bench.ours("fill", work)["seconds"]
    _say(scenario, f"cache filled in {fill_s:.0f} s" if fill_s else "images decoded")
    first = bench.search(work)
    comparison = report.Comparison(work, prepared["images"], (first,), fill_s, load_before)
    _say(scenario, f"{report.OURS}: {len(first.trials)} trials in {first.wall_s():.0f} s")
    yield comparison
    peer_work = dataclasses.replace(work, trials=arguments.peer_trials or arguments.trials, minutes=arguments.minutes)
    for name in arguments.peer or PEERS:
        if name in OF_THE_HEAD and scenario.trainable_from != "head":
            continue
        peer = bench.peer(name, peer_work)
        comparison = dataclasses.replace(comparison, contenders=(*comparison.contenders, peer))
        _say(scenario, f"{name}: {len(peer.trials)} trials in {peer.wall_s():.0f} s")
        yield comparison


def main() -> None:
    arguments = _parse()
    for name in arguments.scenario or list(SCENARIOS):
        scenario = _adapted(SCENARIOS[name], arguments)
        with tempfile.TemporaryDirectory() as folder:
            for comparison in compare(scenario, arguments, Bench(Path(folder))):
                report.write(comparison, arguments.output)
        print(report.table(comparison), flush=True)


def _adapted(scenario: Scenario, arguments: argparse.Namespace) -> Scenario:
    data = arguments.data or scenario.data
    if data == "sartaj":
        data = str(Path(os.environ.get("TUMORCLS_DATA", "data")) / "sartaj")
    changed = {"image_size": arguments.image_size, "epochs": arguments.epochs}
    return dataclasses.replace(scenario, data=data, **{key: value for key, value in changed.items() if value})


def _say(scenario: Scenario, line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {scenario.name}: {line}", file=sys.stderr, flush=True)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trial_speed", description=__doc__.splitlines()[0])
    parser.add_argument("--scenario", action="append", choices=list(SCENARIOS), help="may be repeated; all of them otherwise")
    parser.add_argument("--peer", action="append", choices=PEERS, help="may be repeated; all of them otherwise")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--peer-trials", type=int, help="of each peer, where as many would take hours")
    parser.add_argument("--minutes", type=float, help="no trial of a peer starts later than that")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--weights", default=os.environ.get("TUMORCLS_WEIGHTS", "imagenet"), help="or `none`: random")
    parser.add_argument("--data", help="instead of the scenario's: a folder, or phantoms:N")
    parser.add_argument("--image-size", type=int, help="instead of the scenario's")
    parser.add_argument("--epochs", type=int, help="instead of the scenario's")
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
