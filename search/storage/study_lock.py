"""How the drivers of one study take turns: a lock that the database server keeps.

Asking for a trial and giving one back look at all trials and then add one, which no single statement does. The lock belongs to
a connection of its own, so that it ends with its holder, however that ends; a holder that vanished with its machine is silent,
and `limit_idle` has the server hang up on it.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import sqlalchemy
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

_SILENCE_S = 60  # in the middle of a transaction; a driver's own take milliseconds
_IDLE_S = 300  # MySQL has no limit for transactions alone; a driver at work writes every few seconds
_WAIT_S = 10  # then it asks again: MariaDB ends a statement that takes longer than its max_statement_time

_MYSQL_NAME = "SHA1(CONCAT(DATABASE(), ' ', :place, ' ', :study))"
_TAKE = {
    "postgresql": "SELECT 1 FROM pg_advisory_xact_lock(:place, :study)",
    "mysql": f"SELECT GET_LOCK({_MYSQL_NAME}, {_WAIT_S})",
}
_RELEASE = {
    "postgresql": "SELECT 1",  # the end of the transaction releases it
    "mysql": f"SELECT RELEASE_LOCK({_MYSQL_NAME})",
}
_TRY = {"postgresql": "SELECT pg_try_advisory_lock(:place, :study)", "mysql": f"SELECT GET_LOCK({_MYSQL_NAME}, 0)"}
_UNLOCK = {**_RELEASE, "postgresql": "SELECT pg_advisory_unlock(:place, :study)"}  # of a lock that no transaction ends
TABLES = 0
"""Stands for no study: who makes the tables takes turns too."""

_PLACE = 0x7E57  # sets these locks apart from those that another program may keep in the same database
_SENDING = 0x7E58


@contextlib.contextmanager
def lock(engine: sqlalchemy.Engine, study_id: int) -> Iterator[None]:
    """Waits until no other driver has its turn at a study, and keeps them out of the block below.

    Raises:
        StorageInternalError: The server refuses the lock.
    """
    family = engine.dialect.name
    arguments = {"place": _PLACE, "study": study_id}
    connection = _connection_with(engine, _TAKE[family], arguments)
    try:
        yield
    finally:
        try:
            _execute(connection, _RELEASE[family], arguments)
            connection.rollback()
        except DBAPIError:  # the connection was lost, and the lock with it
            connection.invalidate()
        connection.close()


def try_to_send(engine: sqlalchemy.Engine, study_id: int) -> sqlalchemy.Connection | None:
    """Takes the turn of sending a study to its trackers; None where another process has it. It ends with the connection."""
    connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    if _execute(connection, _TRY[engine.dialect.name], {"place": _SENDING, "study": study_id}):
        return connection
    connection.close()
    return None


def stop_sending(connection: sqlalchemy.Connection, study_id: int) -> None:
    """Lets another process have the turn that `try_to_send` took, and is done once the server has done it.

    A server notices a moment later that a connection was closed: until then nobody would have the turn.
    """
    try:
        _execute(connection, _UNLOCK[connection.engine.dialect.name], {"place": _SENDING, "study": study_id})
    except SQLAlchemyError:  # the connection was lost, now or before, and the lock with it
        connection.invalidate()
    connection.close()


def limit_idle(engine: sqlalchemy.Engine) -> None:
    """Has the server end what a vanished machine left open: its turn, and the rows that it had locked."""
    statement = {
        "postgresql": f"SET idle_in_transaction_session_timeout = '{_SILENCE_S}s'",
        "mysql": f"SET SESSION wait_timeout = {_IDLE_S}",
    }[engine.dialect.name]
    on_connect(engine, statement)


def on_connect(engine: sqlalchemy.Engine, statement: str) -> None:
    """Has each connection that the engine makes begin with a statement; those from before are not used again."""

    def execute(connection: Any, _record: object) -> None:
        with contextlib.closing(connection.cursor()) as cursor:
            cursor.execute(statement)
        connection.commit()  # PostgreSQL undoes a SET with its transaction

    sqlalchemy.event.listen(engine, "connect", execute)
    engine.dispose()


def _connection_with(engine: sqlalchemy.Engine, take: str, arguments: dict[str, int]) -> sqlalchemy.Connection:
    """Returns the connection that holds the lock; one that was cut off while it waited is replaced."""
    while True:
        connection = engine.connect()
        try:
            granted = _execute(connection, take, arguments)
            if granted is None:  # MySQL's answer where it has failed, or the statement was ended
                raise StorageInternalError(f"GET_LOCK returned NULL, as where max_statement_time is below {_WAIT_S} s")
        except BaseException as error:
            connection.invalidate()
            connection.close()
            if not (isinstance(error, DBAPIError) and error.connection_invalidated):
                raise
        else:
            if granted:
                return connection
            connection.close()  # its holder lives, and is not done yet


def _execute(connection: sqlalchemy.Connection, statement: str, arguments: dict[str, int]) -> Any:
    return connection.execute(sqlalchemy.text(statement), arguments).scalar()
