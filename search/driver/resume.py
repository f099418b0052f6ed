"""What a launch finds in a study and puts right: another file's study, another driver, trials of a dead one."""

import contextlib
import math
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import optuna
from optuna.distributions import check_distribution_compatibility
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.trial import TrialState
from sqlalchemy.exc import SQLAlchemyError

from search.driver import processes
from search.errors import StorageError, StudyError
from search.records.attributes import (
    CLOCK_KEY,
    DRIVER_KEY,
    FAILURE_KEY,
    FILE_KEY,
    OWNER_KEY,
    RAN_KEY,
    RETRIED_KEYS,
    RETRIES_KEY,
    RETRY_KEY,
    TRACEBACK_KEY,
    WORKER_KEY,
    file_of,
    given_of,
    has_former_records,
    retries_of,
    retry_of,
)
from search.records.durations import end_after, until_last_sign
from search.storage import open as storage
from search.study_file.load import StudySpec
from search.study_file.space import describe_space
from search.text import show

DRIVER_DIED = "the driver died while this trial was running"
"""Why a trial was given back that nobody ended."""

_LARGEST_PID = 2**31
_LONGEST_TRACEBACK = 30_000  # characters; MySQL keeps 64 kB of an attribute


@dataclass(frozen=True)
class Owner:
    """A driver process, told apart from all others there were and will be, whatever clocks and host names do.

    Attributes:
        host: The machine's name, for people.
        pid: The process id.
        started: When it began, as `processes.started` has it.
        boot: Names the boot of its machine; likewise `space` and `installed`, see `Machine`.
    """

    host: str
    pid: int
    started: float
    boot: str = ""
    space: str = ""
    installed: str = ""

    @classmethod
    def current(cls) -> Self:
        """Returns this process."""
        return cls(processes.host_name(), os.getpid(), processes.started(), **asdict(processes.here()))

    @classmethod
    def from_attr(cls, attr: Any) -> Self | None:
        """Returns the owner that a user attribute holds, or None where it holds none."""
        match attr:
            case {"host": str(host), "pid": int(pid), "started": int() | float() as started} if 0 < pid < _LARGEST_PID:
                rest = {key: attr.get(key, "") for key in ("boot", "space", "installed")}
                return cls(host, pid, started, **rest) if all(isinstance(value, str) for value in rest.values()) else None
        return None

    def as_attr(self, worker: int) -> dict[str, Any]:
        """Returns the user attribute of a trial that a worker of this driver begins now."""
        return {**asdict(self), WORKER_KEY: worker, CLOCK_KEY: time.monotonic()}

    @property
    def is_here(self) -> bool:
        """Whether it is, or was, a process that this one could see: of this boot, and of this container if it is in one."""
        here = processes.here()
        return (self.boot, self.space) == (here.boot, here.space) and (here.boot != "" or self.host == processes.host_name())

    def may_live(self) -> bool:
        """Returns False where the process is known to be gone; on another machine, or in another container, it cannot be known.

        What ran here before the machine was started anew is gone. A container cannot tell that from one of the same name
        elsewhere.
        """
        if self.is_here:
            return processes.is_running(self.pid, self.started)
        here = processes.here()
        earlier = self.host == processes.host_name() and self.boot != here.boot and self.installed in ("", here.installed)
        return not earlier or here.is_container() or self._machine().is_container()

    def _machine(self) -> processes.Machine:
        return processes.Machine(self.boot, self.space, self.installed)


def claim(study: optuna.Study, *, take_over: bool = False) -> Owner:
    """Makes this process the study's driver: of several that try in the same instant, one.

    Raises:
        StudyError: Another driver is, or may be, alive.
    """
    me = Owner.current()

    def replace(attr: Any) -> dict[str, Any]:
        other = Owner.from_attr(attr)
        here = other is not None and other.is_here
        if other is not None and other != me and other.may_live() and not (take_over and not here):
            remedy = f"End it first (kill {other.pid})" if here else "End it first, or add --take-over if it is gone"
            raise StudyError(
                f'study "{study.study_name}": one driver at a time; got one at work, process {other.pid} on {other.host}. '
                f"{remedy}."
            )
        return asdict(me)

    storage.change_user_attr(study, DRIVER_KEY, replace)
    return me


def release(study: optuna.Study) -> None:
    """Lets go of the study, where it is still ours."""
    me = Owner.current()
    storage.change_user_attr(study, DRIVER_KEY, lambda attr: None if Owner.from_attr(attr) == me else attr)


