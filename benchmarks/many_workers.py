"""How many workers can one driver serve? Up to 1,000 of them, each with a report a second, and PostgreSQL.

    createdb many_workers
    python -m benchmarks.many_workers postgresql://USER:PASSWORD@HOST/many_workers | tee benchmarks/results/many_workers.txt

The workers are simulated in the driver's process: each says what a real one would, at the times that it would, so that driver
and storage are all that is measured. A worker trains for a second and reports, 60 times a trial. With a pruner it waits for its
answer before it trains on, so that one that is answered late reports less often; without, it does not wait, and what the driver
has not come to yet piles up.

- reports a second: those that were recorded, of those that so many workers make if they never wait.
- delay: from the moment a worker reports until the report is in the storage and, with a pruner, judged.
- CPU: of this process, which is the driver and the simulation, which is little; of one core, and for each report.
- start: from the first trial until all workers have one.
"""

import argparse
import contextlib
import heapq
import itertools
import os
import platform
import tempfile
import time
from importlib import metadata
from pathlib import Path
from statistics import quantiles

import optuna
import sqlalchemy

from search.driver.driver import Driver
from search.driver.ownership import Owner
from search.driver.progress import Progress
from search.driver.views import QuietView
from search.storage import open as storage
from search.storage.url import with_driver
from search.study_file import pruners
from search.study_file.load import load
from search.workers.pool import WorkerPool
from search.workers.protocol import FromWorker, Outcome, Ready, Report, ReportReply, RunTrial, ToWorker

_EPOCH_S, _EPOCHS = 1.0, 60
_SETTLE_S, _SECONDS = 10.0, 30.0
_SIZES = (10, 100, 1000)


class Over(Exception):
    """Enough was measured."""


