"""Optuna's storage in a database: its tables are made by whoever writes, and only looked at by whoever reads."""

import time
from pathlib import Path
from typing import Any

import sqlalchemy
from optuna.storages import RDBStorage
from sqlalchemy.exc import IntegrityError, NoSuchModuleError, OperationalError

from search.errors import StorageError, StudyError
from search.optuna_internals import models
from search.storage import server, sqlite
from search.storage.url import EXTRAS, hide_password, with_driver
from search.text import one_line

_REVISION = "alembic_version"
_MAKING_S = 30.0
_PAUSE_S = 0.05


def open_database(url: str, path: Path | None, *, writable: bool) -> RDBStorage:
    """Opens a database; makes Optuna's tables where they are not there and `writable`.

    Args:
        url: Of the storage.
        path: Its file, or None for a server.
        writable: Else nothing of it can be changed.

    Raises:
        StorageError: It cannot be opened, or its tables are those of another version of Optuna.
        StudyError: It has no tables, and none may be made.
    """
    complete = with_driver(url)
    if path is not None:
        mode = "rw" if writable else sqlite.readable(url, path)
        if writable:
            sqlite.prepare(url, path)
        options = sqlite.engine_options(path, mode)
    else:
        options = server.engine_options(complete)
    place = sqlite.ANY_FILE if path is not None else complete.render_as_string(hide_password=False)
    try:
        if not writable:
            backend = _look(url, place, options)
        elif path is not None:
            backend = _make(place, options)
        else:
            with server.opening(complete, options):
                backend = _storage(place, options)
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
    if path is not None and writable:
        sqlite.relax_fsync(backend.engine)
    return backend


def _storage(place: str, options: dict[str, Any], *, make: bool = True) -> RDBStorage:
    template = place.replace("{", "{{").replace("}", "}}")  # Optuna formats it
    return RDBStorage(template, engine_kwargs=options, skip_table_creation=not make)


def _make(place: str, options: dict[str, Any]) -> RDBStorage:
    """Makes the tables together with whoever does the same in this moment: each finds some that the other has just made."""
    until = time.monotonic() + _MAKING_S
    while True:
        try:
            return _storage(place, options)
        except (OperationalError, IntegrityError) as error:
            raced = isinstance(error, IntegrityError) or "already exists" in str(error)
            if not raced or time.monotonic() > until:
                raise
            time.sleep(_PAUSE_S)


def _look(url: str, place: str, options: dict[str, Any]) -> RDBStorage:
    engine = sqlalchemy.create_engine(place, **options)
    try:
        with engine.connect() as connection:
            if not _is_whole(connection):
                raise StudyError(f"{hide_password(url)}: holds no study. Run search launch first, or check --storage.")
    finally:
        engine.dispose()
    backend = _storage(place, options, make=False)
    if backend.engine.dialect.name != "sqlite":
        server.forbid_writing(backend.engine)
    return backend


def _is_whole(connection: sqlalchemy.Connection) -> bool:
    """Whether all is there that Optuna would make otherwise; the revision comes last."""
    tables = set(sqlalchemy.inspect(connection).get_table_names())
    if not {*models.BaseModel.metadata.tables, _REVISION} <= tables:
        return False
    return connection.execute(sqlalchemy.text(f"SELECT version_num FROM {_REVISION}")).first() is not None