@contextlib.contextmanager
def claimed(study: optuna.Study, *, take_over: bool = False) -> Iterator[Owner]:
    """Makes this process the study's driver for the block below.

    Raises:
        StudyError: Another driver is, or may be, alive.
    """
    owner = claim(study, take_over=take_over)
    try:
        yield owner
    except StorageError:  # what is broken cannot be let go of, and need not be: a driver that has ended is known to be gone
        raise
    except BaseException:
        with contextlib.suppress(StorageInternalError, SQLAlchemyError, OSError):  # the first error is the one to tell
            release(study)
        raise
    release(study)


def living_driver(study: optuna.Study) -> Owner | None:
    """Returns another process that drives a study of the same storage, or None."""
    owners = [Owner.from_attr(other.user_attrs.get(DRIVER_KEY)) for other in study._storage.get_all_studies()]
    me = Owner.current()
    return next((owner for owner in owners if owner is not None and owner != me and owner.may_live()), None)


def check_same(study: optuna.Study, spec: StudySpec, *, keep: bool = True) -> None:
    """Refuses a file that asks for another study under the same name; keeps the file's content with the study.

    What a trial's value depends on must stay: objective, settings, space, directions and seed. How the search goes about it
    may change: budget, sampler, pruner, enqueued configs. Nothing binds before there is something to compare with: a mistake
    in the settings that let every trial fail can be mended in place.

    Args:
        study: The study.
        spec: The file.
        keep: Write the file's content into the study; else it is only looked at.

    Raises:
        StudyError: The study was made from a file that differs.
    """
    _refuse_former(study)
    now = describe(spec)
    before = file_of(study)
    _compare(spec, "directions", [direction.name.lower() for direction in study.directions], now["directions"])
    if before is None:  # a study of plain Optuna, taken on as it is
        _check_kinds(study, spec)
    else:
        states = {trial.state for trial in study.get_trials(deepcopy=False)}
        bound = ["seed", "space"] if states else []
        bound += ["objective", "settings"] if states & {TrialState.COMPLETE, TrialState.PRUNED} else []
        for key in bound:
            _compare(spec, key, before.get(key), now[key])
    if keep and not same(before, now):
        study.set_user_attr(FILE_KEY, now)


def check_identical(study: optuna.Study, spec: StudySpec) -> None:
    """Refuses whoever would join a study with another file; whoever joins first brings the file.

    Raises:
        StudyError: The files differ in more than budgets, comments and their names.
    """
    _refuse_former(study)
    now = describe(spec)
    with storage.turn(study):
        before = file_of(study)
        if before is None:
            study.set_user_attr(FILE_KEY, now)
            before = now
    for key in (key for key in now if key not in ("file", "sha256")):
        _compare(spec, key, before.get(key), now[key], "Join with the file that the study was launched with.")
    _compare(spec, "directions", [direction.name.lower() for direction in study.directions], now["directions"])


def describe(spec: StudySpec) -> dict[str, Any]:
    """Returns what is kept of a study file, ready for JSON; settings as written, so without secrets of the environment."""
    return {
        "file": spec.path.name,
        "sha256": spec.sha256,
        "objective": spec.target,
        "directions": list(spec.directions),
        "seed": spec.seed,
        "space": describe_space(spec.space, spec.conditions),
        "settings": _jsonable(spec.settings),
        "sampler": {"name": spec.sampler.name, **_jsonable(spec.sampler.options)},
        "pruner": {"name": spec.pruner.name, **_jsonable(spec.pruner.options)},
        "enqueue": _jsonable(list(spec.enqueue)),
    }


def retry_lost(study: optuna.Study, gone: Owner | None = None) -> list[int]:
    """Fails the trials that a dead driver left RUNNING, and enqueues their parameters again; returns their numbers.

    Args:
        study: The study, which this process has claimed.
        gone: The driver until now. What others on other machines run is theirs where they may share the study, and
            `search.driver.heartbeat` watches it; else they are gone too.
    """
    me, alone = Owner.current(), storage.shared(study) is None
    lost = []
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        owner = Owner.from_attr(trial.user_attrs.get(OWNER_KEY))
        if owner is None or owner in (me, gone) or (alone and not owner.is_here) or not owner.may_live():
            give_back(study, trial.number, DRIVER_DIED, lost=True)
            lost.append(trial.number)
    return lost


