"""Where a study lives: opens or creates it in any kind of storage, and turns what that says into one line."""

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.trial import TrialState

from search.errors import StorageError, StudyError
from search.optuna_internals import METRIC_NAMES, add_trial, seeing, storage_of, study_id_of
from search.storage import server, sqlite
from search.storage.cache import OwnTrialsStorage
from search.storage.database import open_database
from search.storage.errors import storage_errors
from search.storage.journal import Journal, open_journal
from search.storage.readback import ReadBack, mark, token_in
from search.storage.study_lock import lock
from search.storage.together import Changes
from search.storage.trial_ends import TellsEnds
from search.storage.url import absolute, hide_password, kind_of, parse, storage_file
from search.study_file.tables import Direction

_PATIENCE_S = 30 * 60.0  # a restart, an update, a switch that is replaced; nobody is there at night to launch again
_MYSQL_TEXT = 65_535  # bytes; what is longer is an error in its strict mode, and cut off otherwise


def open_study(url: str, name: str | None, *, writable: bool = False) -> optuna.Study:
    """Opens a study that is there, for reading alone unless `writable`; without a name, the only one of the storage.

    Raises:
        StorageError: The storage cannot be opened.
        StudyError: There is no such storage or study, or it takes a name to choose one.
    """
    path = storage_file(url)
    if path is not None and not path.exists():
        raise StudyError(f"{hide_password(url)}: the study must have been launched; got no such file. Run search launch first.")
    with storage_errors(url), _opened(url, writable=writable) as storage:
        names = optuna.get_all_study_names(storage)
        if name is None:
            name = _only(names, hide_password(url))
        if name not in names:
            raise StudyError(f'{hide_password(url)}: holds no study "{name}". Run search launch first, or check --storage.')
        study = optuna.load_study(study_name=name, storage=storage)
        if not study.directions:
            raise StorageError(f'{hide_password(url)}: study "{name}" must have a direction; got none. Restore it from a copy.')
        return study


def _only(names: Sequence[str], url: str) -> str:
    if len(names) == 1:
        return names[0]
    got = ", ".join(sorted(names)[:5]) + (", ..." if len(names) > 5 else "") if names else "none"
    raise StudyError(f"{url}: needs the name of one of its {len(names)} studies; got {got}. Add it after a #: {url}#NAME.")


def create_study(url: str, name: str, directions: Sequence[Direction], metrics: Sequence[str]) -> optuna.Study:
    """Opens a study, or creates it where it is not there; the metrics of one that has trials keep their names.

    Raises:
        StorageError: The storage cannot be opened or written.
        StudyError: It takes the name of another study for this one's: MySQL's tables that plain Optuna made know no case.
    """
    with storage_errors(url), _opened(url, writable=True, patience_s=_PATIENCE_S) as storage:
        study = optuna.create_study(storage=storage, study_name=name, directions=list(directions), load_if_exists=True)
        if (found := storage.get_study_name_from_id(study_id_of(study))) != name:
            got = f'"{found}", which it takes for the same'
            raise StudyError(f'{hide_password(url)}: a study must be called "{name}"; got {got}. Choose another name.')
        if not study.get_trials(deepcopy=False):
            name_metrics(study, metrics)
        return study


def name_metrics(study: optuna.Study, metrics: Sequence[str]) -> None:
    """Names what a study optimizes, where there is a name for each direction."""
    if len(metrics) == len(study.directions) and study.metric_names != list(metrics):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            study.set_metric_names(list(metrics))


def token_of(study: optuna.Study) -> str | None:
    """Returns what tells a study from one that took its name since; None of a study that was never launched."""
    return token_in(storage_of(study).get_study_system_attrs(study_id_of(study)))


def close(study: optuna.Study) -> None:
    """Closes the database's connections; a writer folds SQLite's write-ahead log into the one file, whoever reads it still."""
    _close(storage_of(study))


def read_back(study: optuna.Study, url: str, *, resumes: bool = True) -> ReadBack:
    """Returns what compares a study's storage with what this process writes to it; see `ReadBack`."""
    with study_lock(study):
        mark(study)
    return ReadBack(study, url, resumes=resumes)


def change_user_attr(study: optuna.Study, key: str, change: Callable[[Any], Any]) -> None:
    """Changes a user attribute of a study in one step, so that of several processes each sees the others' changes.

    What `change` is given is its value, or None; it returns the new one, and may be called again, with another value.
    """
    storage = storage_of(study)
    if isinstance(storage, OwnTrialsStorage | Journal):
        storage.change_study_user_attr(study_id_of(study), key, change)
    else:  # one in memory, which nobody shares
        study.set_user_attr(key, change(study.user_attrs.get(key)))


def shared(study: optuna.Study) -> server.ReconnectingStorage | None:
    """Returns the storage of a study that several drivers may write to, those of other machines too; None for any other."""
    storage = storage_of(study)
    return storage if isinstance(storage, server.ReconnectingStorage) else None


