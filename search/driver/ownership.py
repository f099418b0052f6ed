"""Which driver a study and its trials belong to, and whether that driver may still be alive."""

import contextlib
import os
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import optuna
from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from search.driver import processes
from search.errors import StorageError, StudyError
from search.optuna_internals import storage_of, study_id_of
from search.records.attributes import CLOCK_KEY, DRIVER_KEY, WORKER_KEY, owner_of
from search.storage.identity import Identity
from search.storage.open import change_user_attr

_LARGEST_PID = 2**31
_DRIVES = "drives"  # in the attribute of a study: the `Identity` of the study that its driver drives, which is in no copy


@dataclass(frozen=True)
class Owner:
    """A driver process, told apart from all others there were and will be, whatever clocks and host names do.

    Attributes:
        host: The machine's name, for people: it may change, and others may have it too.
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
        return cls(socket.gethostname(), os.getpid(), processes.started(), **asdict(processes.here()))

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
        return (self.boot, self.space) == (here.boot, here.space) and (here.boot != "" or self.host == socket.gethostname())

    def may_live(self) -> bool:
        """Returns False where the process is known to be gone; on another machine, or in another container, it cannot be known.

        What ran here before the machine was started anew is gone. A container cannot tell that from one of the same name
        elsewhere.
        """
        if self.is_here:
            return processes.is_running(self.pid, self.started)
        here = processes.here()
        earlier = self.host == socket.gethostname() and self.boot != here.boot and self.installed in ("", here.installed)
        return not earlier or processes.is_container(here.space) or processes.is_container(self.space)


def describe_foreign(trials: Sequence[FrozenTrial]) -> str:
    """Returns how many trials run that no driver of search began, as a sentence; empty where none does."""
    count = sum(is_foreign(trial) for trial in trials)
    runs = "1 trial runs" if count == 1 else f"{count} trials run"
    return f"{runs} that no driver of search began." if count else ""


def is_foreign(trial: FrozenTrial) -> bool:
    """Returns whether a trial runs in another program, as a notebook: a driver stores a trial together with its owner."""
    return trial.state is TrialState.RUNNING and Owner.from_attr(owner_of(trial)) is None


def driver_of(study: optuna.Study) -> Owner | None:
    """Returns the driver of a study, if it may be alive; that on record in a copy drives the original."""
    return _driver_of(study.user_attrs.get(DRIVER_KEY), Identity.of(storage_of(study), study_id_of(study)))


def living_driver(study: optuna.Study) -> Owner | None:
    """Returns another process that drives a study of the same storage, or None."""
    me, storage = Owner.current(), storage_of(study)
    for each in storage.get_all_studies():
        driver = _driver_of(each.user_attrs.get(DRIVER_KEY), Identity.of(storage, study_id_of(each)))
        if driver not in (None, me):
            return driver
    return None


def is_copy(study: optuna.Study) -> bool:
    """Returns whether the driver on record is that of another study, of which this one is a copy."""
    return _is_copy(study.user_attrs.get(DRIVER_KEY), Identity.of(storage_of(study), study_id_of(study)))


def _driver_of(attr: Any, identity: Identity | None) -> Owner | None:
    owner = Owner.from_attr(attr)
    return owner if owner is not None and owner.may_live() and not _is_copy(attr, identity) else None


def _is_copy(attr: Any, identity: Identity | None) -> bool:
    owner = Owner.from_attr(attr)
    return owner is not None and identity is not None and not identity.may_be(attr.get(_DRIVES), here=owner.is_here)


def claim(study: optuna.Study, *, take_over: bool = False) -> Owner:
    """Makes this process the study's driver: of several that try in the same instant, one.

    Raises:
        StudyError: Another driver is, or may be, alive.
    """
    me, identity = Owner.current(), Identity.of(storage_of(study), study_id_of(study))

    def replace(attr: Any) -> dict[str, Any]:
        other = _driver_of(attr, identity)
        if other is not None and other != me and not (take_over and not other.is_here):
            remedy = f"End it first (kill {other.pid})" if other.is_here else "End it first, or add --take-over if it is gone"
            raise StudyError(
                f'study "{study.study_name}": one driver at a time; got one at work, process {other.pid} on {other.host}. '
                f"{remedy}."
            )
        return asdict(me) if identity is None else {**asdict(me), _DRIVES: asdict(identity)}

    change_user_attr(study, DRIVER_KEY, replace)
    return me


def release(study: optuna.Study) -> None:
    """Lets go of the study, where it is still ours."""
    me = Owner.current()
    change_user_attr(study, DRIVER_KEY, lambda attr: None if Owner.from_attr(attr) == me else attr)


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
        # The first error is the one to tell.
        with contextlib.suppress(LookupError, StorageInternalError, SQLAlchemyError, OSError):
            release(study)
        raise
    release(study)
