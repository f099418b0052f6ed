"""Where a study lives: opens or creates it in any kind of storage, and turns what that says into one line."""

import contextlib
import sqlite3
import warnings
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

import optuna
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import JournalStorage
from optuna.trial import TrialState
from sqlalchemy.exc import NoSuchModuleError, SQLAlchemyError

from search.errors import StorageError, StudyError, one_line
from search.storage import server, sqlite
from search.storage.journal import end_journal_trial, open_journal
from search.storage.own_trials import OwnTrialsStorage
from search.storage.remedies import remedy
from search.storage.url import (
    EXTRAS,
    FILES,
    folder,
    hide_password,
    hide_secrets,
    holds_secret,
    kind_of,
    storage_file,
    with_driver,
)
from search.study_file import Direction

__all__ = [
    "FILES",
    "close",
    "create_study",
    "end_trial",
    "folder",
    "hide_password",
    "holds_secret",
    "open_study",
    "shared",
    "storage_errors",
    "storage_file",
    "turn",
]

_PATIENCE_S = 30 * 60.0  # a restart, an update, a switch that is replaced; nobody is there at night to launch again


def open_study(url: str, name: str | None) -> optuna.Study:
    """Opens a study that is there; without a name, the only one of the storage.

    Raises:
        StorageError: The storage cannot be opened.
        StudyError: There is no such storage or study, or it takes a name to choose one.
    """
    path = storage_file(url)
    if path is not None and not path.exists():
        raise StudyError(f"{hide_password(url)}: the study must have been launched; got no such file. Run search launch first.")
    with storage_errors(url), _opened(url) as storage:
        names = optuna.get_all_study_names(storage)
        if name is None:
            name = _only(names, hide_password(url))
        if name not in names:
            raise StudyError(f'{hide_password(url)}: holds no study "{name}". Run search launch first, or check --storage.')
        return optuna.load_study(study_name=name, storage=storage)


def _only(names: Sequence[str], url: str) -> str:
    if len(names) == 1:
        return names[0]
    got = ", ".join(sorted(names)[:5]) + (", ..." if len(names) > 5 else "") if names else "none"
    raise StudyError(f"{url}: needs the name of one of its {len(names)} studies; got {got}. Add it after a #: {url}#NAME.")


def create_study(url: str, name: str, directions: Sequence[Direction], metrics: Sequence[str]) -> optuna.Study:
    """Opens a study, or creates it where it is not there.

    Raises:
        StorageError: The storage cannot be opened or written.
    """
    with storage_errors(url), _opened(url, _PATIENCE_S) as storage:
        study = optuna.create_study(storage=storage, study_name=name, directions=list(directions), load_if_exists=True)
        if len(metrics) == len(study.directions) and study.metric_names != list(metrics):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                study.set_metric_names(list(metrics))
        return study


def close(study: optuna.Study) -> None:
    """Closes the database's connections, so that SQLite folds its write-ahead log into the one file."""
    _close(study._storage)


def shared(study: optuna.Study) -> server.PatientStorage | None:
    """Returns the storage of a study that several drivers may write to, those of other machines too; None for any other."""
    return study._storage if isinstance(study._storage, server.PatientStorage) else None


def turn(study: optuna.Study) -> contextlib.AbstractContextManager[None]:
    """Keeps the other drivers of a study, where there may be any, from adding trials to it for as long as it is entered."""
    among = shared(study)
    return contextlib.nullcontext() if among is None else among.turn(study._study_id)


def end_trial(study: optuna.Study, trial_id: int, state: TrialState, values: Sequence[float] | None, ended: datetime) -> None:
    """Ends a trial that has ended some time ago: for Optuna, every trial ends when that is told.

    Raises:
        UpdateFinishedTrialError: It has been ended before.
    """
    if isinstance(study._storage, OwnTrialsStorage):
        study._storage.end_trial(trial_id, state, values, ended)
    elif isinstance(study._storage, JournalStorage):
        end_journal_trial(study._storage, trial_id, state, values, ended)
    else:  # in memory
        study._storage.set_trial_state_values(trial_id, state, values)


@contextlib.contextmanager
def storage_errors(url: str) -> Iterator[None]:
    """Turns every error of a database below this line into a `StorageError` of one line."""
    try:
        yield
    except (StorageInternalError, SQLAlchemyError, sqlite3.Error, OSError) as error:
        said = _said(error, url)
        raise StorageError(
            f"{hide_password(url)}: the storage must be readable and writable; got: {said.rstrip('.')}. {remedy(said)}"
        ) from error


def _close(storage: optuna.storages.BaseStorage) -> None:
    storage.remove_session()
    engine = getattr(getattr(storage, "_backend", storage), "engine", None)
    if engine is not None:
        engine.dispose()


@contextlib.contextmanager
def _opened(url: str, patience_s: float = 0.0) -> Iterator[optuna.storages.BaseStorage]:
    """Opens a storage, and closes it again if the block below fails."""
    storage = _open(url, patience_s)
    try:
        yield storage
    except BaseException:
        _close(storage)
        raise


def _open(url: str, patience_s: float = 0.0) -> optuna.storages.BaseStorage:
    path = storage_file(url)
    if path is not None:
        _check_place(url, path)
    if path is not None and kind_of(url) == "journal":
        return open_journal(url, path)
    backend = _open_database(url, path)
    if path is None and patience_s > 0:
        return server.PatientStorage(backend, hide_password(url), patience_s)
    return OwnTrialsStorage(backend)


def _check_place(url: str, path: Path) -> None:
    if not path.parent.is_dir():
        raise StorageError(
            f"{hide_password(url)}: the folder must exist; got no folder {path.parent}. Create it, or change the storage."
        )
    if path.exists() and not path.is_file():
        got = "a folder" if path.is_dir() else "a pipe or a device"
        raise StorageError(f"{hide_password(url)}: must be a file; got {got}. Change the storage.")


def _open_database(url: str, path: Path | None) -> optuna.storages.RDBStorage:
    if path is not None:
        sqlite.prepare(url, path)
    complete = with_driver(url)
    options = sqlite.engine_options() if path is not None else server.engine_options(complete)
    try:
        with contextlib.nullcontext() if path is not None else server.opening(complete, options):
            backend = optuna.storages.RDBStorage(complete.render_as_string(hide_password=False), engine_kwargs=options)
    except NoSuchModuleError:
        raise StorageError(
            f"{hide_password(url)}: the driver must be one that SQLAlchemy knows; got {complete.get_driver_name()}. "
            f"Leave it out: {complete.get_backend_name()}://..."
        ) from None
    except ImportError as error:
        raise StorageError(
            f"{hide_password(url)}: needs a driver that is not installed; got: {one_line(error)}. "
            f"Run: pip install 'tumorcls[{EXTRAS.get(complete.get_backend_name())}]'."
        ) from None
    except RuntimeError as error:  # Optuna's check of the tables' version
        raise StorageError(f"{hide_password(url)}: does not fit this version of Optuna; got: {one_line(error)}") from None
    if path is not None:
        sqlite.relax_fsync(backend.engine)
    return backend


def _said(error: Exception, url: str) -> str:
    """Returns in one line what a database, or the system, says went wrong."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) and error.__cause__ else error
    cause = getattr(cause, "orig", None) or cause
    # PyMySQL's errors and the system's have a number before the text.
    text = cause.args[1] if len(cause.args) > 1 and isinstance(cause.args[0], int) else cause
    return hide_secrets(one_line(text), url)
