"""PostgreSQL, MySQL and MariaDB: a server that may go away for a while, and what to do meanwhile."""

import contextlib
import functools
import logging
import os
import select
import signal
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy.exc import DBAPIError, PendingRollbackError

from search.storage import study_lock
from search.storage.cache import OwnTrialsStorage
from search.storage.errors import NO_DATABASE, remedy

_CONNECT_TIMEOUT_S = 10
_NO_FILES = {"pymysql": "local_infile", "mysqldb": "local_infile", "mariadbconnector": "local_infile"} | {
    "mysqlconnector": "allow_local_infile"
}
"""By driver of MySQL, the option that lets a server ask for any file of this machine: LOAD DATA LOCAL."""

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 10.0

_log = logging.getLogger(__name__)


def engine_options(url: sqlalchemy.URL) -> dict[str, Any]:
    """Returns what SQLAlchemy's engine is made with: a connection is tried before it is used, and replaced if it is dead."""
    options: dict[str, Any] = {"pool_pre_ping": True}
    driver = url.get_driver_name()
    if driver == "psycopg" and "connect_timeout" not in url.query:  # its default is 130 s
        options["connect_args"] = {"connect_timeout": _CONNECT_TIMEOUT_S}
    if driver in _NO_FILES:
        options["connect_args"] = {_NO_FILES[driver]: False}
    return options


def forbid_writing(engine: sqlalchemy.Engine) -> None:
    """Lets nothing be changed through an engine, by mistake neither."""
    reads = "SESSION CHARACTERISTICS AS TRANSACTION" if engine.dialect.name == "postgresql" else "SESSION TRANSACTION"
    study_lock.on_connect(engine, f"SET {reads} READ ONLY")


def _made_again(method: Callable[..., Any], *, reads: bool = False) -> Callable[..., Any]:
    """Makes a call again whose transaction was undone, or that only reads: once, on a connection that was waited for."""

    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return method(*args, **kwargs)
        except StorageInternalError as error:
            if not _was_lost(error.__cause__, reads=reads):
                raise
        return method(*args, **kwargs)

    return call


_read_again = functools.partial(_made_again, reads=True)


