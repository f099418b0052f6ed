"""Where a study lives: opens or creates it, and turns what databases say into one line.

SQLite is opened in WAL mode with a busy timeout, so that any number of readers (dashboard, ``optuna`` command) never disturb
the driver, which is the only writer.
"""

import contextlib
import sqlite3
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from search.errors import StorageError, StudyError, one_line
from search.study_file import Direction

_BUSY_TIMEOUT_S = 30.0
_SQLITE_HEADER = b"SQLite format 3\x00"  # https://www.sqlite.org/fileformat.html, section 1.3


def open_study(url: str, name: str | None) -> optuna.Study:
    """Opens a study that is there; without a name, the only one of the storage.

    Raises:
        StorageError: The storage cannot be opened.
        StudyError: There is no such storage or study, or it takes a name to choose one.
    """
    path = sqlite_path(url)
    if path is not None and not path.exists():
        raise StudyError(f"{hide_password(url)}: the study must have been launched; got no such file. Run search launch first.")
    with storage_errors(url), _open(url) as storage:
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
    with storage_errors(url), _open(url) as storage:
        study = optuna.create_study(storage=storage, study_name=name, directions=list(directions), load_if_exists=True)
        if len(metrics) == len(study.directions) and study.metric_names != list(metrics):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                study.set_metric_names(list(metrics))
        return study


def close(study: optuna.Study) -> None:
    """Closes the database's connections, so that SQLite folds its write-ahead log into the one file."""
    study._storage.remove_session()
    engine = getattr(getattr(study._storage, "_backend", None), "engine", None)
    if engine is not None:
        engine.dispose()


@contextlib.contextmanager
def storage_errors(url: str) -> Iterator[None]:
    """Turns every error of a database below this line into a `StorageError` of one line."""
    where = hide_password(url)
    try:
        yield
    except (StorageInternalError, SQLAlchemyError, sqlite3.Error) as error:
        cause = error.__cause__ if isinstance(error, StorageInternalError) and error.__cause__ else error
        said = one_line(getattr(cause, "orig", None) or cause)
        raise StorageError(f"{where}: the storage must be readable and writable; got: {said}. {_remedy(said)}") from error
    except OSError as error:
        raise StorageError(f"{where}: the storage must be readable and writable; got: {one_line(error)}.") from error


def sqlite_path(url: str) -> Path | None:
    """Returns the database file of an SQLite URL, or None for another kind of storage.

    Raises:
        StorageError: The URL cannot be understood, or names no file.
    """
    parsed = _parse(url)
    if parsed.get_backend_name() != "sqlite":
        return None
    if not parsed.database or parsed.database == ":memory:":
        raise StorageError(f"{url}: the storage must be a file; got a database in memory. Write sqlite:///NAME.db.")
    return Path(parsed.database)


def folder(url: str) -> Path:
    """Returns the folder of what belongs to the storage: worker logs, artifacts; the current one for a database server."""
    path = sqlite_path(url)
    return path.parent if path is not None else Path()


def hide_password(url: str) -> str:
    """Returns the URL as it may be shown."""
    return _parse(url).render_as_string(hide_password=True)


def _parse(url: str) -> sqlalchemy.URL:
    try:
        return sqlalchemy.make_url(url)
    except ArgumentError:
        # The text is not shown: what cannot be parsed may still hold a password.
        raise StorageError("storage: must be a URL such as sqlite:///quickstart.db; got something else. Correct it.") from None


@contextlib.contextmanager
def _open(url: str) -> Iterator[optuna.storages.RDBStorage]:
    path = sqlite_path(url)
    if path is not None:
        _prepare_sqlite(url, path)
    try:
        backend = optuna.storages.RDBStorage(url, engine_kwargs=_engine_options(path))
    except NoSuchModuleError:
        known = "sqlite, postgresql or mysql"
        raise StorageError(f"{hide_password(url)}: the kind of storage must be {known}; got another. Correct it.") from None
    except ImportError as error:
        raise StorageError(
            f"{hide_password(url)}: needs a driver that is not installed; got: {one_line(error.__cause__)}."
        ) from None
    except RuntimeError as error:  # Optuna's check of the tables' version
        raise StorageError(f"{hide_password(url)}: does not fit this version of Optuna; got: {one_line(error)}") from None
    if path is not None:
        # WAL survives a killed process without an fsync for each commit; see https://www.sqlite.org/pragma.html#pragma_synchronous
        sqlalchemy.event.listen(backend.engine, "connect", _relax_fsync)
        backend.engine.dispose()
    yield backend


def _engine_options(path: Path | None) -> dict[str, Any]:
    return {"connect_args": {"timeout": _BUSY_TIMEOUT_S}} if path is not None else {}


def _relax_fsync(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute("PRAGMA synchronous=NORMAL")


def _prepare_sqlite(url: str, path: Path) -> None:
    """Proves that the file is, or can become, a sound database that we may write; switches it to WAL."""
    if not path.parent.is_dir():
        raise StorageError(f"{url}: the folder must exist; got no folder {path.parent}. Create it, or change the storage.")
    if path.is_dir():
        raise StorageError(f"{url}: must be a file; got a folder. Change the storage.")
    if path.exists() and path.stat().st_size:
        with path.open("rb") as file:
            if file.read(len(_SQLITE_HEADER)) != _SQLITE_HEADER:
                raise StorageError(
                    f"{url}: must be an SQLite database; got a file of another kind. Move it, or change the storage."
                )
    with contextlib.closing(sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S)) as connection:
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise StorageError(f"{url}: must be a sound database; got: {one_line(found)}. {_remedy('malformed')}")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("BEGIN IMMEDIATE")
        connection.rollback()


def _remedy(said: str) -> str:
    """What to do about an error of SQLite."""
    for clue, remedy in (
        ("malformed", "Restore it from a copy, or move it away and launch again."),
        ("not a database", "Move it away, or change the storage."),
        ("locked", "Another program holds it: close that, and launch again."),
        ("readonly", "Give yourself write permission to the file and its folder, or change the storage."),
        ("unable to open", "Give yourself write permission to the file and its folder, or change the storage."),
        ("full", "Free some disk space, and launch again."),
    ):
        if clue in said:
            return remedy
    return "Check the storage, and launch again."