def give_back(
    study: optuna.Study, number: int, reason: str, traceback: str = "", *, blamed: bool = False, lost: bool = False
) -> None:
    """Fails a trial that deserves another try, and enqueues its parameters with its seed; one that has ended is left as it is.

    The retry comes first: a kill between the two leaves a RUNNING trial, which the next launch finds, sees its retry, and only
    fails.

    Args:
        study: The study.
        number: The trial.
        reason: Why it ended.
        traceback: Where it ended, if anybody knows.
        blamed: The retry counts: it may have been the config's own fault.
        lost: Nobody was there to end it: it ran until the last sign of life of its driver, not until now.
    """
    with storage.turn(study):
        trials = study.get_trials(deepcopy=False)
        trial = trials[number]
        if trial.state.is_finished():  # another driver held us for dead, and gave it back
            return
        earlier = retry_of(trial)
        first = number if earlier is None else earlier
        if not any(retry_of(other) == first for other in trials[number + 1 :]):
            kept: dict[str, Any] = {key: trial.user_attrs[key] for key in RETRIED_KEYS if key in trial.user_attrs}
            retries = retries_of(trial) + blamed
            if retries:
                kept[RETRIES_KEY] = retries
            # A trial killed while it was drawn has part of its parameters; its seed draws the others as it would have.
            params = {**given_of(trial), **trial.params}
            study.enqueue_trial(params, user_attrs={**kept, RETRY_KEY: first})
        with contextlib.suppress(UpdateFinishedTrialError):  # its owner, held for dead, ends it in this very moment
            fail(study, number, reason, traceback, ran_s=until_last_sign(trial, trials) if lost else None)


def fail(study: optuna.Study, number: int, reason: str, traceback: str = "", *, ran_s: float | None = None) -> None:
    """Tells a trial FAIL, with its reason as user attributes, a traceback without its beginning where it is long.

    Where `ran_s` is given it ended so many seconds after it began, and not now.
    """
    trial_id = study._storage.get_trial_id_from_study_id_trial_number(study._study_id, number)
    study._storage.set_trial_user_attr(trial_id, FAILURE_KEY, reason)
    if traceback:
        study._storage.set_trial_user_attr(trial_id, TRACEBACK_KEY, traceback[-_LONGEST_TRACEBACK:])
    if ran_s is None:
        study.tell(number, state=TrialState.FAIL)
        return
    study._storage.set_trial_user_attr(trial_id, RAN_KEY, ran_s)
    trial = study._storage.get_trial(trial_id)
    storage.end_trial(study, trial_id, TrialState.FAIL, None, end_after(trial, ran_s))


def _check_kinds(study: optuna.Study, spec: StudySpec) -> None:
    """Refuses a space that Optuna would not add to the trials that are there."""
    for trial in study.get_trials(deepcopy=False):
        for name in trial.distributions.keys() & spec.space.keys():
            try:
                check_distribution_compatibility(trial.distributions[name], spec.space[name])
            except ValueError as error:
                raise StudyError(
                    f'{spec.path}: space.{name}: must be of the kind that trial {trial.number} of study "{spec.name}" has; '
                    f"got: {str(error).rstrip('.')}. Add --as NAME to start another study."
                ) from None


def _refuse_former(study: optuna.Study) -> None:
    if has_former_records(study):
        raise StudyError(
            f'study "{study.study_name}": must be of this version of search; got one of an earlier version, which named its '
            "attributes otherwise. Add --as NAME to start another study."
        )


def same(before: Any, now: Any) -> bool:
    """Returns whether two values of study files are one: a number that is none is itself, and true is not 1."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        return before.keys() == now.keys() and all(same(before[key], now[key]) for key in before)
    if isinstance(before, list | tuple) and isinstance(now, list | tuple):
        return len(before) == len(now) and all(map(same, before, now))
    if isinstance(before, bool) is not isinstance(now, bool):
        return False
    return bool(before == now) or (isinstance(before, float) and math.isnan(before) and now != now)


def _compare(spec: StudySpec, key: str, before: Any, now: Any, remedy: str = "") -> None:
    if same(before, now):
        return
    if not (isinstance(before, Mapping) and isinstance(now, Mapping)):
        _refuse(spec, key if key == "enqueue" else f"study.{key}", show(before), show(now), remedy)
    table = {"settings": "objective"}.get(key, key)
    for name in [*before, *now]:
        if (name in before) is not (name in now) or not same(before.get(name), now.get(name)):
            _refuse(spec, f"{table}.{name}", _shown(before, name), _shown(now, name), remedy)


def _shown(table: Mapping[str, Any], name: str) -> str:
    return show(table[name]) if name in table else "nothing"


def _refuse(spec: StudySpec, where: str, before: str, now: str, remedy: str) -> None:
    another = f"Undo the change, or add --as NAME to start another study (--warm-start {spec.name} has it learn from this one)."
    raise StudyError(
        f'{spec.path}: {where}: must stay as it was in study "{spec.name}", {before}; got {now}. {remedy or another}'
    )


def _jsonable(value: Any) -> Any:
    """TOML has dates and times, JSON has not; they are kept as text."""
    if isinstance(value, Mapping):
        return {key: _jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    return value if isinstance(value, str | int | float | bool) else str(value)