class ReconnectingStorage(OwnTrialsStorage):
    """A study's storage on a server that may go away for a while: waits, and goes on.

    Connections are made between two transactions, and that is where it waits. A transaction that the server's end cuts in two
    was undone by the server, and is made again. Only where the end hits the COMMIT of what was written can nobody know whether
    it was done: that error is raised, since a trial must not be there twice.

    One wait takes `limit_s` at most. After one that was in vain, or that ^C or SIGTERM ended, nothing waits any more. Messages
    show the storage's URL as `shown`.
    """

    def __init__(self, backend: RDBStorage, shown: str, limit_s: float) -> None:
        super().__init__(backend)
        self._shown = shown
        self._limit_s = limit_s
        self.alone = False
        # Weak: SQLAlchemy keeps the dialect of an engine, and with it what listens, long after the engine is of use to anybody.
        wait = weakref.WeakMethod(self._connect)
        sqlalchemy.event.listen(backend.engine, "do_connect", lambda *connection: (here := wait()) and here(*connection))
        study_lock.limit_idle(backend.engine)

    create_new_study = _made_again(OwnTrialsStorage.create_new_study)
    delete_study = _made_again(OwnTrialsStorage.delete_study)
    set_study_user_attr = _made_again(OwnTrialsStorage.set_study_user_attr)
    set_study_system_attr = _made_again(OwnTrialsStorage.set_study_system_attr)
    get_study_id_from_name = _read_again(OwnTrialsStorage.get_study_id_from_name)
    get_study_name_from_id = _read_again(OwnTrialsStorage.get_study_name_from_id)
    get_study_directions = _read_again(OwnTrialsStorage.get_study_directions)
    get_study_user_attrs = _read_again(OwnTrialsStorage.get_study_user_attrs)
    get_study_system_attrs = _read_again(OwnTrialsStorage.get_study_system_attrs)
    get_all_studies = _read_again(OwnTrialsStorage.get_all_studies)
    create_new_trial = _made_again(OwnTrialsStorage.create_new_trial)
    set_trial_param = _made_again(OwnTrialsStorage.set_trial_param)
    get_trial_id_from_study_id_trial_number = _read_again(OwnTrialsStorage.get_trial_id_from_study_id_trial_number)
    set_trial_state_values = _made_again(OwnTrialsStorage.set_trial_state_values)
    set_trial_intermediate_value = _made_again(OwnTrialsStorage.set_trial_intermediate_value)
    set_trial_user_attr = _made_again(OwnTrialsStorage.set_trial_user_attr)
    set_trial_system_attr = _made_again(OwnTrialsStorage.set_trial_system_attr)
    get_trial = _read_again(OwnTrialsStorage.get_trial)
    get_all_trials = _read_again(OwnTrialsStorage.get_all_trials)
    get_best_trial = _read_again(OwnTrialsStorage.get_best_trial)
    end_trial = _made_again(OwnTrialsStorage.end_trial)
    write_changes = _made_again(OwnTrialsStorage.write_changes)
    stored = _read_again(OwnTrialsStorage.stored)
    change_study_user_attr = _made_again(OwnTrialsStorage.change_study_user_attr)

    @_read_again
    def tells_case(self) -> bool:
        """Returns whether names that differ in their case alone are two; not so in tables of MySQL that plain Optuna made."""
        if self.backend.engine.dialect.name != "mysql":
            return True
        where = "table_schema = DATABASE() AND table_name = 'trial_params' AND column_name = 'param_name'"
        with self.session() as session:
            found = sqlalchemy.text(f"SELECT collation_name FROM information_schema.columns WHERE {where}")
            return str(session.execute(found).scalar()).endswith("_bin")

    def _connect(self, dialect: sqlalchemy.Dialect, _record: object, args: list[Any], params: dict[str, Any]) -> Any:
        assert dialect.dbapi is not None
        try:
            return dialect.connect(*args, **params)
        except dialect.dbapi.OperationalError as error:
            if self._limit_s <= 0 or remedy(str(error)) == NO_DATABASE:  # what was dropped does not come back by itself
                raise
        limit_s, self._limit_s = self._limit_s, 0.0
        with _sleeper() as sleep:
            _log.warning(f"{self._shown}: does not answer. Waiting for it, {limit_s / 60:.0f} minutes at most (^C ends this).")
            connection = _retry(lambda: dialect.connect(*args, **params), dialect.dbapi.OperationalError, limit_s, sleep)
        _log.warning(f"{self._shown}: answers again.")
        self._limit_s = limit_s
        return connection


def _was_lost(error: BaseException | None, *, reads: bool) -> bool:
    """Returns whether the connection was lost, and so early that nothing is done twice where all is done again.

    That is before the COMMIT, which is no statement to SQLAlchemy, or whenever, if nothing was written. Optuna may go on with a
    lost transaction, as after a statement that was too long, which SQLAlchemy refuses: that one reached no COMMIT either.
    """
    if isinstance(error, DBAPIError):
        return error.connection_invalidated and (reads or error.statement is not None)
    return isinstance(error, PendingRollbackError)


def _retry(connect: Callable[[], Any], error: type[Exception], limit_s: float, sleep: Callable[[float], bool]) -> Any:
    until = time.monotonic() + limit_s
    pause_s = _FIRST_PAUSE_S
    while True:
        interrupted = sleep(pause_s)
        try:
            return connect()
        except error:
            if interrupted or time.monotonic() >= until:
                raise
        pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)


@contextlib.contextmanager
def _sleeper() -> Iterator[Callable[[float], bool]]:
    """Yields a function that sleeps for some seconds, and returns True at once where ^C or SIGTERM comes meanwhile.

    The driver counts these signals and goes on, so that `time.sleep` would not end.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    in_main_thread = threading.current_thread() is threading.main_thread()  # signals reach no other
    before = signal.set_wakeup_fd(writing) if in_main_thread else -1

    def sleep(seconds: float) -> bool:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if select.select([reading], [], [], left)[0] and {signal.SIGINT, signal.SIGTERM} & set(os.read(reading, 64)):
                return True
        return False

    try:
        yield sleep
    finally:
        if in_main_thread:
            signal.set_wakeup_fd(before)
        os.close(reading)
        os.close(writing)
