"""The benchmark's results as a table and as JSON."""

import importlib.metadata
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.trial_speed.records import Contender
from benchmarks.trial_speed.scenarios import Work

OURS = "tumorcls"
_PACKAGES = ("keras", "tensorflow-cpu", "tensorflow", "jax", "optuna", "keras-tuner", "numpy")
_HEADER = f"{'':22}{'trials':>7}{'trials/h':>10}{'s outside':>11}{'peak MiB':>10}{'MiB/trial':>11}{'best F1':>9}{'faster':>13}"


@dataclass(frozen=True)
class Comparison:
    """One scenario's contenders, this project first.

    Attributes:
        images: Of each part.
        fill_s: Seconds that the cache took to fill; None where nothing is cached.
        load_before: Of the machine in the last minute, before the first contender.
    """

    work: Work
    images: dict[str, int]
    contenders: Sequence[Contender]
    fill_s: float | None
    load_before: float

    def ratio(self, peer: Contender) -> float:
        """How many times as many whole trials an hour as a peer this project makes."""
        epochs = self.work.scenario.epochs
        return self.contenders[0].trials_per_hour(epochs) / peer.trials_per_hour(epochs)

    def paid_after(self, peer: Contender) -> float | None:
        """Trials after which filling the cache took less time than it saved."""
        if self.fill_s is None:
            return None
        epochs = self.work.scenario.epochs
        saved = 3600 / peer.trials_per_hour(epochs) - 3600 / self.contenders[0].trials_per_hour(epochs)
        return self.fill_s / saved if saved > 0 else float("inf")


def table(comparison: Comparison) -> str:
    """Returns what a person reads."""
    scenario = comparison.work.scenario
    lines = [
        f"{scenario.name}: {Path(scenario.data).name} at {scenario.image_size} pixels, {comparison.images['train']} training "
        f"and {comparison.images['validation']} validation images, {scenario.epochs} epochs, from {scenario.trainable_from} on",
        _HEADER,
    ]
    for contender in comparison.contenders:
        ratio = "" if contender.name == OURS else f"{comparison.ratio(contender):.1f} times"
        best = contender.best_by_time()[-1][1]
        lines.append(
            f"{contender.name:22}{len(contender.trials):7}{contender.trials_per_hour(scenario.epochs):10.1f}"
            f"{_number(contender.outside_from_second()):>11}{contender.peak_mib():10.0f}"
            f"{_number(contender.growth_mib()):>11}{best:9.3f}{ratio:>13}"
        )
    lines.append(
        f"bar: {scenario.bar:g} times; s outside: seconds a trial outside training steps and validation, from the second on"
    )
    peers = [peer for peer in comparison.contenders if peer.name != OURS]
    if comparison.fill_s is not None and peers:
        after = ", ".join(f"{comparison.paid_after(peer):.1f} ({peer.name})" for peer in peers)
        lines.append(f"filling the cache took {comparison.fill_s:.0f} s, which is paid for after so many trials: {after}")
    return "\n".join(lines)


def document(comparison: Comparison) -> dict[str, Any]:
    """Returns all of it for a program to read, with the machine and the versions."""
    work = comparison.work
    epochs = work.scenario.epochs
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": _machine(),
        "load_before": comparison.load_before,
        "load_after": os.getloadavg()[0],
        "versions": _versions(),
        "scenario": {**asdict(work.scenario), "data": Path(work.scenario.data).name},
        "settings": {**work.settings(), "data": Path(work.scenario.data).name, "weights": Path(work.weights).name},
        "seed": work.seed,
        "images": comparison.images,
        "fill_s": comparison.fill_s,
        "contenders": [
            {
                "name": contender.name,
                "trials": len(contender.trials),
                "whole_trials": contender.whole_trials(epochs),
                "wall_s": contender.wall_s(),
                "trials_per_hour": contender.trials_per_hour(epochs),
                "seconds_outside": contender.seconds_outside(),
                "steps_s": [trial.steps_s for trial in contender.trials],
                "peak_mib": contender.peak_mib(),
                "memory_after_trials_mib": contender.memory_after_trials(),
                "growth_mib_per_trial": contender.growth_mib(),
                "best_by_seconds": contender.best_by_time(),
                "times_as_many": None if contender.name == OURS else comparison.ratio(contender),
                "cache_paid_after_trials": None if contender.name == OURS else comparison.paid_after(contender),
            }
            for contender in comparison.contenders
        ],
    }


def write(comparison: Comparison, folder: Path) -> None:
    """Writes `trial_speed_SCENARIO` as text and JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"trial_speed_{comparison.work.scenario.name}"
    path.with_suffix(".txt").write_text(f"{table(comparison)}\n{_machine()}, load before {comparison.load_before:.1f}\n")
    path.with_suffix(".json").write_text(json.dumps(document(comparison), indent=1) + "\n")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _machine() -> str:
    return f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}"


def _versions() -> dict[str, str]:
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
