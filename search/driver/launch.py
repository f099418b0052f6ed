"""One launch of a study: opens it, puts right what an earlier launch left, drives it, and lets go of it."""

import contextlib
import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import optuna
from rich.console import Console

from search.driver.budget import EndReason
from search.driver.compatibility import check_identical, check_same
from search.driver.driver import Driver
from search.driver.fingerprint_check import copy_fingerprint, delete_if_unused
from search.driver.ownership import Owner, claimed, describe_foreign
from search.driver.portfolio import add_portfolio
from search.driver.progress import Progress
from search.driver.restart import begin_anew
from search.driver.retry import retry_lost
from search.driver.views import make_view, print_warning
from search.driver.warm_start import check_whole
from search.driver.warm_start import warm_start as warm_start_from
from search.errors import ObjectiveError, StudyError, WorkerError
from search.records.attributes import BUDGET_KEY, DRIVER_KEY, FINALISTS_OF_KEY, budget_of
from search.records.beginnings import warm_source
from search.storage import errors
from search.storage.folders import artifact_folder, checkpoint_folder
from search.storage.open import create_study, read_back
from search.storage.place import url_of
from search.storage.url import folder, hide_password, storage_file
from search.study_file import pruners
from search.study_file.arguments import asked
from search.study_file.distributions import describe_space
from search.study_file.env import AsWritten
from search.study_file.load import StudySpec, unpruned
from search.study_file.own_class import guard
from search.study_file.targets import hidden_beside, is_own, local_module
from search.text import print_line
from search.workers.devices import check_places, environ_of, environ_of_place, visible_devices
from search.workers.executor import Executor
from search.workers.local import LocalExecutor
from search.workers.pool import WorkerPool
from search.workers.process import WorkerSetup
from search.workers.ray import RayExecutor, connected

_NOTICE_S = 20.0  # Slurm kills 30 s after its SIGTERM; Kubernetes too


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
    warm_start: Sequence[optuna.Study] = (),
    measured_as: optuna.Study | None = None,
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
        take_over: Drive the study even though a driver on another machine may be alive, and take up what no driver began.
        warm_start: A study whose trials the new one is to learn from, or several whose portfolio it is to try first.
        measured_as: A study that this one's values will be compared with, so that both must be measured on the same data.
        quiet: Show no progress.
        console: Where progress goes; stdout by default.

    Raises:
        SearchError: In one line, what the user can mend.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):  # a worker imports the script that launches
        rule = 'must stand below a line if __name__ == "__main__": of a script'
        raise StudyError(f"search.launch: {rule}; got none above it. Add one.")
    spec, workers = asked(spec, workers, "search.launch", trials=trials, timeout_s=timeout_s)
    say = _sayer(console, quiet=quiet)
    url = url_of(spec, url, say)
    with open_runtime(spec, url, workers, quiet=quiet, console=console) as runtime, errors.storage_errors(url):
        study = create_study(url, spec.name, spec.directions, spec.metrics)
        if (anew := begin_anew(study, spec, url)) is not None:
            study, line = anew
            say(line)
        gone = Owner.from_attr(study.user_attrs.get(DRIVER_KEY))
        with claimed(study, take_over=take_over) as owner:
            check_same(study, spec)
            announce_local_code(spec, say)
            study.set_user_attr(BUDGET_KEY, spec.policy.trials)
            retried = tuple(retry_lost(study, gone, take_over=take_over))
            if theirs := describe_foreign(study.get_trials(deepcopy=False)):
                say(f"{theirs} Left alone: --take-over takes up what was lost.")
            delete_if_unused(study)
            if measured_as is not None:
                copy_fingerprint(measured_as, study)
            for line in _warm(study, spec, warm_start):
                say(line)
            if warm_source(study) is None and (note := unpruned(spec)):  # trials of another study count for a pruner too
                say(note)
            reason = drive(study, spec, owner, runtime)
    return Launched(study, reason, spec.policy.trials, retried)


@dataclass(frozen=True)
class Runtime:
    """Where a driver runs its workers, and what it leaves there.

    Attributes:
        url: The storage.
        workers: How many.
        executor: Runs them.
        device_share: The part of a device that each takes.
        log: The workers' logs, as messages name them: of several workers with ``*`` for their numbers.
        console: Where progress goes.
        quiet: Show no progress.
    """

    url: str
    workers: int
    executor: Executor
    device_share: float
    log: Path
    console: Console
    quiet: bool


def announce_local_code(spec: StudySpec, say: Callable[[str], None]) -> None:
    """Says first of all when a study runs the code of the folder that it is launched in, maybe somebody else's, or cannot."""
    if hidden := hidden_beside(Path.cwd()):
        say(f"{hidden} here is hidden by the package search. Rename it.")
    named = {"objective": spec.target, "sampler": spec.sampler.name, "pruner": spec.pruner.name}
    for what, target in named.items():
        if line := describe_local_code(spec, what, target):
            say(line)


def describe_local_code(spec: StudySpec, what: str, target: str) -> str:
    """Returns a line that says whose code a target is, where that lies in the current folder; else an empty one."""
    code = local_module(target, Path.cwd()) if is_own(target) else None
    return f"Runs the code of {code.name} in this folder, which {spec.path.name} names as its {what}." if code else ""


