"""One launch of a study: opens it, puts right what an earlier launch left, drives it, and lets go of it."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import optuna
from rich.console import Console

from search import pruners, storage
from search.artifacts import artifact_folder
from search.board import Board
from search.budget import EndReason
from search.checkpoints import checkpoint_folder
from search.crew import Crew
from search.devices import check_places, environ_of, environ_of_place, visible_devices
from search.driver import Driver
from search.errors import ObjectiveError, WorkerError
from search.executors import Executor
from search.executors.local import LocalExecutor
from search.executors.ray import RayExecutor, connected
from search.progress import View, make_view
from search.resume import check_same, claim, release, retry_lost
from search.settings import expand
from search.study_file import StudySpec
from search.warm_start import check_whole
from search.warm_start import warm_start as warm_start_from
from search.worker import WorkerSetup


@dataclass(frozen=True)
class Launched:
    """How a launch went.

    Attributes:
        study: The study, open for reading.
        reason: Why the launch ended.
        budget: COMPLETE and PRUNED trials wanted in total.
        retried: The trials of a dead driver that were taken up again.
    """

    study: optuna.Study
    reason: EndReason
    budget: int
    retried: tuple[int, ...]


def launch(
    spec: StudySpec,
    *,
    trials: int | None = None,
    timeout_s: float | None = None,
    workers: int = 1,
    url: str | None = None,
    take_over: bool = False,
    warm_start: optuna.Study | None = None,
    quiet: bool = False,
    console: Console | None = None,
) -> Launched:
    """Creates or resumes the study that a file describes, and runs it until an end is reached.

    Args:
        spec: The study file.
        trials: The budget instead of the file's.
        timeout_s: The wall time of this launch in seconds instead of the file's.
        workers: How many worker processes, and so trials, run at the same time.
        url: The storage instead of the file's.
        take_over: Drive the study even though a driver on another machine may be alive.
        warm_start: A study whose trials the new one is to learn from.
        quiet: Show no progress.
        console: Where progress goes; stdout by default.

    Raises:
        SearchError: In one line, what the user can mend.
    """
    url = url or spec.storage
    settings = expand(spec.settings, os.environ, f"{spec.path}: objective")
    policy = replace(spec.policy, trials=trials or spec.policy.trials, timeout_s=timeout_s or spec.policy.timeout_s)
    spec = replace(spec, policy=policy)

    def set_up(worker: int, environ: Mapping[str, str]) -> WorkerSetup:
        return WorkerSetup(spec.target, settings, log_path(spec, url, worker), environ)

    with _executor(spec, workers, set_up) as executor, storage.storage_errors(url):
        study = storage.create_study(url, spec.name, spec.directions, spec.metrics)
        check_same(study, spec)
        owner = claim(study, take_over=take_over)
        try:
            retried = tuple(retry_lost(study))
            console = console or Console()
            _warm(study, spec, warm_start, None if quiet else console)
            study.pruner = pruners.make(spec.pruner.name, spec.pruner.options)
            view = make_view(Board.of(study, policy.trials), console, quiet=quiet)
            crew = Crew(executor, workers, policy)
            kept = {"artifacts": artifact_folder(url), "checkpoints": checkpoint_folder(url, spec.name)}
            reason = _drive(Driver(study, spec, crew, owner, view, **kept), view)
        except (ObjectiveError, WorkerError) as error:
            raise type(error)(f"{str(error).rstrip('.')}. Details: {log_path(spec, url, 0, workers)}") from None
        finally:
            release(study)
    return Launched(study, reason, policy.trials, retried)


@contextlib.contextmanager
def _executor(spec: StudySpec, workers: int, set_up: Callable[[int, Mapping[str, str]], WorkerSetup]) -> Iterator[Executor]:
    """Gives what runs the workers, and says to each through its environment what it may use."""
    places = spec.policy.executor
    if places is not None:
        environ = environ_of_place(places.cpus_per_trial, places.gpus_per_trial)
        with connected(places, str(spec.path)):
            yield RayExecutor(lambda worker: set_up(worker, environ), places)
        return
    devices, per_device = visible_devices(os.environ), spec.policy.workers_per_device
    check_places(workers, devices, per_device)
    yield LocalExecutor(lambda worker: set_up(worker, environ_of(worker, workers, devices, per_device, os.environ)))


def _drive(driver: Driver, view: View) -> EndReason:
    view.open()
    try:
        return driver.run()
    finally:
        view.close()


def _warm(study: optuna.Study, spec: StudySpec, source: optuna.Study | None, console: Console | None) -> None:
    if source is None:
        check_whole(study)
        return
    taken = warm_start_from(study, spec, source)
    if taken is not None and console is not None:
        for line in taken.lines():
            console.print(line, highlight=False, markup=False, soft_wrap=True)


def log_path(spec: StudySpec, url: str, worker: int, workers: int = 1) -> Path:
    """Returns the file that takes what a worker prints; with several workers, ``*`` stands for their numbers in messages."""
    return storage.folder(url) / f"{spec.name}.worker-{worker if workers == 1 else '*'}.log"