def longest_attr(study: optuna.Study) -> int | None:
    """Returns how many bytes of JSON a study's storage keeps of an attribute; None where that has no end."""
    storage = storage_of(study)
    return _MYSQL_TEXT if isinstance(storage, OwnTrialsStorage) and storage.backend.engine.dialect.name == "mysql" else None


def study_lock(study: optuna.Study) -> contextlib.AbstractContextManager[None]:
    """Keeps the other drivers of a study, where there may be any, from asking for trials and from giving any back meanwhile."""
    among = shared(study)
    return contextlib.nullcontext() if among is None else lock(among.backend.engine, study_id_of(study))


def together(study: optuna.Study, trial_id: int) -> contextlib.AbstractContextManager[None]:
    """Writes what a block says of a trial at its end, where the storage can write that in one transaction."""
    storage = storage_of(study)
    return storage.together(trial_id) if isinstance(storage, OwnTrialsStorage) else contextlib.nullcontext()


@contextlib.contextmanager
def telling(
    study: optuna.Study, trial_id: int, state: TrialState | None, values: Sequence[float], changes: Changes
) -> Iterator[None]:
    """Writes what there is to say of a trial before the block tells how it ended, or that it is paused.

    That is `changes`. The state that the block tells is remembered with it and `values`, of which a trial may have none, before
    anything is written: whatever fails then, nothing of it is lost. Where the state is None, nothing is remembered.

    Raises:
        UpdateFinishedTrialError: It has been ended before.
    """
    storage, remembering = storage_of(study), contextlib.ExitStack()
    with remembering:
        if state is not None and isinstance(storage, TellsEnds):
            remembering.enter_context(storage.telling(trial_id, state, values, changes))
        with together(study, trial_id):
            for key, value in changes.system_attrs.items():
                storage.set_trial_system_attr(trial_id, key, value)
            for key, value in changes.user_attrs.items():
                storage.set_trial_user_attr(trial_id, key, value)
            for name, (internal, distribution) in changes.params.items():
                storage.set_trial_param(trial_id, name, internal, distribution)
        yield


def end_trial(study: optuna.Study, trial_id: int, state: TrialState, values: Sequence[float] | None, ended: datetime) -> None:
    """Ends a trial that has ended some time ago: for Optuna, every trial ends when that is told.

    Raises:
        UpdateFinishedTrialError: It has been ended before.
    """
    storage = storage_of(study)
    if isinstance(storage, OwnTrialsStorage | Journal):
        storage.end_trial(trial_id, state, values, ended)
    else:  # in memory
        storage.set_trial_state_values(trial_id, state, values)


def _close(storage: optuna.storages.BaseStorage) -> None:
    storage.remove_session()
    if isinstance(storage, OwnTrialsStorage):
        engine = storage.backend.engine
        if storage.writable and engine.dialect.name == "sqlite":
            sqlite.checkpoint_wal(engine)
        engine.dispose()


@contextlib.contextmanager
def _opened(url: str, *, writable: bool, patience_s: float = 0.0) -> Iterator[optuna.storages.BaseStorage]:
    """Opens a storage, and closes it again if the block below fails."""
    storage = _open(url, writable=writable, patience_s=patience_s)
    try:
        yield storage
    except BaseException:
        _close(storage)
        raise


def _open(url: str, *, writable: bool, patience_s: float) -> optuna.storages.BaseStorage:
    path = storage_file(url)
    if path is not None:
        parse(absolute(url))  # which is written down, with the name of the current folder in it
        _check_place(url, path)
    if path is not None and kind_of(url) == "journal":
        return open_journal(url, path, writable=writable)
    backend = open_database(url, path, writable=writable)
    if path is None and patience_s > 0:
        return server.ReconnectingStorage(backend, hide_password(url), patience_s)
    return OwnTrialsStorage(backend, writable=writable, path=path)


def _check_place(url: str, path: Path) -> None:
    if not path.parent.is_dir():
        raise StorageError(
            f"{hide_password(url)}: the folder must exist; got no folder {path.parent}. Create it, or change the storage."
        )
    if path.exists() and not path.is_file():
        got = "a folder" if path.is_dir() else "a pipe or a device"
        raise StorageError(f"{hide_password(url)}: must be a file; got {got}. Change the storage.")


def as_of_now(study: optuna.Study) -> optuna.Study:
    """Returns the study with the trials that it has now, for whoever looks at them several times.

    A snapshot, made in no time: whatever else is asked of the study, the storage still says.
    """
    return seeing(study, study.get_trials(deepcopy=False))


def snapshot(study: optuna.Study) -> optuna.Study:
    """Returns a copy in memory, with all trials and the study's own user attributes."""
    copy = optuna.create_study(study_name=study.study_name, directions=study.directions)
    for trial in study.get_trials(deepcopy=False):
        add_trial(copy, trial)
    for key, value in study.user_attrs.items():
        copy.set_user_attr(key, value)
    if study.metric_names:
        storage_of(copy).set_study_system_attr(study_id_of(copy), METRIC_NAMES, study.metric_names)
    return copy