@contextlib.contextmanager
def open_runtime(
    spec: StudySpec, url: str, workers: int, *, quiet: bool, console: Console | None = None, joined: str = ""
) -> Iterator[Runtime]:
    """Gives a driver what it runs its workers with; none has been started yet.

    `joined` sets the logs apart from those of other drivers that run in the same folder; see `Runtime` for the rest.

    Raises:
        SearchError: An environment variable is missing, or there are too few devices.
    """
    as_written = AsWritten.of(spec.settings, os.environ, f"{spec.path}: objective")
    name = f"{spec.name}.{joined}" if joined else spec.name
    fidelity = spec.fidelity.name if spec.fidelity is not None else None
    file = (as_written, describe_space(spec.space, spec.conditions), spec.enqueue, fidelity, spec.directions)

    def log_of(worker: int | str) -> Path:
        return folder(url) / f"{name}.worker-{worker}.log"

    def set_up(worker: int, environ: Mapping[str, str]) -> WorkerSetup:
        return WorkerSetup(spec.target, as_written.expanded, log_of(worker), environ, *file)

    with _executor(spec, workers, set_up) as (executor, device_share):
        log = log_of(0 if workers == 1 else "*")
        yield Runtime(url, workers, executor, device_share, log, console or Console(), quiet)


@contextlib.contextmanager
def _executor(
    spec: StudySpec, workers: int, set_up: Callable[[int, Mapping[str, str]], WorkerSetup]
) -> Iterator[tuple[Executor, float]]:
    """Gives what runs the workers, with the part of a device that each takes; its environment says to each what it may use."""
    resources = spec.policy.executor
    if resources is not None:
        environ = environ_of_place(resources.cpus_per_trial, resources.gpus_per_trial)
        with connected(resources, str(spec.path)):
            yield RayExecutor(lambda worker: set_up(worker, environ), resources), spec.policy.device_share
        return
    devices, per_device = visible_devices(os.environ, print_warning), spec.policy.workers_per_device
    check_places(workers, devices, per_device)
    executor = LocalExecutor(lambda worker: set_up(worker, environ_of(worker, workers, devices, per_device, os.environ)))
    yield executor, min(1.0, len(devices) / workers) if devices else 1.0


def drive(
    study: optuna.Study, spec: StudySpec, owner: Owner, runtime: Runtime, *, waits: bool = True, notice_s: float | None = None
) -> EndReason:
    """Runs the trials of a study that was claimed or joined, on this machine's workers; see `Driver`."""
    spec = replace(spec, policy=replace(spec.policy, device_share=runtime.device_share))
    study.pruner = pruners.make(spec.pruner.name, spec.pruner.options, spec.seed)
    if is_own(spec.pruner.name):
        study.pruner = guard(study.pruner, f"{spec.path}: pruner.target")
    view = make_view(Progress.of(study, spec.policy.trials, spec.policy.timeout_s), runtime.console, quiet=runtime.quiet)
    pool = WorkerPool(runtime.executor, runtime.workers, spec.policy)
    readback = read_back(study, runtime.url, resumes=FINALISTS_OF_KEY not in study.user_attrs)  # gives the study its token
    driver = Driver(
        study,
        spec,
        pool,
        owner,
        view,
        artifacts=artifact_folder(runtime.url),
        checkpoints=checkpoint_folder(runtime.url, study),
        waits=waits,
        notice_s=notice_s,
        poll_storage=readback.poll,
    )
    view.open()
    try:
        with readback.watching():
            return driver.run()
    except (ObjectiveError, WorkerError) as error:
        raise type(error)(f"{str(error).rstrip('.')}. Details: {runtime.log}") from None
    finally:
        view.close()


def _warm(study: optuna.Study, spec: StudySpec, sources: Sequence[optuna.Study]) -> list[str]:
    """Has a study begin with what other studies know; returns what a person must know of that, line by line."""
    if len(sources) != 1:
        check_whole(study)
        return add_portfolio(study, spec, sources) if sources else []
    taken = warm_start_from(study, spec, sources[0])
    if taken is None:
        return []
    if taken.compared:
        copy_fingerprint(sources[0], study)
    return taken.lines()


def join(
    spec: StudySpec,
    *,
    timeout_s: float | None = None,
    workers: int = 1,
    url: str | None = None,
    quiet: bool = False,
    console: Console | None = None,
) -> Launched:
    """Runs trials of a study beside its other drivers, until none is left to start; begins the study where it is not there.

    The arguments are those of `launch`; the study file must be the one that it was given.

    Raises:
        SearchError: In one line, what the user can mend.
    """
    spec, workers = asked(spec, workers, "join", timeout_s=timeout_s)
    say = _sayer(console, quiet=quiet)
    url = url_of(spec, url, say)
    check_shareable(url)
    me = Owner.current()
    joined = f"{me.host}-{me.pid}"
    with open_runtime(spec, url, workers, quiet=quiet, console=console, joined=joined) as runtime, errors.storage_errors(url):
        study = create_study(url, spec.name, spec.directions, spec.metrics)
        check_identical(study, spec)
        announce_local_code(spec, say)
        check_whole(study)
        # The study's budget is one; a machine that joins does not bring its own.
        budget = budget_of(study) or spec.policy.trials
        spec = replace(spec, policy=replace(spec.policy, trials=budget))
        reason = drive(study, spec, me, runtime, waits=False, notice_s=_NOTICE_S)
    return Launched(study, reason, budget, ())


def _sayer(console: Console | None, *, quiet: bool) -> Callable[[str], None]:
    return lambda line: None if quiet else print_line(console or Console(), line)


def check_shareable(url: str) -> None:
    """Sees to it that several drivers may use a storage.

    Raises:
        SearchError: It is a file, or of no kind that we know.
    """
    if storage_file(url) is not None:
        raise StudyError(
            f"{hide_password(url)}: the storage of a study that is joined must be a server, PostgreSQL or MySQL; "
            "got a file, which one driver writes to. Change study.storage, or add --storage."
        )
