"""Optuna's storage in a database: its tables are made by whoever writes, and only looked at by whoever reads."""

import contextlib
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.storages import RDBStorage
from sqlalchemy.exc import IntegrityError, NoSuchModuleError, OperationalError

from search.errors import StorageError, StudyError
from search.optuna_internals import head_revision, models
from search.storage import server, sqlite, study_lock
from search.storage.url import EXTRAS, hide_password, with_driver
from search.text import one_line

_REVISION = sqlalchemy.Table(
    "alembic_version",
    sqlalchemy.MetaData(),
    sqlalchemy.Column("version_num", sqlalchemy.String(32), nullable=False),
    sqlalchemy.PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)
"""As Alembic makes it."""

_MAKING_S = 30.0
_PAUSE_S = 0.05


class _ClosingStorage(RDBStorage):
    """Optuna's storage, which closes its connections when nobody holds it any more, and where it cannot be made."""

    def __init__(self, *args: Any, **options: Any) -> None:
        try:
            super().__init__(*args, **options)
        finally:
            if hasattr(self, "engine"):
                # Not when the process ends, since it may be a fork, whose connections are its parent's.
                weakref.finalize(self, self.engine.dispose).atexit = False


def open_database(url: str, path: Path | None, *, writable: bool) -> RDBStorage:
    """Opens a database, a server's where `path` is None; makes Optuna's tables where they are not there and `writable`.

    Nothing of one that is not `writable` can be changed. Its connections are closed when nobody holds what is returned any
    more, if not before.

    Raises:
        StorageError: It cannot be opened, or its tables are those of another version of Optuna.
        StudyError: It has no tables, and none may be made.
    """
    complete = with_driver(url)
    if path is not None:
        place, options = sqlite.ANY_FILE, sqlite.engine_options(path, writable=writable)
        if writable:
            sqlite.prepare(url, path)
        else:
            sqlite.check_readable(url, path, options["creator"])
    else:
        place, options = complete.render_as_string(hide_password=False), server.engine_options(complete)
    try:
        if not writable:
            return _look(url, place, options)
        if path is not None:
            backend = _make(place, options)
            sqlite.relax_fsync(backend.engine)
            return backend
        if complete.get_backend_name() == "mysql":
            _tell_case_apart()
        # One process at a time makes the tables: those of a job array all start at once.
        with _engine(place, options) as engine, study_lock.lock(engine, study_lock.TABLES):
            with engine.connect() as connection:  # once it has its turn: who waits needs no second one
                revision = _revision(connection)
            return _storage(place, options, revision)
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


def _storage(place: str, options: dict[str, Any], revision: str | None, *, make: bool = True) -> RDBStorage:
    template = place.replace("{", "{{").replace("}", "}}")  # Optuna formats it
    fits = revision is not None and revision == head_revision()  # then it need not run all that it has to migrate tables
    return _ClosingStorage(template, engine_kwargs=options, skip_compatibility_check=fits, skip_table_creation=not make)


def _make(place: str, options: dict[str, Any]) -> RDBStorage:
    """Makes the tables together with whoever does the same in this moment: each finds some that the other has just made."""
    until = time.monotonic() + _MAKING_S
    while True:
        with _engine(place, options) as engine, engine.connect() as connection:
            _lay_out(connection)
            revision = _revision(connection)
        try:
            return _storage(place, options, revision)
        except (OperationalError, IntegrityError) as error:
            raced = isinstance(error, IntegrityError) or "already exists" in str(error)
            if not raced or time.monotonic() > until:
                raise
            time.sleep(_PAUSE_S)


def _lay_out(connection: sqlalchemy.Connection) -> None:
    """Makes an empty file of SQLite what Optuna would make it, in one transaction and a tenth of the time.

    Where there is any table, what to do about it is for Optuna to say.
    """
    head = head_revision()
    connection.exec_driver_sql("BEGIN IMMEDIATE")
    if head is not None and not sqlalchemy.inspect(connection).get_table_names():
        _tables().create_all(connection, checkfirst=False)
        _REVISION.create(connection)
        made_by = {"schema_version": models.SCHEMA_VERSION, "library_version": optuna.__version__}
        connection.execute(sqlalchemy.insert(models.VersionInfoModel), made_by)
        connection.execute(_REVISION.insert(), {"version_num": head})
    connection.commit()


def _tables() -> sqlalchemy.MetaData:
    """Returns Optuna's tables, in which no id is given again.

    SQLite would give those of a study that was deleted to the next one, and a driver that has not noticed would write into it.
    See https://www.sqlite.org/autoinc.html.
    """
    tables = sqlalchemy.MetaData()
    for table in models.BaseModel.metadata.sorted_tables:
        table.to_metadata(tables)
    for model in (models.StudyModel, models.TrialModel):
        tables.tables[model.__tablename__].dialect_options["sqlite"]["autoincrement"] = True
    return tables


def _tell_case_apart() -> None:
    """Has MySQL tell `c` from `C` and `é` from `e` in tables that are made from now on, as all other storages do."""
    for table in models.BaseModel.metadata.tables.values():
        table.dialect_options["mysql"].update(charset="utf8mb4", collate="utf8mb4_bin")


def _look(url: str, place: str, options: dict[str, Any]) -> RDBStorage:
    with _engine(place, options) as engine, engine.connect() as connection:
        revision = _revision(connection)  # the last of what Optuna makes
        if revision is None or not sqlalchemy.inspect(connection).has_table(models.StudyModel.__tablename__):
            raise StudyError(f"{hide_password(url)}: holds no study. Run search launch first, or check --storage.")
    backend = _storage(place, options, revision, make=False)
    if backend.engine.dialect.name != "sqlite":
        server.forbid_writing(backend.engine)
    return backend


@contextlib.contextmanager
def _engine(place: str, options: dict[str, Any]) -> Iterator[sqlalchemy.Engine]:
    engine = sqlalchemy.create_engine(place, **options)
    try:
        yield engine
    finally:
        engine.dispose()


def _revision(connection: sqlalchemy.Connection) -> str | None:
    """Returns what Alembic has noted of the tables; None where it has noted nothing yet."""
    if not sqlalchemy.inspect(connection).has_table(_REVISION.name):
        return None
    return connection.execute(sqlalchemy.select(_REVISION.c.version_num)).scalar()
