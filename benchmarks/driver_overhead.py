"""What does the driver cost? Next to plain `study.optimize`, with many workers, and in a long study.

    python -m benchmarks.driver_overhead | tee benchmarks/results/driver_overhead.txt

1. One worker, an objective that returns at once with five reports, random sampler, SQLite: time per trial against
   `study.optimize` of the same objective in this process. Both write to a database in WAL mode with synchronous = NORMAL, so
   that the driver gains nothing from better settings; it alone waits for the disk at each trial's end. What Optuna's own
   settings cost, which wait at each commit, is printed beside.
2. Eight workers, an objective of 0.2 s, without and with five reports: trials a second while all have one, against 8 / 0.2 s.
3. One worker, time per trial of a new study and of one that holds 5,000 trials, with and without a pruner that looks at them;
   and per run from rung to rung, where trials are paused and promoted.
4. One worker, a study whose trials are paused and promoted: time per run from rung to rung, against trials of a study without
   a fidelity that make as many reports.
5. What opening a database takes, a new one and one that is there, against `RDBStorage` of plain Optuna.

Times of trials are those in the storage, from the start of the first to the end of the last, so that they leave out the start
of processes. What is compared takes turns, and medians are printed.
"""

import argparse
import contextlib
import os
import platform
import sqlite3
import tempfile
import time
from datetime import datetime
from importlib import metadata
from pathlib import Path
from statistics import median

import optuna
from optuna.trial import FrozenTrial

from search.driver.launch import launch
from search.records.attributes import WORKER_KEY, owner_of
from search.records.rungs import rungs_of
from search.storage import open as storage
from search.storage import sqlite
from search.storage.database import open_database
from search.study_file.load import load

_TRIALS, _ROUNDS, _LONG = 150, 3, 5_000
_SECONDS, _WORKERS = 0.2, 8
_OPENED = 15


def at_once(trial: optuna.Trial, reports: int = 5, seconds: float = 0.0) -> float:
    x = trial.suggest_float("x", -10.0, 10.0)
    if not reports:
        time.sleep(seconds)
    for step in range(reports):
        time.sleep(seconds / reports)
        trial.report(-x * x * (5 - step), step)
        if trial.should_prune():
            raise optuna.TrialPruned
    return -x * x


class Climbs:
    """Reports once an epoch, beginning where it was paused; it trains nothing, and so needs no checkpoint."""

    def __init__(self, reports: int, seconds: float) -> None:
        self._reached: dict[int, int] = {}

    def check_fidelity(self, name: str) -> None:
        assert name == "epochs"

    def __call__(self, trial: optuna.Trial) -> float:
        x, epochs = trial.suggest_float("x", -10.0, 10.0), trial.suggest_int("epochs", 1, 16)
        for step in range(self._reached.get(trial.number, 0), epochs):
            trial.report(-x * x * (20 - step), step)
        self._reached[trial.number] = epochs
        return -x * x * (20 - epochs)


def drive(
    folder: Path,
    name: str,
    trials: int,
    *,
    workers: int = 1,
    reports: int = 5,
    seconds: float = 0.0,
    pruner: str = "none",
    climbs: bool = False,
) -> optuna.Study:
    path = folder / f"{name}.toml"
    path.write_text(f"""
[study]
name = "{name}"
objective = "benchmarks.driver_overhead:{"Climbs" if climbs else "at_once"}"
direction = "maximize"
trials = {trials}
storage = "sqlite:///{folder / name}.db"

[space]
x = {{ type = "float", low = -10.0, high = 10.0 }}
{'epochs = { type = "int", low = 1, high = 16, fidelity = true }' if climbs else ""}

[sampler]
name = "random"

[pruner]
name = "{pruner}"

[objective]
reports = {reports}
seconds = {seconds}
""")
    return launch(load(path), workers=workers, quiet=True).study


def wal(database: Path) -> optuna.storages.RDBStorage:
    """Returns Optuna's own storage, on a database with the settings that `search` has."""
    sqlite.prepare(f"sqlite:///{database}", database)
    backend = optuna.storages.RDBStorage(f"sqlite:///{database}")
    sqlite.relax_fsync(backend.engine)
    return backend