class Crowd:
    """An executor whose workers only wait, and report; it keeps the time of all that they say."""

    def __init__(self, size: int, *, answered: bool) -> None:
        self._size = size
        self._answered = answered
        self._due: list[tuple[float, int, int, FromWorker]] = []
        self._order = itertools.count()
        self._numbers: dict[int, int] = {}
        self._waiting: dict[int, tuple[float, int]] = {}  # for an answer: since when, and the step
        self._reported: dict[tuple[int, int], float] = {}
        self._began = self._full = 0.0
        self._cpu = self._since = 0.0
        self.delays: list[float] = []
        self.start_s = self.rate = self.cpu = 0.0

    def start(self, worker: int) -> None:
        self._say(worker, Ready(), time.monotonic())

    def has_place(self, worker: int) -> bool:
        return True

    def send(self, worker: int, message: ToWorker) -> None:
        now = time.monotonic()
        if isinstance(message, RunTrial):
            self._begin(worker, message, now)
        elif isinstance(message, ReportReply) and not message.stop:
            asked, step = self._waiting.pop(worker)
            self._measure(asked, now)
            self._train(worker, step + 1, now)

    def recorded(self, worker: int, step: int) -> None:
        if not self._answered:
            self._measure(self._reported.pop((worker, step)), time.monotonic())

    def receive(self, timeout_s: float) -> list[tuple[int, FromWorker]]:
        now = time.monotonic()
        if not self._due or self._due[0][0] > now:
            time.sleep(min(timeout_s, self._due[0][0] - now) if self._due else timeout_s)
            now = time.monotonic()
        said: list[tuple[int, FromWorker]] = []
        while self._due and self._due[0][0] <= now:
            at, _, worker, message = heapq.heappop(self._due)
            said.append((worker, message))
            if isinstance(message, Report) and self._answered:
                self._waiting[worker] = (at, message.step)
            elif isinstance(message, Report):
                self._reported[worker, message.step] = at
                self._train(worker, message.step + 1, at)
        return said

    def kill(self, worker: int) -> None:
        raise NotImplementedError

    def stop(self, *, at_once: bool = False) -> None:
        pass

    def _begin(self, worker: int, task: RunTrial, now: float) -> None:
        first = worker not in self._numbers
        self._numbers[worker] = task.number
        self._began = self._began or now
        if len(self._numbers) == self._size and not self._full:
            self._full, self.start_s = now, now - self._began
        # Trials that began together would end together: each worker's first one is cut short by a part of its own.
        self._train(worker, worker * _EPOCHS // self._size if first else 0, now)

    def _train(self, worker: int, step: int, now: float) -> None:
        number = self._numbers[worker]
        if step < _EPOCHS:
            self._say(worker, Report(number, 0.0, step), now + _EPOCH_S)
        else:
            self._say(worker, Outcome(number, "complete", (0.0,)), now)

    def _say(self, worker: int, message: FromWorker, at: float) -> None:
        heapq.heappush(self._due, (at, next(self._order), worker, message))

    def _measure(self, asked: float, now: float) -> None:
        if not self._full or now < self._full + _SETTLE_S:
            return
        self._cpu, self._since = self._cpu or time.process_time(), self._since or now
        self.delays.append(now - asked)
        if (seconds := now - self._since) > _SECONDS:
            self.rate, self.cpu = len(self.delays) / seconds, (time.process_time() - self._cpu) / seconds
            raise Over


class Clock(QuietView):
    """Shows nothing, and notes when a report is in the storage."""

    def __init__(self, board: Progress, crowd: Crowd) -> None:
        super().__init__(board, None)  # type: ignore[arg-type]
        self._crowd = crowd

    def reported(self, worker: int, step: int, value: float) -> None:
        super().reported(worker, step, value)
        self._crowd.recorded(worker, step)


def measure(url: str, folder: Path, size: int, pruner: str) -> None:
    path = folder / "many.toml"
    path.write_text(f"""
[study]
name = "many-{size}-{pruner}-{time.time_ns()}"
objective = "nothing:nothing"
direction = "maximize"
trials = 1000000

[space]
x = {{ type = "float", low = -10.0, high = 10.0 }}
y = {{ type = "float", low = -10.0, high = 10.0 }}

[sampler]
name = "random"

[pruner]
name = "{pruner}"
""")
    spec = load(path)
    study = storage.create_study(url, spec.name, spec.directions, spec.metrics)
    study.pruner = pruners.make(spec.pruner.name, spec.pruner.options)
    crowd = Crowd(size, answered=pruner != "none")
    view = Clock(Progress.of(study, spec.policy.trials), crowd)
    with contextlib.suppress(Over):
        Driver(study, spec, WorkerPool(crowd, size, spec.policy), Owner.current(), view).run()
    storage.close(study)
    cuts = quantiles(crowd.delays, n=100)
    rate, cpu, middle, late = crowd.rate, crowd.cpu, cuts[49] * 1e3, cuts[98] * 1e3
    print(
        f"{size:5} workers, pruner {pruner:6}: {rate:6.1f} of {size / _EPOCH_S:4.0f} reports a second, driver CPU {cpu:4.0%}, "
        f"{cpu / rate * 1e3:5.1f} ms a report, delay median {middle:7.1f} ms, 99th percentile {late:7.1f} ms, "
        f"start {crowd.start_s:5.1f} s",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("url", help="of a PostgreSQL database, best an empty one")
    parser.add_argument("--sizes", type=int, nargs="+", default=_SIZES, help="numbers of workers")
    parser.add_argument("--pruners", nargs="+", default=("median", "none"), help="pruners")
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    engine = sqlalchemy.create_engine(with_driver(arguments.url))
    with engine.connect() as connection:
        server = connection.execute(sqlalchemy.text("SHOW server_version")).scalar()
    packages = ", ".join(f"{name} {metadata.version(name)}" for name in ("optuna", "sqlalchemy", "psycopg"))
    machine = f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}"
    print(f"{machine}, python {platform.python_version()}, {packages}, PostgreSQL {server}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for pruner in arguments.pruners:
            for size in arguments.sizes:
                measure(arguments.url, Path(folder), size, pruner)


if __name__ == "__main__":
    main()