def optimize(study: optuna.Study) -> optuna.Study:
    study.sampler, study.pruner = optuna.samplers.RandomSampler(seed=0), optuna.pruners.NopPruner()
    study.optimize(at_once, n_trials=_TRIALS)
    return study


def started(trial: FrozenTrial) -> datetime:
    assert trial.datetime_start is not None
    return trial.datetime_start


def ended(trial: FrozenTrial) -> datetime:
    assert trial.datetime_complete is not None
    return trial.datetime_complete


def span(trials: list[FrozenTrial]) -> float:
    """Seconds from the start of the first trial to the end of the last."""
    return (max(map(ended, trials)) - min(map(started, trials))).total_seconds()


def milliseconds_a_trial(study: optuna.Study, last: int = _TRIALS) -> float:
    return span(study.get_trials(deepcopy=False)[-last:]) / last * 1e3


def milliseconds_a_run(trials: list[FrozenTrial]) -> tuple[int, float]:
    """Returns how many runs from rung to rung there were, and how long each took."""
    runs = sum(len(rungs_of(trial)) for trial in trials)
    return runs, span(trials) / runs * 1e3


def overhead(folder: Path) -> None:
    plain, driven, default = [], [], []
    for turn in range(_ROUNDS):
        same = optuna.create_study(storage=wal(folder / f"plain{turn}.db"), direction="maximize")
        plain.append(milliseconds_a_trial(optimize(same)))
        driven.append(milliseconds_a_trial(drive(folder, f"driven{turn}", _TRIALS)))
        own = optuna.create_study(storage=f"sqlite:///{folder}/default{turn}.db", direction="maximize")
        default.append(milliseconds_a_trial(optimize(own)))
    ratio = median(a / b for a, b in zip(driven, plain, strict=True))
    print(f"1. one worker, {_ROUNDS} x {_TRIALS} trials, 5 reports each, random sampler, SQLite, ms a trial")
    print(f"   study.optimize {median(plain):.1f}, search launch {median(driven):.1f}: {ratio:.2f} times (bar: 1.3)")
    print(f"   study.optimize with Optuna's own SQLite settings {median(default):.1f}")


def climbing(folder: Path) -> None:
    ratios, times = [], []
    for turn in range(_ROUNDS):
        study = drive(folder, f"climbs{turn}", _TRIALS, climbs=True)
        trials = study.get_trials(deepcopy=False)
        runs, climbed = milliseconds_a_run(trials)
        reports = round(sum(len(trial.intermediate_values) for trial in trials) / runs)
        whole = milliseconds_a_trial(drive(folder, f"whole{turn}", runs, reports=reports), runs)
        ratios.append(climbed / whole)
        times.append((climbed, whole))
    print(f"4. one worker, {_ROUNDS} x {_TRIALS} trials, {runs} runs from rung to rung with {reports} reports each, ms a run")
    print(
        f"   with a fidelity {median(a for a, _ in times):.1f}, as many trials without {median(b for _, b in times):.1f}: "
        f"{median(ratios):.2f} times (bar: 1.3)"
    )


def opening(folder: Path) -> None:
    print(f"5. a database is opened {_OPENED} times, ms")
    for what in ("new", "there"):
        times: dict[str, list[float]] = {"RDBStorage": [], "search": []}
        for turn in range(_OPENED):
            for name, opens in (("RDBStorage", wal), ("search", _ours)):
                path = folder / f"{name}{turn}.db"
                began = time.perf_counter()
                backend = opens(path)
                times[name].append((time.perf_counter() - began) * 1e3)
                backend.engine.dispose()
        ratio = median(a / b for a, b in zip(times["search"], times["RDBStorage"], strict=True))
        both = ", ".join(f"{name} {median(taken):.0f}" for name, taken in times.items())
        print(f"   {what}: {both}: {ratio:.2f} times")


def _ours(database: Path) -> optuna.storages.RDBStorage:
    return open_database(f"sqlite:///{database}", database, writable=True)


def throughput(folder: Path, reports: int) -> None:
    study = drive(folder, f"many{reports}", 40 * _WORKERS, workers=_WORKERS, reports=reports, seconds=_SECONDS)
    by_worker: dict[int, list[FrozenTrial]] = {}
    for trial in study.get_trials(deepcopy=False):
        by_worker.setdefault(owner_of(trial)[WORKER_KEY], []).append(trial)
    first = max(ended(trials[0]) for trials in by_worker.values())
    last = min(ended(trials[-1]) for trials in by_worker.values())
    count = sum(first < ended(trial) <= last for trials in by_worker.values() for trial in trials)
    rate, ideal = count / (last - first).total_seconds(), _WORKERS / _SECONDS
    print(f"   {reports} reports a trial: {rate:.1f} of {ideal:.0f} trials a second: {rate / ideal:.0%} (bar: 90%)")


def growth(folder: Path, pruner: str) -> None:
    name = f"long-{pruner}"
    study = drive(folder, name, _TRIALS, pruner=pruner)
    before = milliseconds_a_trial(study)
    storage.close(study)
    fill(folder / f"{name}.db", _TRIALS, _LONG)
    after = milliseconds_a_trial(drive(folder, name, _LONG + _TRIALS, pruner=pruner))
    print(f"   pruner {pruner}: {before:.1f} ms a trial, then {after:.1f}: {after / before:.2f} times (bar: 2)")


def growth_of_climbing(folder: Path) -> None:
    study = drive(folder, "long-climbs", _TRIALS, climbs=True)
    _, before = milliseconds_a_run(study.get_trials(deepcopy=False))
    storage.close(study)
    fill(folder / "long-climbs.db", _TRIALS, _LONG)
    longer = drive(folder, "long-climbs", _LONG + _TRIALS, climbs=True)
    _, after = milliseconds_a_run(longer.get_trials(deepcopy=False)[_LONG:])
    print(f"   with a fidelity: {before:.1f} ms a run, then {after:.1f}: {after / before:.2f} times")


def fill(database: Path, there: int, wanted: int) -> None:
    """Copies the first `there` trials of a database until it holds `wanted`."""
    tables = {
        "trial_params": "param_name, param_value, distribution_json",
        "trial_values": "objective, value, value_type",
        "trial_intermediate_values": "step, intermediate_value, intermediate_value_type",
        "trial_user_attributes": "key, value_json",
        "trial_system_attributes": "key, value_json",
    }
    numbers = f"WITH RECURSIVE n(i) AS (SELECT {there} UNION ALL SELECT i + 1 FROM n WHERE i < {wanted - 1})"
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(
            f"{numbers} INSERT INTO trials (trial_id, number, study_id, state, datetime_start, datetime_complete) "
            f"SELECT i + 1, i, study_id, state, datetime_start, datetime_complete FROM n JOIN trials ON number = i % {there}"
        )
        for table, columns in tables.items():
            connection.execute(
                f"{numbers} INSERT INTO {table} (trial_id, {columns}) "
                f"SELECT i + 1, {columns} FROM n JOIN {table} ON trial_id = i % {there} + 1"
            )


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    packages = ", ".join(f"{name} {metadata.version(name)}" for name in ("optuna", "sqlalchemy"))
    machine = f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}"
    print(f"{machine}, python {platform.python_version()}, {packages}, SQLite {sqlite3.sqlite_version}")
    with tempfile.TemporaryDirectory() as folder:
        overhead(Path(folder))
        print(f"2. {_WORKERS} workers, {_SECONDS} s a trial, random sampler")
        for reports in (0, 5):
            throughput(Path(folder), reports)
        print(f"3. one worker, {_TRIALS} trials of a new study and of one with {_LONG:,} trials, 5 reports each")
        for pruner in ("none", "median"):
            growth(Path(folder), pruner)
        growth_of_climbing(Path(folder))
        climbing(Path(folder))
        opening(Path(folder))


if __name__ == "__main__":
    main()
